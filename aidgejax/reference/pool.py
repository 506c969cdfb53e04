"""Pooling, and its gradients, in NumPy."""

import itertools
import math

import numpy as np

from ._definition import backward, define


class Pool:
    """Per window and spatial axis: the positions in the image that it sees (padding left out)."""

    def __init__(self, sizes, kernel_shape, strides=None, pads=None, dilations=None, auto_pad="NOTSET", ceil_mode=0):
        rank = len(sizes)
        strides, dilations = strides or [1] * rank, dilations or [1] * rank
        pads = pads or [0] * (2 * rank)
        self.seen, self.count = [], []
        for axis, (n, k, s, d) in enumerate(zip(sizes, kernel_shape, strides, dilations, strict=True)):
            reach = (k - 1) * d + 1
            front, back = pads[axis], pads[axis + rank]
            if auto_pad == "VALID":
                front, back, out = 0, 0, math.ceil((n - reach + 1) / s)
            elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
                out = math.ceil(n / s)
                total = max(0, (out - 1) * s + reach - n)
                front = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
                back = total - front
            else:
                out = (n + front + back - reach) / s + 1
                out = math.ceil(out) if ceil_mode else math.floor(out)
                if (out - 1) * s >= n + front:  # it would start in the padding behind
                    out -= 1
            starts = [o * s - front for o in range(out)]
            self.seen.append([[p for p in range(a, a + reach, d) if 0 <= p < n] for a in starts])
            self.count.append([len([p for p in range(a, a + reach, d) if p < n + back]) for a in starts])
        self.out = tuple(len(w) for w in self.seen)

    def __iter__(self):
        """(window, index of what it sees): x[index] is [n, c, *window]."""
        for at in np.ndindex(*self.out):
            yield at, (slice(None), slice(None), *np.ix_(*(axis[o] for axis, o in zip(self.seen, at, strict=True))))

    def divisors(self, count_include_pad):
        """How many elements each window averages over, in the shape of the windows."""
        counts = self.count if count_include_pad else [[len(w) for w in axis] for axis in self.seen]
        return np.maximum(1, math.prod(np.ix_(*map(np.array, counts))))

    def divisor(self, at, count_include_pad):
        """How many elements the window averages over."""
        counts = self.count if count_include_pad else [[len(w) for w in axis] for axis in self.seen]
        return max(1, math.prod(axis[o] for axis, o in zip(counts, at, strict=True)))


