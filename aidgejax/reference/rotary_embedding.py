"""The rotation of queries and keys by their positions (see ops/rotary_embedding.py)."""

from ._definition import define


@define("RotaryEmbedding")
def rotary_embedding(x, cos, sin, position_ids=None, *, interleaved=0, num_heads=0, rotary_embedding_dim=0):
    y = (x.transpose(0, 2, 1, 3) if x.ndim == 4 else x.reshape(*x.shape[:2], num_heads, -1)).copy()
    turning = rotary_embedding_dim or y.shape[-1]
    if position_ids is not None:
        cos, sin = cos[position_ids], sin[position_ids]
    for k in range(turning // 2):
        a, b = (2 * k, 2 * k + 1) if interleaved else (k, k + turning // 2)
        c, s = cos[:, :, None, k], sin[:, :, None, k]
        y[..., a], y[..., b] = c * y[..., a] - s * y[..., b], s * y[..., a] + c * y[..., b]
    return y.transpose(0, 2, 1, 3) if x.ndim == 4 else y.reshape(x.shape)
