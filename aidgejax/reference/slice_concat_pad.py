"""Operators that cut and join, in NumPy."""

import numpy as np

from ._definition import backward, define


@define("Concat")
def concat(*xs, axis):
    return np.concatenate(xs, axis)


@backward("Concat")
def concat_backward(*args, axis):
    *xs, _, dy = args
    ends = np.cumsum([x.shape[axis] for x in xs])
    return tuple(np.take(dy, range(e - x.shape[axis], e), axis) for x, e in zip(xs, ends, strict=True))


@define("Split")
def split(x, split=None, *, axis=0, num_outputs=None):
    size = x.shape[axis]
    if split is None:
        chunk = int(np.ceil(size / num_outputs))
        split = [min(chunk, size - k * chunk) for k in range(num_outputs)]
    return tuple(np.split(x, np.cumsum(split)[:-1], axis))


@backward("Split")
def split_backward(x, split, *args, axis=0):
    return np.concatenate(args[len(args) // 2 :], axis), None


def taken(sizes, starts, ends, axes, steps):
    """Per axis, the indices that Slice takes: the clamping is the specification's, word by word."""
    found = [np.arange(n) for n in sizes]
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        start, end, step, n = int(start), int(end), int(step), sizes[int(axis)]
        start += n if start < 0 else 0
        end += n if end < 0 else 0
        if step > 0:
            start, end = np.clip(start, 0, n), np.clip(end, 0, n)
        else:
            start, end = np.clip(start, 0, n - 1), np.clip(end, -1, n - 1)
        found[int(axis)] = np.arange(start, end, step)
    return found


@define("Slice")
def slice_(x, starts, ends, axes=None, steps=None):
    return x[np.ix_(*taken(x.shape, starts, ends, axes, steps))]


@backward("Slice")
def slice_backward(x, starts, ends, axes, steps, y, dy):
    return slice_grad(dy, x, starts, ends, axes, steps), None, None, None, None


@define("SliceGrad")
def slice_grad(dy, like, starts, ends, axes=None, steps=None):
    dx = np.zeros(like.shape, dy.dtype)
    dx[np.ix_(*taken(like.shape, starts, ends, axes, steps))] = dy
    return dx


@define("Pad")
def pad(x, pads, constant_value=None, axes=None, *, mode="constant", border_gradient=1):
    before, after = [0] * x.ndim, [0] * x.ndim
    axes = range(x.ndim) if axes is None else axes
    for k, axis in enumerate(axes):
        before[int(axis)], after[int(axis)] = int(pads[k]), int(pads[len(axes) + k])
    for axis in range(x.ndim):
        x = np.take(x, range(max(0, -before[axis]), x.shape[axis] - max(0, -after[axis])), axis)
    width = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
    if mode != "constant":
        return np.pad(x, width, mode)
    value = 0 if constant_value is None else np.asarray(constant_value).reshape(())
    return np.pad(x, width, mode, constant_values=np.asarray(value, x.dtype))


@backward("Pad")
def pad_backward(x, pads, constant_value, axes, y, dy, *, mode="constant", border_gradient=1):
    outside = pad(np.zeros(x.shape, dy.dtype), pads, dy.dtype.type(1), axes, mode=mode)
    d_value = np.sum(dy * outside, dtype=dy.dtype).reshape(np.shape(constant_value))
    return pad_grad(dy, x, pads, axes, mode=mode if border_gradient else "constant"), None, d_value, None


@define("PadGrad")
def pad_grad(dy, like, pads, axes=None, *, mode="constant"):
    copies = pad(np.arange(like.size).reshape(like.shape), pads, -1, axes, mode=mode)
    dx = np.zeros(like.size, dy.dtype)
    np.add.at(dx, copies[copies >= 0], dy[copies >= 0])
    return dx.reshape(like.shape)
