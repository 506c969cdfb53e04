"""Attention, and its gradient.

The forward and the gradient of Attention share their words: `weights` is executed by JAX, written into gradient graphs,
and decomposed for a file that is to do without the operator.
"""

import math
from types import SimpleNamespace

import jax.numpy as jnp

from ..errors import GraphError
from . import _blockwise_attention as blockwise
from . import _cudnn_attention as cudnn
from ._attention_mask import allowed, for_runtimes, padded_mask
from ._cudnn_attention import KINDS as KINDS_OF_ATTENTION
from ._cudnn_attention import kind_of_attention
from ._eager import EagerBuilder
from ._registry import operator

__all__ = ["KINDS_OF_ATTENTION", "kind_of_attention"]

RAW, CAPPED, BIASED, WEIGHTS = range(4)  # what qk_matmul_output_mode asks for


# ---- heads --------------------------------------------------------------------------------------------


def as_heads(op, x, heads):
    """[b, l, heads * d] -> [b, heads, l, d]"""
    return op.Transpose(op.Reshape(x, (0, 0, heads, -1)), perm=(0, 2, 1, 3))


def from_heads(op, x):
    """[b, heads, l, d] -> [b, l, heads * d]"""
    return op.Reshape(op.Transpose(x, perm=(0, 2, 1, 3)), (0, 0, -1))


def transposed(op, x):
    return op.Transpose(x, perm=(0, 1, 3, 2))


def head_counts(Q, K, V, q_num_heads, kv_num_heads):
    """(heads of the queries, heads of keys and values, the size of a query's head)"""
    ranks = {len(t.shape) for t in (Q, K, V)}
    if ranks == {3}:
        if not q_num_heads or not kv_num_heads:
            raise GraphError("Q, K and V have 3 axes: q_num_heads and kv_num_heads are needed")
        for name, t, heads in (("Q", Q, q_num_heads), ("K", K, kv_num_heads), ("V", V, kv_num_heads)):
            if isinstance(t.shape[2], int) and t.shape[2] % heads:
                raise GraphError(f"{name} has {t.shape[2]} channels, which {heads} heads do not share evenly")
        heads, kv, size = q_num_heads, kv_num_heads, Q.shape[2] // q_num_heads
    elif ranks == {4}:
        heads, kv, size = Q.shape[1], K.shape[1], Q.shape[3]
    else:
        raise GraphError(
            f"Q, K and V have shapes {', '.join(str(list(t.shape)) for t in (Q, K, V))}: all three have 3 "
            f"axes, or all have 4"
        )
    if heads % kv:
        raise GraphError(f"{heads} heads of queries do not share {kv} heads of keys and values evenly")
    return heads, kv, size


# ---- the weights --------------------------------------------------------------------------------------


def weights(
    op,
    Q,
    K,
    V,
    attn_mask,
    past_key,
    past_value,
    nonpad_kv_seqlen,
    *,
    scale,
    softcap,
    softmax_precision,
    q_num_heads,
    kv_num_heads,
    is_causal,
    left_window_size,
    right_window_size,
):
    """All that leads to Y: queries grouped by the head of keys they share, scores at each stage, weights."""
    heads, kv, size = head_counts(Q, K, V, q_num_heads, kv_num_heads)
    if (past_key is None) != (past_value is None):
        raise GraphError("past_key and past_value are given together, or neither")
    total = K.shape[-2]
    if past_key is not None:
        past = past_key.shape[2]
        total = past + total if isinstance(past, int) and isinstance(total, int) else None
    flat = len(Q.shape) == 3
    q, k, v = (as_heads(op, t, n) if flat else t for t, n in ((Q, heads), (K, kv), (V, kv)))
    if past_key is not None:
        k, v = op.Concat(past_key, k, axis=2), op.Concat(past_value, v, axis=2)
    root = root_of(scale, size)
    mask = None if attn_mask is None else padded_mask(op, attn_mask, total)
    may = allowed(
        op,
        q,
        k,
        mask,
        past_key,
        nonpad_kv_seqlen,
        is_causal=is_causal,
        left_window_size=left_window_size,
        right_window_size=right_window_size,
    )
    # The queries that share a head of keys lie one after the other: one product serves them all.
    grouped = q if heads == kv else op.Reshape(q, (0, kv, -1, 0))
    grouped, scaled_k = op.Mul(grouped, root), op.Mul(k, root)
    raw = op.MatMul(grouped, transposed(op, scaled_k))
    raw = raw if heads == kv else op.Reshape(raw, (0, heads, -1, 0))
    capped = op.Mul(op.Tanh(op.Div(raw, softcap)), softcap) if softcap else raw
    bias = mask if mask is not None and mask.dtype != "bool" else None
    if may is not None:
        bias = op.Where(may, op.CastLike(0.0, Q) if bias is None else bias, -math.inf)
    biased = capped if bias is None else op.Add(capped, bias)
    # A query that may look at nothing gets zeros.
    lost = None
    if attn_mask is not None or nonpad_kv_seqlen is not None or max(left_window_size, right_window_size) >= 0:
        lost = op.Equal(op.ReduceMax(bias, (-1,), keepdims=1), -math.inf) if bias is not None else None
    logits = biased if lost is None else op.Where(lost, 0.0, biased)
    if softmax_precision:
        p = op.CastLike(op.Softmax(op.Cast(logits, to=softmax_precision), axis=-1), Q)
    else:
        p = op.Softmax(logits, axis=-1)
    p = p if lost is None else op.Where(lost, 0.0, p)
    return SimpleNamespace(
        heads=heads,
        kv=kv,
        flat=flat,
        k=k,
        v=v,
        q=grouped,
        scaled_k=scaled_k,
        root=root,
        p=p,
        stages=(raw, capped, biased, p),
    )


