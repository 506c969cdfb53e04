"""Reductions in NumPy.  Their plain backwards look at one group of reduced elements at a time."""

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


@define("SpreadLike")
def spread_like(y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    if not keepdims and axes is not None and len(axes):
        for a in sorted(int(a) % np.ndim(x) for a in axes):
            y = np.expand_dims(y, a)
    return np.broadcast_to(y, np.shape(x))


def reduction(name, of_axes):
    """Define a reduction by what it does over a tuple of axes, which are kept with size 1."""

    @define(name)
    def reduce(x, axes=None, *, keepdims=1, noop_with_empty_axes=0, ties="split"):
        over = axes_of(x, axes, noop_with_empty_axes)
        y = of_axes(x, over)
        return (y if keepdims else np.squeeze(y, over)).astype(x.dtype)


def axes_of(x, axes, noop_with_empty_axes):
    if axes is not None and len(axes):
        return tuple(int(a) % x.ndim for a in axes)
    return () if noop_with_empty_axes else tuple(range(x.ndim))


def mean(x, over):
    y = np.sum(x, axis=over, keepdims=True) / np.prod([x.shape[k] for k in over])
    return np.trunc(y) if x.dtype.kind in "iu" else y


def log_sum_exp(x, over):
    top = np.max(x, axis=over, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.sum(np.exp(x - top), axis=over, keepdims=True)) + top


def limit(x, lowest):
    """What the extreme of no elements is."""
    if x.dtype.kind == "b":
        return not lowest
    if x.dtype.kind in "iu":
        return np.iinfo(x.dtype).min if lowest else np.iinfo(x.dtype).max
    return -np.inf if lowest else np.inf


reduction("ReduceSum", lambda x, over: np.sum(x, axis=over, keepdims=True))
reduction("ReduceMean", mean)
reduction("ReduceSumSquare", lambda x, over: np.sum(x * x, axis=over, keepdims=True))
reduction("ReduceL1", lambda x, over: np.sum(np.abs(x), axis=over, keepdims=True))
reduction("ReduceL2", lambda x, over: np.sqrt(np.sum(x * x, axis=over, keepdims=True)))
reduction("ReduceLogSum", lambda x, over: np.log(np.sum(x, axis=over, keepdims=True)))
reduction("ReduceLogSumExp", log_sum_exp)
reduction("ReduceProd", lambda x, over: np.prod(x, axis=over, keepdims=True))
reduction("ReduceMax", lambda x, over: np.max(x, axis=over, keepdims=True, initial=limit(x, lowest=True)))
reduction("ReduceMin", lambda x, over: np.min(x, axis=over, keepdims=True, initial=limit(x, lowest=False)))


def plain_backward(name, slope):
    """slope(v, ties) -> d y / d v, for one group v of the elements that are reduced together."""

    @backward(name)
    def reduce_backward(x, axes, y, dy, *, keepdims=1, noop_with_empty_axes=0, ties="split"):
        over = axes_of(x, axes, noop_with_empty_axes)
        kept = [k for k in range(x.ndim) if k not in over]
        order = [*kept, *over]
        groups = np.transpose(x, order).reshape(np.size(dy), -1)
        dx = np.zeros(groups.shape, x.dtype)
        for k, d in enumerate(np.ravel(dy)):
            dx[k] = d * slope(groups[k], ties)
        dx = dx.reshape([x.shape[k] for k in order])
        return np.transpose(dx, np.argsort(order)), None


def winners(v, best, ties):
    hit = v == best
    if ties == "first":
        return np.arange(v.size) == np.argmax(hit)
    return hit / hit.sum()


def norm_slope(v, ties):
    norm = np.sqrt(np.sum(v * v))
    return v / norm if norm else np.zeros_like(v)


plain_backward("ReduceSum", lambda v, ties: np.ones_like(v))
plain_backward("ReduceMean", lambda v, ties: np.full_like(v, 1 / v.size))
plain_backward("ReduceSumSquare", lambda v, ties: 2 * v)
plain_backward("ReduceL1", lambda v, ties: np.sign(v))
plain_backward("ReduceL2", norm_slope)
plain_backward("ReduceLogSum", lambda v, ties: np.full_like(v, 1 / v.sum()))
plain_backward(
    "ReduceLogSumExp",
    lambda v, ties: np.exp(v - v.max()) / np.exp(v - v.max()).sum() if v.max() > -np.inf else np.zeros_like(v),
)
plain_backward("ReduceProd", lambda v, ties: np.array([np.prod(np.delete(v, k)) for k in range(v.size)]))
plain_backward("ReduceMax", lambda v, ties: winners(v, v.max(), ties))
plain_backward("ReduceMin", lambda v, ties: winners(v, v.min(), ties))
