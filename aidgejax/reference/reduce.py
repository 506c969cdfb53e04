"""Reductions in NumPy."""

import numpy as np

from ._definition import backward, define


@define("SumLike")
def sum_like(x, like):
    shape = np.shape(like)
    while x.ndim > len(shape):
        x = x.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1:
            x = x.sum(axis=axis, keepdims=True)
    return x


@define("ReduceSum")
def reduce_sum(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    if axes is None or len(axes) == 0:
        return x if noop_with_empty_axes else np.sum(x, keepdims=bool(keepdims))
    return np.sum(x, axis=tuple(int(a) for a in axes), keepdims=bool(keepdims))


@backward("ReduceSum")
def reduce_sum_backward(x, axes, y, dy, *, keepdims=1, noop_with_empty_axes=0):
    return spread_like(dy, x, axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes), None


@define("SpreadLike")
def spread_like(y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    if not keepdims and axes is not None and len(axes):
        for a in sorted(int(a) % np.ndim(x) for a in axes):
            y = np.expand_dims(y, a)
    return np.broadcast_to(y, np.shape(x))
