"""Attention and rotary positions of com.microsoft in standard operators."""

from __future__ import annotations

import math

from .registry import Unread, contrib, known_rank

# ---- attention ----------------------------------------------------------------------------------------


def looked_at(op, mask, query, keys):
    """Which keys may be looked at, bool [b, 1, l or 1, s], of a mask in one of its forms: lengths [b], or not 0 where a
    key counts, [b, s] or [b, l, s]."""
    rank = known_rank(mask, "mask")
    if rank == 1:
        if None in (mask.shape, query.shape) or mask.shape[0] != query.shape[0]:
            raise Unread(f"its mask of shape {list(mask.shape or ())} is not one length for each row of the batch")
        total = op.Squeeze(op.Shape(keys, start=1, end=2), (0,))
        return op.Less(op.Range(0, total, 1), op.Cast(op.Unsqueeze(mask, (1, 2, 3)), to=7))
    if rank in (2, 3):
        return op.Cast(op.Unsqueeze(mask, (1, 2) if rank == 2 else (1,)), to=9)
    raise Unread(f"its mask has {rank} axes; 1 to 3 are read")


def joined(op, seen, bias):
    """One mask of a bool one and of what is added."""
    if seen is None or bias is None:
        return bias if seen is None else seen
    return op.Where(seen, bias, -math.inf)


@contrib("Attention", shaped=True)
def attention(
    op,
    x,
    weights,
    bias=None,
    mask=None,
    past=None,
    attention_bias=None,
    past_sequence_length=None,
    *,
    num_heads,
    unidirectional=0,
    qkv_hidden_sizes=None,
    mask_filter_value=-10000.0,
    scale=0.0,
    do_rotary=0,
    past_present_share_buffer=0,
    rotary_embedding_dim=0,
):
    if do_rotary or past_present_share_buffer:
        raise Unread("do_rotary and past_present_share_buffer are not read")
    qkv = op.MatMul(x, weights)
    qkv = qkv if bias is None else op.Add(qkv, bias)
    if qkv_hidden_sizes:
        q, k, v = op.Split(qkv, tuple(qkv_hidden_sizes), axis=-1, outputs=3)
    else:
        q, k, v = op.Split(qkv, axis=-1, num_outputs=3, outputs=3)
    pasts = (None, None) if past is None else (op.Gather(past, 0, axis=0), op.Gather(past, 1, axis=0))
    if past is not None and mask is not None and mask.rank == 1:
        raise Unread("a mask of lengths beside past keys is not read")
    seen = None if mask is None else looked_at(op, mask, x, x)
    y, keys, values = op.Attention(
        q,
        k,
        v,
        joined(op, seen, attention_bias),
        *pasts,
        outputs=3,
        q_num_heads=num_heads,
        kv_num_heads=num_heads,
        is_causal=unidirectional,
        scale=scale or None,
    )
    present = op.Concat(op.Unsqueeze(keys, (0,)), op.Unsqueeze(values, (0,)), axis=0)
    return y, present


def _flat(op, t, what):
    """[b, l, h] of keys or values that may come as [b, n, l, h / n]."""
    if known_rank(t, what) == 4:
        return op.Reshape(op.Transpose(t, perm=(0, 2, 1, 3)), (0, 0, -1))
    return t


def _unpacked(op, packed, count):
    """[b, l, n, count, h] -> count times [b, l, n h]"""
    parts = op.Split(packed, axis=3, num_outputs=count, outputs=count)
    return [op.Reshape(p, (0, 0, -1)) for p in parts]


@contrib("MultiHeadAttention", shaped=True)
def multi_head_attention(
    op,
    query,
    key=None,
    value=None,
    bias=None,
    key_padding_mask=None,
    attention_bias=None,
    past_key=None,
    past_value=None,
    past_sequence_length=None,
    cache_indirection=None,
    *,
    num_heads,
    mask_filter_value=-10000.0,
    scale=0.0,
    unidirectional=0,
):
    if past_sequence_length is not None or cache_indirection is not None:
        raise Unread("past_sequence_length and cache_indirection are not read")
    if key is None:
        query, key, value = _unpacked(op, query, 3)
        known = query
    elif value is None:
        known = query
        key, value = _unpacked(op, key, 2)
    else:
        known = query
        key, value = _flat(op, key, "key"), _flat(op, value, "value")
    if bias is not None:
        sizes = (known.shape or (None,))[-1]
        total = (bias.shape or (None,))[0]
        if not isinstance(total, int):
            raise Unread("the size of its bias is not known")
        sizes = sizes if isinstance(sizes, int) else total // 3
        q, k, v = op.Split(bias, (sizes, sizes, total - 2 * sizes), axis=0, outputs=3)
        query, key, value = op.Add(query, q), op.Add(key, k), op.Add(value, v)
    seen = None if key_padding_mask is None else looked_at(op, key_padding_mask, known, key)
    return op.Attention(
        query,
        key,
        value,
        joined(op, seen, attention_bias),
        past_key,
        past_value,
        outputs=3,
        q_num_heads=num_heads,
        kv_num_heads=num_heads,
        is_causal=unidirectional,
        scale=scale or None,
    )


