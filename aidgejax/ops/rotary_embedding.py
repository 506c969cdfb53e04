"""The rotation of queries and keys by their positions."""

import jax.numpy as jnp

from ..errors import GraphError
from ._eager import EagerBuilder
from ._registry import operator
from .attention import as_heads


def pairs_of(op, x, dims, interleaved):
    """The two halves of the first `dims` channels whose elements are rotated in pairs: [..., dims / 2] each."""
    x = op.Slice(x, (0,), (dims,), (-1,))
    if interleaved:
        return op.Slice(x, (0,), (dims,), (-1,), (2,)), op.Slice(x, (1,), (dims,), (-1,), (2,))
    return op.Slice(x, (0,), (dims // 2,), (-1,)), op.Slice(x, (dims // 2,), (dims,), (-1,))


def by_heads(op, x, num_heads):
    """[b, l, heads, d] of either form of the input."""
    if len(x.shape) == 4:
        return op.Transpose(x, perm=(0, 2, 1, 3))
    return op.Reshape(x, (0, 0, num_heads, -1))


def head_size(x, num_heads):
    if len(x.shape) == 4:
        return x.shape[3]
    if len(x.shape) != 3 or not num_heads:
        raise GraphError(f"X has shape {list(x.shape)}: expected [b, heads, l, d], or [b, l, heads * d] and num_heads")
    return x.shape[2] // num_heads


def rotation(op, cache, position_ids):
    """[b, l, 1, dims / 2] of a cache that is looked up by position, or given for each token."""
    cache = cache if position_ids is None else op.Gather(cache, position_ids, axis=0)
    return op.Unsqueeze(cache, (2,))


def rotated(op, x, cos, sin, dims, size, interleaved):
    """x [b, l, heads, size] turned by the angles whose cosines and sines are given."""
    one, two = pairs_of(op, x, dims, interleaved)
    real = op.Sub(op.Mul(cos, one), op.Mul(sin, two))
    imaginary = op.Add(op.Mul(sin, one), op.Mul(cos, two))
    if interleaved:
        both = op.Concat(op.Unsqueeze(real, (-1,)), op.Unsqueeze(imaginary, (-1,)), axis=-1)
        parts = [op.Reshape(both, (0, 0, 0, -1))]
    else:
        parts = [real, imaginary]
    if dims < size:
        parts.append(op.Slice(x, (dims,), (size,), (-1,)))
    return parts[0] if len(parts) == 1 else op.Concat(*parts, axis=-1)


def rotary_words(op, X, cos_cache, sin_cache, position_ids, *, interleaved, num_heads, rotary_embedding_dim):
    size = head_size(X, num_heads)
    dims = rotary_embedding_dim or size
    cos, sin = rotation(op, cos_cache, position_ids), rotation(op, sin_cache, position_ids)
    y = rotated(op, by_heads(op, X, num_heads), cos, sin, dims, size, interleaved)
    return op.Transpose(y, perm=(0, 2, 1, 3)) if len(X.shape) == 4 else op.Reshape(y, (0, 0, -1))


def rotary_vjp(op, X, cos_cache, sin_cache, position_ids, y, dy, *, interleaved, num_heads, rotary_embedding_dim):
    """X: turned back.  The caches: what each angle's cosine and sine multiplied, summed over heads and lookups."""
    dims = rotary_embedding_dim or head_size(X, num_heads)
    dx = op.RotaryEmbedding(
        dy,
        cos_cache,
        op.Neg(sin_cache),
        position_ids,
        interleaved=interleaved,
        num_heads=num_heads,
        rotary_embedding_dim=rotary_embedding_dim,
    )
    flat = lambda t: t if X.rank == 4 else as_heads(op, t, num_heads)
    one, two = pairs_of(op, flat(X), dims, interleaved)
    d_one, d_two = pairs_of(op, flat(dy), dims, interleaved)
    products = (op.Add(op.Mul(d_one, one), op.Mul(d_two, two)), op.Sub(op.Mul(d_two, one), op.Mul(d_one, two)))
    d_cos, d_sin = (op.ReduceSum(p, (1,), keepdims=0) for p in products)
    if position_ids is not None:
        d_cos, d_sin = (op.GatherGrad(d, c, position_ids, axis=0) for d, c in ((d_cos, cos_cache), (d_sin, sin_cache)))
    return dx, d_cos, d_sin, None


@operator("RotaryEmbedding", onnx=("", 23), settings=("cos_cache", "sin_cache"), vjp=rotary_vjp, decompose=rotary_words)
def rotary_embedding(X, cos_cache, sin_cache, position_ids=None, *, interleaved=0, num_heads=0, rotary_embedding_dim=0):
    """Pairs of channels turned by an angle that depends on the position: (c a - s b, s a + c b).  f[b, h, l, d],
    f[p, r / 2], f[p, r / 2], i64[b, l] -> f[b, h, l, d]; without position_ids the caches are f[b, l, r / 2].

    3 axes: f[b, l, h d], with num_heads.  rotary_embedding_dim: r, how many of a head's channels turn; 0: all.  A pair
    is (k, k + r / 2), or, interleaved, (2 k, 2 k + 1).  ONNX RotaryEmbedding-23."""
    dims = rotary_embedding_dim or head_size(X, num_heads)
    if dims % 2 or jnp.shape(cos_cache)[-1] != dims // 2 or jnp.shape(sin_cache)[-1] != dims // 2:
        raise GraphError(
            f"the caches have {jnp.shape(cos_cache)[-1]} and {jnp.shape(sin_cache)[-1]} columns: expected "
            f"half of the {dims} channels that turn"
        )
    return rotary_words(
        EagerBuilder(),
        X,
        cos_cache,
        sin_cache,
        position_ids,
        interleaved=interleaved,
        num_heads=num_heads,
        rotary_embedding_dim=rotary_embedding_dim,
    )