@define("MaxPool")
def max_pool(
    x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, pads=None, storage_order=0, strides=None
):
    pool = Pool(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    y = np.zeros((*x.shape[:2], *pool.out), x.dtype)
    indices = np.zeros(y.shape, np.int64)
    numbers = np.arange(x.size).reshape(x.shape)
    if storage_order:
        order = (0, 1, *reversed(range(2, x.ndim)))
        numbers = np.arange(x.size).reshape([x.shape[k] for k in order]).transpose(order)
    for at, window in pool:
        found = x[window].reshape(*x.shape[:2], -1)
        first = np.argmax(found, axis=2)[..., None]
        y[(..., *at)] = np.take_along_axis(found, first, 2)[..., 0]
        indices[(..., *at)] = np.take_along_axis(numbers[window].reshape(found.shape), first, 2)[..., 0]
    return y, indices


@define("MaxPoolGrad")
def max_pool_grad(dy, x, y, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, pads=None, strides=None):
    pool = Pool(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    dx = np.zeros_like(x)
    for at, window in pool:
        equal = (x[window] == y[(..., *at)].reshape(*y.shape[:2], *[1] * len(at))).reshape(*x.shape[:2], -1)
        first = equal & (np.cumsum(equal, 2) == 1)
        dx[window] += (first * dy[(..., *at)][..., None]).reshape(dx[window].shape)
    return dx


@backward("MaxPool")
def max_pool_backward(x, y, indices, dy, d_indices, *, storage_order=0, **attributes):
    """What the indices point at, added up."""
    if storage_order:
        _, indices = max_pool(x, **attributes)
    dx = np.zeros(x.size, dy.dtype)
    np.add.at(dx, indices.ravel(), dy.ravel())
    return (dx.reshape(x.shape),)


@define("AveragePool")
def average_pool(
    x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, pads=None, strides=None
):
    pool = Pool(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    total = x
    for axis, windows in enumerate(pool.seen, 2):  # a sum over a box is one over each of its sides
        total = np.stack([np.take(total, np.array(w, int), axis).sum(axis) for w in windows], axis)
    return (total / pool.divisors(count_include_pad)).astype(x.dtype)


@define("AveragePoolGrad")
def average_pool_grad(
    dy, x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, pads=None, strides=None
):
    pool = Pool(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    dx = np.zeros_like(x)
    for at, window in pool:
        dx[window] += (dy[(..., *at)] / pool.divisor(at, count_include_pad)).reshape(*dy.shape[:2], *[1] * len(at))
    return dx


@backward("AveragePool")
def average_pool_backward(x, y, dy, *, kernel_shape, **attributes):
    """Position by position: it feels every window that sees it."""
    include = attributes.pop("count_include_pad", 0)
    pool = Pool(x.shape[2:], kernel_shape, **attributes)
    dx = np.zeros_like(x)
    for p in np.ndindex(*x.shape[2:]):
        near = [[o for o, seen in enumerate(axis) if q in seen] for axis, q in zip(pool.seen, p, strict=True)]
        dx[(..., *p)] = sum(dy[(..., *at)] / pool.divisor(at, include) for at in itertools.product(*near))
    return (dx,)


@define("GlobalAveragePool")
def global_average_pool(x):
    return x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)


@define("GlobalAveragePoolGrad")
def global_average_pool_grad(dy, x):
    return np.ones_like(x) * (dy / math.prod(x.shape[2:]))


@backward("GlobalAveragePool")
def global_average_pool_backward(x, y, dy):
    return (np.broadcast_to(dy, x.shape) / math.prod(x.shape[2:]),)


@define("GlobalMaxPool")
def global_max_pool(x):
    return x.max(axis=tuple(range(2, x.ndim)), keepdims=True)


@define("GlobalMaxPoolGrad")
def global_max_pool_grad(dy, x):
    dx = np.zeros_like(x)
    for n, c in np.ndindex(*x.shape[:2]):
        dx[n, c].flat[np.argmax(x[n, c])] = dy[n, c].item()
    return dx


@backward("GlobalMaxPool")
def global_max_pool_backward(x, y, dy):
    flat = (x == y).reshape(*x.shape[:2], -1)
    first = flat & (np.cumsum(flat, 2) == 1)
    return (first.reshape(x.shape) * dy,)


@define("LpPool")
def lp_pool(x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, p=2, pads=None, strides=None):
    pool = Pool(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    y = np.zeros((*x.shape[:2], *pool.out), x.dtype)
    for at, window in pool:
        y[(..., *at)] = np.linalg.norm(x[window].reshape(*x.shape[:2], -1), p, axis=2)
    return y


@define("LpPoolGrad")
def lp_pool_grad(
    dy, x, y, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, p=2, pads=None, strides=None
):
    pool = Pool(x.shape[2:], kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    dx = np.zeros_like(x)
    for at, window in pool:
        norm = y[(..., *at)].reshape(*y.shape[:2], *[1] * len(at))
        slope = np.sign(x[window]) * np.abs(x[window]) ** (p - 1) / np.where(norm > 0, norm, 1) ** (p - 1)
        dx[window] += (norm > 0) * slope * dy[(..., *at)].reshape(norm.shape)
    return dx


@backward("LpPool")
def lp_pool_backward(x, y, dy, **attributes):
    return (lp_pool_grad(dy, x, y, **attributes),)


@define("GlobalLpPool")
def global_lp_pool(x, *, p=2):
    return np.linalg.norm(x.reshape(*x.shape[:2], -1), p, axis=2).reshape(*x.shape[:2], *[1] * (x.ndim - 2))


@backward("GlobalLpPool")
def global_lp_pool_backward(x, y, dy, *, p=2):
    return (dy * np.sign(x) * (np.abs(x) / np.where(y > 0, y, 1)) ** (p - 1) * (y > 0),)
