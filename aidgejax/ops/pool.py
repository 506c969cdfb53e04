"""Pooling, and its gradients."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._operator import operator
from ._windows import Windows, channels_last, cover, image_rank, in_layout, tap, uncover, untap, windows


def max_pool_vjp(op, x, y, indices, dy, d_indices, *, auto_pad, ceil_mode, dilations, kernel_shape, pads, strides):
    return (op.MaxPoolGrad(dy, x, y, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations,
                           kernel_shape=kernel_shape, pads=pads, strides=strides),)


@operator("MaxPool", onnx=("", 12), vjp=max_pool_vjp, images=((0,), (0, 1)), outputs=2, saves=(0,))
def max_pool(x, *, auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape=None, pads=None, storage_order=0,
             strides=None, layout="NCHW", wanted=(True, False)):
    """The largest element of every window, and where in the flattened x it stands.  t[n, c, *s] -> t[n, c, *r],
    i64[n, c, *r].  ONNX MaxPool-12; storage_order 1 counts positions with the first spatial axis fastest."""
    x = channels_last(x, layout)
    win = pool_windows(x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads,
                       strides=strides)
    padded = cover(x, win, lowest(x.dtype))
    y = largest([tap(padded, win, t) for t in win.taps])
    indices = in_layout(max_indices(x, y, win, storage_order), layout) if wanted[1] else None
    return in_layout(y, layout), indices


def max_pool_grad_onnx(op, dy, x, y, *, auto_pad, ceil_mode, dilations, kernel_shape, pads, strides):
    """dy added where MaxPool's own Indices say."""
    _, indices = op.MaxPool(x, outputs=2, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations,
                            kernel_shape=kernel_shape, pads=pads, strides=strides)
    flat = op.ScatterElements(op.Reshape(op.ZerosLike(x), (-1,)), op.Reshape(indices, (-1,)), op.Reshape(dy, (-1,)),
                              axis=0, reduction="add")
    return op.ReshapeLike(flat, x)


@operator("MaxPoolGrad", decompose=max_pool_grad_onnx, images=((0, 1, 2), (0,)))
def max_pool_grad(dy, x, y, *, auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape=None, pads=None,
                  strides=None, layout="NCHW"):
    """dL/dx of MaxPool: each dy goes to the largest element of its window, on a tie to the first.  f[n, c, *r],
    f[n, c, *s], f[n, c, *r] -> f[n, c, *s]."""
    dy, x, y = (channels_last(a, layout) for a in (dy, x, y))
    win = pool_windows(x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads,
                       strides=strides)
    padded = cover(x, win, lowest(x.dtype))
    total, free = 0, True
    for t in win.taps:
        hit = (tap(padded, win, t) == y) & free
        free = free & ~hit
        total = total + untap(jnp.where(hit, dy, 0), win, t)
    return in_layout(uncover(total, win), layout)


def average_pool_vjp(op, x, y, dy, *, auto_pad, ceil_mode, count_include_pad, dilations, kernel_shape, pads, strides):
    return (op.AveragePoolGrad(dy, x, auto_pad=auto_pad, ceil_mode=ceil_mode, count_include_pad=count_include_pad,
                               dilations=dilations, kernel_shape=kernel_shape, pads=pads, strides=strides),)


@operator("AveragePool", onnx=("", 19), vjp=average_pool_vjp, images=((0,), (0,)))
def average_pool(x, *, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, kernel_shape=None,
                 pads=None, strides=None, layout="NCHW"):
    """The mean of every window: of what lies in the image, or with count_include_pad also of the padding's zeros.
    f[n, c, *s] -> f[n, c, *r].  ONNX AveragePool-19."""
    x = channels_last(x, layout)
    win = pool_windows(x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads,
                       strides=strides)
    return in_layout(window_sum(x, win) / window_size(win, count_include_pad, x.dtype), layout)


def average_pool_grad_onnx(op, dy, x, *, auto_pad, ceil_mode, count_include_pad, dilations, kernel_shape, pads,
                           strides):
    win = static_pool_windows("AveragePoolGrad", x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode,
                              dilations=dilations, pads=pads, strides=strides)
    size = window_size(win, count_include_pad, np.float32)
    if np.ndim(size):
        size = op.CastLike(np.moveaxis(np.asarray(size), -1, 0)[None], dy)
    return spread_onnx(op, op.Div(dy, size), x, win)


@operator("AveragePoolGrad", decompose=average_pool_grad_onnx, images=((0, 1), (0,)))
def average_pool_grad(dy, x, *, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None,
                      kernel_shape=None, pads=None, strides=None, layout="NCHW"):
    """dL/dx of AveragePool, dy spread evenly over each window; of x only the shape is read.  f[n, c, *r], f[n, c, *s]
    -> f[n, c, *s]."""
    dy, x = channels_last(dy, layout), channels_last(x, layout)
    win = pool_windows(x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads,
                       strides=strides)
    return in_layout(window_spread(dy / window_size(win, count_include_pad, dy.dtype), win), layout)