@contrib("RotaryEmbedding", shaped=True)
def rotary_embedding(
    op,
    x,
    position_ids,
    cos_cache,
    sin_cache,
    *,
    interleaved=0,
    is_packed_batching=0,
    num_heads=0,
    rotary_embedding_dim=0,
    scale=1.0,
):
    if is_packed_batching or scale != 1.0:
        raise Unread("is_packed_batching and scale are not read")
    rank = known_rank(x, "input")
    if rank == 3 and not num_heads:
        columns, width = (cos_cache.shape or (None,))[-1], x.shape[2]
        if not isinstance(columns, int) or not isinstance(width, int):
            raise Unread("how many heads its input has is not known")
        num_heads = width // (2 * columns)
    if known_rank(position_ids, "position_ids") == 1:  # where the first one stands
        length = op.Squeeze(op.Shape(x, start=rank - 2, end=rank - 1), (0,))
        position_ids = op.Add(op.Unsqueeze(position_ids, (0,)), op.Range(0, length, 1))
        sizes = op.Concat(op.Shape(x, start=0, end=1), op.Unsqueeze(length, (0,)), axis=0)
        position_ids = op.Expand(position_ids, sizes)
    return op.RotaryEmbedding(
        x,
        cos_cache,
        sin_cache,
        position_ids,
        interleaved=interleaved,
        num_heads=num_heads,
        rotary_embedding_dim=rotary_embedding_dim,
    )


# Of GroupQueryAttention: what serves caches and kernels, at the value at which it says nothing.
PLAIN = {
    "smooth_softmax": (0, -1),
    "qk_output": (0,),
    "sliding_window_cache": (0,),
    "k_quant_type": ("NONE",),
    "v_quant_type": ("NONE",),
    "kv_cache_bit_width": (0,),
}


@contrib("GroupQueryAttention", shaped=True)
def group_query_attention(
    op,
    query,
    key,
    value,
    past_key,
    past_value,
    lengths,
    total,
    cos_cache=None,
    sin_cache=None,
    position_ids=None,
    attention_bias=None,
    head_sink=None,
    *more,
    num_heads,
    kv_num_heads,
    scale=0.0,
    softcap=0.0,
    do_rotary=0,
    rotary_interleaved=0,
    local_window_size=-1,
    causal=1,
    qk_norm_epsilon=1e-6,
    **how,
):
    """Rows of a batch are as long as the keys before them and their own: shorter ones are padded on the right, where
    causal attention does not look."""
    odd = [f"{k}={v}" for k, v in how.items() if v not in PLAIN.get(k, ())]
    if odd or head_sink is not None or any(m is not None for m in more):
        raise Unread(f"{', '.join(odd) or 'a head sink, and inputs after it,'} are not read")
    if key is None:
        size = _head_size(query, num_heads + 2 * kv_num_heads)
        parts = (num_heads * size, kv_num_heads * size, kv_num_heads * size)
        query, key, value = op.Split(query, parts, axis=-1, outputs=3)
    else:
        query, key, value = _flat(op, query, "query"), _flat(op, key, "key"), _flat(op, value, "value")
    if do_rotary:
        if position_ids is None:
            position_ids = _positions(op, query, past_key)
        query, key = (
            op.RotaryEmbedding(x, cos_cache, sin_cache, position_ids, interleaved=rotary_interleaved, num_heads=n)
            for x, n in ((query, num_heads), (key, kv_num_heads))
        )
    y, keys, values = op.Attention(
        query,
        key,
        value,
        attention_bias,
        past_key,
        past_value,
        outputs=3,
        q_num_heads=num_heads,
        kv_num_heads=kv_num_heads,
        is_causal=causal,
        scale=scale or None,
        softcap=softcap,
        left_window_size=local_window_size - 1 if local_window_size > 0 else -1,
    )
    return y, keys, values


def _head_size(packed, heads):
    width = packed.shape[-1] if packed.shape else None
    if not isinstance(width, int):
        raise Unread("how wide its packed query is is not known; give the shapes of the model's inputs")
    return width // heads


def _positions(op, query, past):
    """0, 1, 2, ... after what came before, the same for every row."""
    length = op.Squeeze(op.Shape(query, start=1, end=2), (0,))
    here = op.Range(0, length, 1)
    here = here if past is None else op.Add(here, op.Shape(past, start=2, end=3))
    return op.Expand(op.Unsqueeze(here, (0,)), op.Shape(query, start=0, end=2))
