"""Attention and rotary embeddings in NumPy, query by query as the specification says."""

import numpy as np

from ._definition import define

PRECISIONS = {1: np.float32, 10: np.float16, 11: np.float64}


def heads_of(x, heads):
    b, length, width = x.shape
    return x.reshape(b, length, heads, width // heads).transpose(0, 2, 1, 3)


def bias_of(q, k, mask, past, valid, is_causal, left, right):
    """What is added to the scores: -inf where a query may not look."""
    (b, heads, rows, _), columns = q.shape, k.shape[2]
    bias = np.zeros((b, heads, rows, columns), q.dtype)
    if mask is not None:
        lacking = columns - mask.shape[-1]
        added = np.where(mask, 0, -np.inf) if mask.dtype == bool else mask
        if lacking > 0:
            added = np.pad(added, [(0, 0)] * (mask.ndim - 1) + [(0, lacking)], constant_values=-np.inf)
        bias = bias + added.astype(q.dtype)
    for n in range(b):
        offset = past if valid is None else int(valid[n]) - rows
        for i in range(rows):
            for j in range(columns):
                far = j - (i + offset)
                hidden = (
                    is_causal
                    and far > 0
                    or left >= 0
                    and far < -left
                    or right >= 0
                    and far > right
                    or valid is not None
                    and j >= valid[n]
                )
                if hidden:
                    bias[n, :, i, j] = -np.inf
    return bias


@define("Attention")
def attention(
    q,
    k,
    v,
    mask=None,
    past_key=None,
    past_value=None,
    valid=None,
    *,
    is_causal=0,
    kv_num_heads=None,
    left_window_size=-1,
    q_num_heads=None,
    qk_matmul_output_mode=0,
    right_window_size=-1,
    scale=None,
    softcap=0.0,
    softmax_precision=None,
):
    flat = q.ndim == 3
    if flat:
        q, k, v = heads_of(q, q_num_heads), heads_of(k, kv_num_heads), heads_of(v, kv_num_heads)
    past = 0
    if past_key is not None:
        past = past_key.shape[2]
        k, v = np.concatenate([past_key, k], axis=2), np.concatenate([past_value, v], axis=2)
    shared = q.shape[1] // k.shape[1]
    scale = q.dtype.type(np.sqrt(1 / np.sqrt(q.shape[3]) if scale is None else scale))
    raw = np.matmul(q * scale, np.repeat(k, shared, axis=1).transpose(0, 1, 3, 2) * scale)
    capped = (softcap * np.tanh(raw / softcap)).astype(q.dtype) if softcap else raw
    bias = bias_of(q, k, mask, past, valid, is_causal, left_window_size, right_window_size)
    biased = capped + bias
    logits = biased.astype(PRECISIONS.get(softmax_precision, q.dtype))
    lost = np.isneginf(bias).all(axis=-1, keepdims=True)
    logits = np.where(lost, 0, logits)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = np.where(lost, 0, p / p.sum(axis=-1, keepdims=True)).astype(q.dtype)
    y = np.matmul(p, np.repeat(v, shared, axis=1))
    if flat:
        y = y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1)
    return y, k, v, (raw, capped, biased, p)[qk_matmul_output_mode]


@define("AttentionGrad")
def attention_grad(
    dy,
    q,
    k,
    v,
    mask=None,
    *,
    is_causal=0,
    kv_num_heads=None,
    q_num_heads=None,
    scale=None,
    softcap=0.0,
    softmax_precision=None,
):
    """Through the weights p: dv = p^T dy, d scores = p (dy v^T - sum(p dy v^T)), query by query; by the slope of a cap,
    1 / cosh^2, to the products."""
    flat = q.ndim == 3
    kind, shapes = q.dtype, (q.shape, k.shape, v.shape)
    setting = {"is_causal": is_causal, "kv_num_heads": kv_num_heads, "q_num_heads": q_num_heads, "scale": scale}
    setting["softcap"] = softcap
    raw = attention(q, k, v, mask, qk_matmul_output_mode=0, **setting)[3]
    p = attention(q, k, v, mask, qk_matmul_output_mode=3, softmax_precision=softmax_precision, **setting)[3]
    if flat:
        dy, q = heads_of(dy, q_num_heads), heads_of(q, q_num_heads)
        k, v = heads_of(k, kv_num_heads), heads_of(v, kv_num_heads)
    factor = 1 / np.sqrt(q.shape[3]) if scale is None else scale
    dq, dk, dv, ds = (np.zeros(s, np.float64) for s in (q.shape, k.shape, v.shape, p.shape))
    shared = q.shape[1] // k.shape[1]
    for b, h, i in np.ndindex(*q.shape[:3]):
        at = (b, h // shared)
        dv[at] += np.outer(p[b, h, i], dy[b, h, i])
        dp = v[at] @ dy[b, h, i]
        ds[b, h, i] = p[b, h, i] * (dp - np.sum(p[b, h, i] * dp))
        slope = 1 / np.cosh(raw[b, h, i] / softcap) ** 2 if softcap else 1.0
        dq[b, h, i] = factor * ((slope * ds[b, h, i]) @ k[at])
        dk[at] += factor * np.outer(slope * ds[b, h, i], q[b, h, i])
    found = [dq, dk, dv]
    if flat:
        found = [t.transpose(0, 2, 1, 3).reshape(s) for t, s in zip(found, shapes, strict=True)]
    if mask is None or mask.dtype == bool:
        return tuple(t.astype(kind) for t in found)
    ds = ds[..., : mask.shape[-1]]
    extra = tuple(range(4 - mask.ndim)) + tuple(4 - mask.ndim + n for n, d in enumerate(mask.shape) if d == 1)
    return *(t.astype(kind) for t in found), ds.sum(axis=extra).reshape(mask.shape).astype(mask.dtype)