def attention_words(op, *inputs, qk_matmul_output_mode, **setting):
    w = weights(op, *inputs, **setting)
    p = w.p if w.heads == w.kv else op.Reshape(w.p, (0, w.kv, -1, 0))
    y = op.MatMul(p, w.v)
    y = y if w.heads == w.kv else op.Reshape(y, (0, w.heads, -1, 0))
    return from_heads(op, y) if w.flat else y, w.k, w.v, w.stages[qk_matmul_output_mode]


def through_weights(
    op,
    Q,
    K,
    V,
    attn_mask,
    past_key,
    past_value,
    nonpad_kv_seqlen,
    Y,
    present_key,
    present_value,
    qk,
    dY,
    d_key,
    d_value,
    d_qk,
    *,
    qk_matmul_output_mode,
    softcap,
    **setting,
):
    """Gradients in elementary nodes; the weights are computed again from Q, K, V and the mask."""
    w = weights(op, Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen, softcap=softcap, **setting)
    group = lambda t: t if w.heads == w.kv else op.Reshape(t, (0, w.kv, -1, 0))
    ungroup = lambda t: t if w.heads == w.kv else op.Reshape(t, (0, w.heads, -1, 0))
    add = lambda a, b: b if a is None else a if b is None else op.Add(a, b)
    asked = [d_qk if stage == qk_matmul_output_mode else None for stage in range(4)]
    dv = dp = None
    if dY is not None:
        dy = group(as_heads(op, dY, w.heads) if w.flat else dY)
        dv = op.MatMul(transposed(op, group(w.p)), dy)
        dp = ungroup(op.MatMul(dy, transposed(op, w.v)))
    dp, d_mask, dq, dk = add(dp, asked[WEIGHTS]), None, None, None
    d = None if dp is None else op.Mul(w.p, op.Sub(dp, op.ReduceSum(op.Mul(dp, w.p), (-1,), keepdims=1)))
    d = add(d, asked[BIASED])
    if d is not None and attn_mask is not None and attn_mask.dtype != "bool":
        d_mask = op.SumLike(op.Slice(d, (0,), op.Shape(attn_mask, start=-1), (-1,)), attn_mask)
    d = add(d, asked[CAPPED])
    if d is not None and softcap:
        t = op.Div(w.stages[CAPPED], softcap)
        d = op.Mul(d, op.Sub(1.0, op.Mul(t, t)))
    d = add(d, asked[RAW])
    if d is not None:
        d = group(d)
        dq = ungroup(op.Mul(op.MatMul(d, w.scaled_k), w.root))
        dk = op.Mul(op.MatMul(transposed(op, d), w.q), w.root)
    dk, dv, d_past = add(dk, d_key), add(dv, d_value), [None, None]
    if past_key is not None:
        gone = op.Shape(past_key, start=2, end=3)
        d_past = [None if t is None else op.Slice(t, (0,), gone, (2,)) for t in (dk, dv)]
        dk, dv = (None if t is None else op.Slice(t, gone, (1 << 31,), (2,)) for t in (dk, dv))
    shares = (t if t is None or not w.flat else from_heads(op, t) for t in (dq, dk, dv))
    return *shares, d_mask, *d_past, None


def is_plain(past_key, valid, left_window_size, right_window_size):
    """No cache, no windows: what AttentionGrad and the blockwise form know."""
    return past_key is None and valid is None and max(left_window_size, right_window_size) < 0