def global_average_pool_vjp(op, x, y, dy):
    return (op.GlobalAveragePoolGrad(dy, x),)


@operator("GlobalAveragePool", onnx=("", 1), vjp=global_average_pool_vjp, images=((0,), (0,)))
def global_average_pool(x, *, layout="NCHW"):
    """The mean of each channel of each image.  f[n, c, *s] -> f[n, c, 1, ...].  ONNX GlobalAveragePool-1."""
    return jnp.mean(x, spatial_axes(x, layout), keepdims=True)


def global_average_pool_grad_onnx(op, dy, x):
    return op.Div(op.ExpandLike(dy, x), op.CastLike(op.ReduceProd(op.Shape(x, start=2)), dy))


@operator("GlobalAveragePoolGrad", decompose=global_average_pool_grad_onnx, images=((0, 1), (0,)))
def global_average_pool_grad(dy, x, *, layout="NCHW"):
    """dy / prod(s) at every position of x; of x only the shape is read.  f[n, c, 1, ...], f[n, c, *s]
    -> f[n, c, *s]."""
    size = math.prod(jnp.shape(x)[a] for a in spatial_axes(x, layout))
    return jnp.broadcast_to(dy / size, jnp.shape(x))


# ---- shared -------------------------------------------------------------------------------------------


def pool_windows(x, kernel_shape, **how) -> Windows:
    """The windows of a pool on x[n, *s, c]."""
    image_rank(x)
    if kernel_shape is None:
        raise GraphError("a pool needs the attribute kernel_shape, e.g. kernel_shape=(2, 2)")
    return windows(x.shape[1:-1], kernel_shape, **how)


def static_pool_windows(what, x, kernel_shape, **how) -> Windows:
    """The windows on a Value x, for spelling an operator in ONNX."""
    if not all(isinstance(d, int) for d in x.shape[2:]):
        raise GraphError(f"{what} can be spelled in standard operators only where the spatial sizes are numbers, "
                         f"got {x}; declare the image with fixed height and width")
    return windows(x.shape[2:], kernel_shape, **how)


def spatial_axes(x, layout):
    rank = image_rank(x)
    return tuple(range(1, rank + 1) if layout == "NHWC" else range(2, rank + 2))


def lowest(dtype):
    """What padding must be so as never to be a maximum."""
    return -math.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def largest(parts):
    return functools.reduce(jnp.maximum, parts)


def max_indices(x, y, win, storage_order):
    """Of every window's first maximum, its position in the flattened image [n, c, *s]."""
    n, *sizes, c = x.shape
    order = range(win.rank) if storage_order else reversed(range(win.rank))
    position, step = 0, 1
    for axis in order:
        shape = [1] * win.rank
        shape[axis] = sizes[axis]
        position = position + step * np.arange(sizes[axis]).reshape(shape)
        step *= sizes[axis]
    number = jnp.int64 if jax.config.jax_enable_x64 else jnp.int32
    # Where padding is met, its index is larger than any other: it loses against everything in the window.
    position = cover(jnp.asarray(position, number)[None, ..., None], win, np.iinfo(np.int32).max)
    padded = cover(x, win, lowest(x.dtype))
    found, free = 0, True
    for t in win.taps:
        hit = (tap(padded, win, t) == y) & free
        free = free & ~hit
        found = jnp.where(hit, tap(position, win, t), found)
    image = jnp.arange(n, dtype=number).reshape(-1, *[1] * (win.rank + 1)) * c + jnp.arange(c, dtype=number)
    return found + image * step


def window_sum(x, win):
    x = cover(x, win)
    return sum(tap(x, win, t) for t in win.taps)


def window_spread(y, win):
    """The transpose of window_sum."""
    return uncover(sum(untap(y, win, t) for t in win.taps), win)


def window_size(win, with_padding, dtype):
    """How many elements each window averages over: a number, or [*out, 1].  Nothing behind the padding counts."""
    size = np.ones((1,) * (win.rank + 1))
    for axis in range(win.rank):
        first = np.arange(win.out[axis]) * win.strides[axis] - win.begin[axis]
        seen = first[:, None] + np.arange(win.kernel[axis]) * win.dilations[axis]
        low, high = (-win.begin[axis], win.sizes[axis] + win.end[axis]) if with_padding else (0, win.sizes[axis])
        count = ((low <= seen) & (seen < high)).sum(1)
        size = size * count.reshape([-1 if a == axis else 1 for a in range(win.rank + 1)])
    size = np.maximum(size, 1)
    return float(size.flat[0]) if (size == size.flat[0]).all() else jnp.asarray(size, dtype)


def spread_onnx(op, y, x, win):
    """window_spread in ONNX: each channel by itself goes through a ConvTranspose of ones."""
    ones = op.CastLike(np.ones((1, 1, *win.kernel), np.float32), y)
    wide = op.ConvTranspose(op.Reshape(y, (-1, 1, *win.out)), ones, strides=win.strides, dilations=win.dilations,
                            pads=(*win.begin, *(max(0, a) for a in win.after)),
                            output_padding=tuple(max(0, -a) for a in win.after))
    return op.ReshapeLike(wide, x)
