"""Reductions, and SumLike, the reduction that undoes a broadcast."""

import jax.numpy as jnp

from ._operator import operator, positive_axes


def sum_like_onnx(op, x, like):
    # Sum over the axes that `like` lacks or has size 1 on; Expand's own rule of alignment, read backwards.
    if None in (x.shape, like.shape) or None in (*x.shape, *like.shape):
        raise ValueError("SumLike needs both shapes to be spelled in standard operators")
    lead = x.rank - like.rank
    axes = [*range(lead), *(lead + k for k, d in enumerate(like.shape) if d == 1 and x.shape[lead + k] != 1)]
    summed = op.ReduceSum(x, tuple(axes), keepdims=1) if axes else x
    return op.Reshape(summed, op.Shape(like)) if lead else summed


def sum_like_vjp(op, x, like, y, dy):
    return op.ExpandLike(dy, x), None


@operator("SumLike", decompose=sum_like_onnx, vjp=sum_like_vjp)
def sum_like(x, like):
    """Sum of x over the axes along which `like` would be broadcast to x.  f[*s], t[*r] -> f[*r]."""
    shape = jnp.shape(like)
    lead = jnp.ndim(x) - len(shape)
    axes = [*range(lead), *(lead + k for k, d in enumerate(shape) if d == 1 and jnp.shape(x)[lead + k] != 1)]
    return jnp.reshape(jnp.sum(x, axis=tuple(axes)), shape) if axes else x


def reduce_sum_vjp(op, x, axes, y, dy, *, keepdims, noop_with_empty_axes):
    return op.SpreadLike(dy, x, axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes), None


@operator("ReduceSum", onnx=("", 13), vjp=reduce_sum_vjp, static=("axes",))
def reduce_sum(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """Sum over axes (all where there are none).  t[*s], i64[k] -> t[*r].  ONNX ReduceSum-13."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    return x if over == () else jnp.sum(x, axis=over, keepdims=bool(keepdims))


def spread_like_onnx(op, y, x, axes, *, keepdims, noop_with_empty_axes):
    if not keepdims and axes is not None:
        y = op.Unsqueeze(y, axes)
    return op.Expand(y, op.Shape(x))


def spread_like_vjp(op, y, x, axes, z, dz, *, keepdims, noop_with_empty_axes):
    return op.ReduceSum(dz, axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes), None, None


@operator("SpreadLike", decompose=spread_like_onnx, vjp=spread_like_vjp, static=("axes",))
def spread_like(y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """y, the result of reducing x over axes, repeated along them: ReduceSum's gradient.  t[*r], u[*s], i64[k] -> t[*s]."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    if not keepdims:
        y = jnp.reshape(y, [1 if k in over else d for k, d in enumerate(jnp.shape(x))])
    return jnp.broadcast_to(y, jnp.shape(x))


def reduced_axes(x, axes, noop_with_empty_axes):
    """The axes that a reduction with this input `axes` goes over, counted from the front."""
    if axes is None or len(axes) == 0:
        return () if noop_with_empty_axes else tuple(range(jnp.ndim(x)))
    return positive_axes((int(a) for a in axes), jnp.ndim(x))