def attention_vjp(
    op,
    Q,
    K,
    V,
    attn_mask,
    past_key,
    past_value,
    nonpad_kv_seqlen,
    Y,
    present_key,
    present_value,
    qk,
    dY,
    d_key,
    d_value,
    d_qk,
    *,
    qk_matmul_output_mode,
    softcap,
    left_window_size,
    right_window_size,
    **setting,
):
    """One operator for the plain form; elementary nodes otherwise.  Only Q, K, V and the mask are kept."""
    plain = is_plain(past_key, nonpad_kv_seqlen, left_window_size, right_window_size)
    if plain and d_key is None and d_value is None and d_qk is None:
        trained = attn_mask is not None and attn_mask.dtype != "bool"
        if softcap:
            setting["softcap"] = softcap
        found = op.AttentionGrad(dY, Q, K, V, attn_mask, outputs=4 if trained else 3, **setting)
        return *found, *[None] * (7 - len(found))
    return through_weights(
        op, Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen, Y, present_key, present_value, qk,
        dY, d_key, d_value, d_qk, qk_matmul_output_mode=qk_matmul_output_mode, softcap=softcap,
        left_window_size=left_window_size, right_window_size=right_window_size, **setting,
    )  # fmt: skip


def attention_grad_onnx(op, dY, Q, K, V, attn_mask=None, **setting):
    return through_weights(
        op, Q, K, V, attn_mask, None, None, None, None, None, None, None, dY, None, None, None,
        qk_matmul_output_mode=0, left_window_size=-1, right_window_size=-1, **setting,
    )[:4]  # fmt: skip


@operator("AttentionGrad", decompose=attention_grad_onnx, outputs=4)
def attention_grad(
    dY,
    Q,
    K,
    V,
    attn_mask=None,
    *,
    is_causal=0,
    kv_num_heads=None,
    q_num_heads=None,
    scale=None,
    softcap=0.0,
    softmax_precision=None,
    wanted=(True,) * 4,
):
    """Gradients of Attention's first four inputs.  f[b, h, l, e], f[b, h, l, d], f[b, k, s, d], f[b, k, s, e] -> the
    same shapes; that of a mask is summed to its shape.  Long sequences go block by block: no [l, s] is held."""
    setting = {
        "is_causal": is_causal,
        "kv_num_heads": kv_num_heads,
        "q_num_heads": q_num_heads,
        "scale": scale,
        "softcap": softcap,
        "softmax_precision": softmax_precision,
    }
    if softcap or not cudnn.is_asked_for(Q, K, V, attn_mask):
        return own_attention_grad(dY, Q, K, V, attn_mask, wanted, **setting)
    own = lambda *x: own_attention_grad(*x, None, wanted, **setting)[:3]
    number = root_of(scale, Q.shape[-1]) ** 2
    return *cudnn.attention_backward(dY, Q, K, V, number, bool(is_causal), own), None


def own_attention_grad(
    dY, Q, K, V, attn_mask, wanted, *, is_causal, kv_num_heads, q_num_heads, scale, softcap, softmax_precision
):
    """The gradients by all scores at once, or block by block."""
    setting = {"is_causal": is_causal, "scale": scale, "softcap": softcap}
    heads, kv, size = head_counts(Q, K, V, q_num_heads, kv_num_heads)
    want_mask = attn_mask is not None and attn_mask.dtype != jnp.bool_ and wanted[3]
    if not blockwise.is_large(Q.shape[-2], K.shape[-2]):
        setting |= {"kv_num_heads": kv_num_heads, "q_num_heads": q_num_heads, "softmax_precision": softmax_precision}
        found = attention_grad_onnx(EagerBuilder(), dY, Q, K, V, attn_mask, **setting)
        return tuple(None if g is None else jnp.asarray(g, t.dtype) for g, t in zip(found, (Q, K, V, dY), strict=True))
    op, flat = EagerBuilder(), Q.ndim == 3
    dy, q = (as_heads(op, t, heads) if flat else t for t in (dY, Q))
    k, v = (as_heads(op, t, kv) if flat else t for t in (K, V))
    mask = None if attn_mask is None else blockwise.grouped_mask(padded_mask(op, attn_mask, k.shape[2]), heads, kv)
    shape = blockwise.Setting(root_of(scale, size), bool(is_causal), softcap)
    split = [blockwise.grouped(t, kv) for t in (dy, q)]
    dq, dk, dv, d_mask = blockwise.attend_backward(*split, k, v, mask, shape, want_mask)
    found = [jnp.reshape(dq, q.shape), dk, dv]
    found = [from_heads(op, t) if flat else t for t in found]
    if d_mask is not None:
        d_mask = jnp.reshape(d_mask, (q.shape[0], heads, *d_mask.shape[3:]))
        d_mask = op.SumLike(d_mask[..., : attn_mask.shape[-1]], attn_mask)
    like = (Q, K, V, attn_mask)
    return tuple(None if g is None else g.astype(t.dtype) for g, t in zip((*found, d_mask), like, strict=True))


def root_of(scale, size):
    return math.sqrt(1 / math.sqrt(size) if scale is None else scale)


def attention_flops(inputs, outputs, attributes):
    q, k, v = inputs[:3]
    heads = attributes["q_num_heads"] or 1
    rows = math.prod(q[:-1]) * (heads if len(q) == 3 else 1)
    past = inputs[4][2] if len(inputs) > 4 and inputs[4] else 0
    width = q[-1] // (heads if len(q) == 3 else 1) + v[-1] // ((attributes["kv_num_heads"] or 1) if len(q) == 3 else 1)
    return 2 * rows * (k[-2] + past) * width


@operator(
    "Attention",
    onnx=("", 23),
    vjp=attention_vjp,
    decompose=attention_words,
    outputs=4,
    flops=attention_flops,
    for_runtimes=for_runtimes,
)
def attention(
    Q,
    K,
    V,
    attn_mask=None,
    past_key=None,
    past_value=None,
    nonpad_kv_seqlen=None,
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
    wanted=(True,) * 4,
):
    """softmax(Q K^T scale + mask) V by heads.  f[b, h, l, d], f[b, k, s, d], f[b, k, s, e] -> f[b, h, l, e].

    k divides h: several heads of queries share one of keys.  3 axes: f[b, l, h d], with q_num_heads and kv_num_heads.
    scale: 1 / sqrt(d) unless given; softcap: scores become softcap tanh(scores / softcap) before the mask.
    attn_mask: bool, or added; its last axis may be shorter than the keys.  is_causal and the windows count from where
    a query stands among the keys: after past_key, or at the end of the nonpad_kv_seqlen valid ones.  A query that may
    look at nothing gets 0.  Further outputs: the keys and values with the past ones before them, and a stage of the
    scores (qk_matmul_output_mode 0: raw, 1: capped, 2: with the mask, 3: weights).  ONNX Attention-23 (windows: 25).
    """
    if nonpad_kv_seqlen is not None and past_key is not None:
        raise GraphError("nonpad_kv_seqlen is for keys that are the whole cache: there is no past_key beside it")
    if qk_matmul_output_mode not in range(4):
        raise GraphError(f"qk_matmul_output_mode is {qk_matmul_output_mode}, expected 0 to 3")
    if scale is not None and scale <= 0:
        raise GraphError(f"scale is {scale}, expected a number above 0")
    if min(left_window_size, right_window_size) < -1:
        raise GraphError(f"windows of {left_window_size} and {right_window_size}: expected -1 (open) or more")
    plain = is_plain(past_key, nonpad_kv_seqlen, left_window_size, right_window_size)
    alone = plain and not any(wanted[1:])

    def own(Q, K, V):
        if alone and blockwise.is_large(Q.shape[-2], K.shape[-2]):
            y = attention_by_blocks(Q, K, V, attn_mask, is_causal, kv_num_heads, q_num_heads, scale, softcap)
            return y, None, None, None
        return attention_words(
            EagerBuilder(),
            Q,
            K,
            V,
            attn_mask,
            past_key,
            past_value,
            nonpad_kv_seqlen,
            is_causal=is_causal,
            kv_num_heads=kv_num_heads,
            left_window_size=left_window_size,
            q_num_heads=q_num_heads,
            qk_matmul_output_mode=qk_matmul_output_mode,
            right_window_size=right_window_size,
            scale=scale,
            softcap=softcap,
            softmax_precision=softmax_precision,
        )

    if alone and not softcap and cudnn.is_asked_for(Q, K, V, attn_mask):
        number = root_of(scale, Q.shape[-1]) ** 2
        return cudnn.attention(Q, K, V, number, bool(is_causal), lambda *x: own(*x)[0]), None, None, None
    return own(Q, K, V)


def attention_by_blocks(Q, K, V, attn_mask, is_causal, kv_num_heads, q_num_heads, scale, softcap):
    op, flat = EagerBuilder(), Q.ndim == 3
    heads, kv, size = head_counts(Q, K, V, q_num_heads, kv_num_heads)
    q, k, v = (as_heads(op, t, n) if flat else t for t, n in ((Q, heads), (K, kv), (V, kv)))
    mask = None if attn_mask is None else blockwise.grouped_mask(padded_mask(op, attn_mask, k.shape[2]), heads, kv)
    setting = blockwise.Setting(root_of(scale, size), bool(is_causal), softcap)
    y, _ = blockwise.attend(blockwise.grouped(q, kv), k, v, mask, setting)
    y = jnp.reshape(y, (*q.shape[:3], v.shape[3])).astype(Q.dtype)
    return from_heads(op, y) if flat else y
