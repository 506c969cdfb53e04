"""Pooling: the largest, the mean or the norm of every window, or of a whole image; and the gradients."""

import math

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._pool_windows import (
    averaged,
    equal_tap,
    lowest,
    pool_windows,
    positions,
    sent_to_taps,
    sent_to_winners,
    spatial_axes,
    static_pool_windows,
    window_counts,
    window_reduce,
    window_spread,
    window_spread_onnx,
    winners,
)
from ._registry import SPATIAL_NUMBERS, operator
from ._windows import (
    channels_last,
    check_cotangent,
    in_layout,
    windows,
)
from .materialize import materialize
from .slice_concat_pad import sent_back

# A maximum's gradient is put together tap by tap and phase by phase; of more, the compiler takes its time.
MANY = 36

# ---- the largest --------------------------------------------------------------------------------------


def max_pool_vjp(op, x, y, indices, dy, d_indices, *, auto_pad, ceil_mode, dilations, kernel_shape, pads, strides):
    return (
        op.MaxPoolGrad(
            dy,
            x,
            y,
            auto_pad=auto_pad,
            ceil_mode=ceil_mode,
            dilations=dilations,
            kernel_shape=kernel_shape,
            pads=pads,
            strides=strides,
        ),
    )


@operator("MaxPool", onnx=("", 12), vjp=max_pool_vjp, layout=((0,), (0, 1)), outputs=2, residual_outputs=(0,))
def max_pool(
    x,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    dilations=None,
    kernel_shape=None,
    pads=None,
    storage_order=0,
    strides=None,
    layout="NCHW",
    wanted=(True, False),
):
    """The largest element of every window, and where in the flattened x it stands.  t[n, c, *s] -> t[n, c, *r],
    i64[n, c, *r].  ONNX MaxPool-12; storage_order 1 counts positions with the first spatial axis fastest."""
    x = channels_last(x, layout)
    win = pool_windows(
        x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads, strides=strides
    )
    y = window_reduce(jnp.maximum, x, win, lowest(x.dtype))
    if not wanted[1]:
        return in_layout(y, layout), None
    image = jnp.reshape(jnp.arange(x.shape[0] * x.shape[-1]), (x.shape[0], *[1] * win.rank, x.shape[-1]))
    indices = image * math.prod(win.sizes) + positions(winners(x, win), win, storage_order)
    return in_layout(y, layout), in_layout(indices, layout)


def max_pool_grad_onnx(op, dy, x, y, *, auto_pad, ceil_mode, dilations, kernel_shape, pads, strides):
    how = {"auto_pad": auto_pad, "dilations": dilations, "pads": pads, "strides": strides}
    if all(isinstance(d, int) for d in x.shape[2:]):  # every default written: evaluators disagree about them
        win = windows(x.shape[2:], kernel_shape, **how)
        how = {"dilations": win.dilations, "pads": (*win.begin, *win.end), "strides": win.strides}
    _, indices = op.MaxPool(x, outputs=2, ceil_mode=ceil_mode, kernel_shape=kernel_shape, **how)
    return sent_back(op, dy, x, indices)


@operator("MaxPoolGrad", decompose=max_pool_grad_onnx, layout=((0, 1, 2), (0,)))
def max_pool_grad(
    dy,
    x,
    y,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    dilations=None,
    kernel_shape=None,
    pads=None,
    strides=None,
    layout="NCHW",
):
    """dL/dx of MaxPool: each dy goes to the largest element of its window, on a tie to the first.  f[n, c, *r],
    f[n, c, *s], f[n, c, *r] -> f[n, c, *s]."""
    dy, x, y = (channels_last(a, layout) for a in (dy, x, y))
    win = pool_windows(
        x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads, strides=strides
    )
    check_cotangent(dy, win, x.shape[-1])
    if max(math.prod(win.kernel), math.prod(win.strides)) > MANY:
        dx = sent_to_winners(dy, x, win)
    else:
        winner = materialize(lambda x, y: equal_tap(x, y, win), x, y)
        dx = materialize(lambda dy, winner: sent_to_taps(dy, winner, win), dy, winner)
    return in_layout(dx, layout)


def global_max_pool_vjp(op, x, y, dy):
    return (op.GlobalMaxPoolGrad(dy, x),)


@operator("GlobalMaxPool", onnx=("", 1), vjp=global_max_pool_vjp, layout=((0,), (0,)))
def global_max_pool(x, *, layout="NCHW"):
    """The largest element of each channel of each image.  f[n, c, *s] -> f[n, c, 1, ...].  ONNX GlobalMaxPool-1."""
    return jnp.max(x, spatial_axes(x, layout), keepdims=True)


def global_max_pool_grad_onnx(op, dy, x):
    flat = op.Reshape(x, (0, 0, -1))
    first = op.ArgMax(flat, axis=2, keepdims=1)
    return op.ReshapeLike(op.ScatterElements(op.ZerosLike(flat), first, op.Reshape(dy, (0, 0, 1)), axis=2), x)


@operator("GlobalMaxPoolGrad", decompose=global_max_pool_grad_onnx, layout=((0, 1), (0,)))
def global_max_pool_grad(dy, x, *, layout="NCHW"):
    """dL/dx of GlobalMaxPool: dy goes to the largest element, on a tie to the first.  f[n, c, 1, ...], f[n, c, *s]
    -> f[n, c, *s]."""
    dy, last = channels_last(dy, layout), channels_last(x, layout)
    flat = jnp.reshape(last, (last.shape[0], -1, last.shape[-1]))
    here = jnp.arange(flat.shape[1])[:, None] == jnp.argmax(flat, 1)[:, None]
    return in_layout(jnp.where(jnp.reshape(here, last.shape), dy, 0), layout)


# ---- the mean -----------------------------------------------------------------------------------------


def average_pool_vjp(op, x, y, dy, *, auto_pad, ceil_mode, count_include_pad, dilations, kernel_shape, pads, strides):
    return (
        op.AveragePoolGrad(
            dy,
            x,
            auto_pad=auto_pad,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            dilations=dilations,
            kernel_shape=kernel_shape,
            pads=pads,
            strides=strides,
        ),
    )


@operator("AveragePool", onnx=("", 19), gradient_exports=SPATIAL_NUMBERS, vjp=average_pool_vjp, layout=((0,), (0,)))
def average_pool(
    x,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    count_include_pad=0,
    dilations=None,
    kernel_shape=None,
    pads=None,
    strides=None,
    layout="NCHW",
):
    """The mean of every window: of what lies in the image, or with count_include_pad also of the padding's zeros.
    f[n, c, *s] -> f[n, c, *r].  ONNX AveragePool-19."""
    x = channels_last(x, layout)
    win = pool_windows(
        x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads, strides=strides
    )
    total = window_reduce(jnp.add, x.astype(jnp.promote_types(x.dtype, jnp.float32)), win, 0)
    return in_layout(averaged(total, win, count_include_pad).astype(x.dtype), layout)


def average_pool_grad_onnx(
    op, dy, x, *, auto_pad, ceil_mode, count_include_pad, dilations, kernel_shape, pads, strides
):
    win = static_pool_windows(
        "AveragePoolGrad",
        x,
        kernel_shape,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        dilations=dilations,
        pads=pads,
        strides=strides,
    )
    counts = np.asarray(math.prod(window_counts(win, count_include_pad)), np.float32)
    size = np.moveaxis(np.reshape(counts, counts.shape or (1,) * (win.rank + 1)), -1, 0)[None]
    return window_spread_onnx(op, op.Div(dy, op.CastLike(size, dy)), x, win)


@operator("AveragePoolGrad", decompose=average_pool_grad_onnx, layout=((0, 1), (0,)))
def average_pool_grad(
    dy,
    x,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    count_include_pad=0,
    dilations=None,
    kernel_shape=None,
    pads=None,
    strides=None,
    layout="NCHW",
):
    """dL/dx of AveragePool, dy spread evenly over each window; of x only the shape is read.  f[n, c, *r], f[n, c, *s]
    -> f[n, c, *s]."""
    dy, x = channels_last(dy, layout), channels_last(x, layout)
    win = pool_windows(
        x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads, strides=strides
    )
    check_cotangent(dy, win, x.shape[-1])
    return in_layout(materialize(lambda dy: window_spread(averaged(dy, win, count_include_pad), win), dy), layout)


def global_average_pool_vjp(op, x, y, dy):
    return (op.GlobalAveragePoolGrad(dy, x),)


@operator("GlobalAveragePool", onnx=("", 1), vjp=global_average_pool_vjp, layout=((0,), (0,)))
def global_average_pool(x, *, layout="NCHW"):
    """The mean of each channel of each image.  f[n, c, *s] -> f[n, c, 1, ...].  ONNX GlobalAveragePool-1."""
    return jnp.mean(x, spatial_axes(x, layout), keepdims=True)


def global_average_pool_grad_onnx(op, dy, x):
    return op.Div(op.ExpandLike(dy, x), op.CastLike(op.ReduceProd(op.Shape(x, start=2)), dy))


@operator("GlobalAveragePoolGrad", decompose=global_average_pool_grad_onnx, layout=((0, 1), (0,)))
def global_average_pool_grad(dy, x, *, layout="NCHW"):
    """dL/dx of GlobalAveragePool: dy / prod(s) everywhere; of x only the shape is read.  f[n, c, 1, ...], f[n, c, *s]
    -> f[n, c, *s]."""
    size = math.prod(jnp.shape(x)[a] for a in spatial_axes(x, layout))
    return jnp.broadcast_to(dy / size, jnp.shape(x))


# ---- the p-norm ---------------------------------------------------------------------------------------


def lp_pool_vjp(op, x, y, dy, *, auto_pad, ceil_mode, dilations, kernel_shape, p, pads, strides):
    return (
        op.LpPoolGrad(
            dy,
            x,
            y,
            auto_pad=auto_pad,
            ceil_mode=ceil_mode,
            dilations=dilations,
            kernel_shape=kernel_shape,
            p=p,
            pads=pads,
            strides=strides,
        ),
    )


@operator("LpPool", onnx=("", 18), gradient_exports=SPATIAL_NUMBERS, vjp=lp_pool_vjp, layout=((0,), (0,)))
def lp_pool(
    x, *, auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape=None, p=2, pads=None, strides=None, layout="NCHW"
):
    """(sum of |x| ** p) ** (1 / p) over every window.  f[n, c, *s] -> f[n, c, *r].  ONNX LpPool-18."""
    x = channels_last(x, layout)
    win = pool_windows(
        x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads, strides=strides
    )
    return in_layout(root(window_reduce(jnp.add, power(x, p), win, 0), p), layout)


def lp_pool_grad_onnx(op, dy, x, y, *, auto_pad, ceil_mode, dilations, kernel_shape, p, pads, strides):
    win = static_pool_windows(
        "LpPoolGrad",
        x,
        kernel_shape,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        dilations=dilations,
        pads=pads,
        strides=strides,
    )
    scaled = op.Where(op.Greater(y, 0.0), op.Mul(dy, op.Pow(y, 1.0 - p)), 0.0)
    return op.Mul(op.Mul(op.Sign(x), op.Pow(op.Abs(x), p - 1.0)), window_spread_onnx(op, scaled, x, win))


@operator("LpPoolGrad", decompose=lp_pool_grad_onnx, layout=((0, 1, 2), (0,)))
def lp_pool_grad(
    dy,
    x,
    y,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    dilations=None,
    kernel_shape=None,
    p=2,
    pads=None,
    strides=None,
    layout="NCHW",
):
    """dL/dx of LpPool: sign(x) |x| ** (p - 1) * sum of dy * y ** (1 - p) over the windows that see x; 0 where y is 0.
    f[n, c, *r], f[n, c, *s], f[n, c, *r] -> f[n, c, *s]."""
    dy, x, y = (channels_last(a, layout) for a in (dy, x, y))
    win = pool_windows(
        x, kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, pads=pads, strides=strides
    )
    check_cotangent(dy, win, x.shape[-1])
    scaled = jnp.where(y > 0, dy * jnp.where(y > 0, y, 1) ** (1 - p), 0)
    spread = materialize(lambda scaled: window_spread(scaled, win), scaled)
    return in_layout(jnp.sign(x) * jnp.abs(x) ** (p - 1) * spread, layout)


def global_lp_pool_vjp(op, x, y, dy, *, p):
    # A channel that is 0 everywhere has the gradient 0.
    scaled = op.Where(op.Greater(y, 0.0), op.Mul(dy, op.Pow(y, 1.0 - p)), 0.0)
    return (op.Mul(op.Mul(op.Sign(x), op.Pow(op.Abs(x), p - 1.0)), scaled),)


@operator("GlobalLpPool", onnx=("", 2), vjp=global_lp_pool_vjp, layout=((0,), (0,)))
def global_lp_pool(x, *, p=2, layout="NCHW"):
    """(sum of |x| ** p) ** (1 / p) over each channel of each image.  f[n, c, *s] -> f[n, c, 1, ...].
    ONNX GlobalLpPool-2."""
    return root(jnp.sum(power(x, p), spatial_axes(x, layout), keepdims=True), p)


def power(x, p):
    if not isinstance(p, int) or p < 1:
        raise GraphError(f"p is {p!r}, expected an integer of at least 1: the norm that is taken")
    return jnp.abs(x) ** p


def root(x, p):
    return x if p == 1 else jnp.sqrt(x) if p == 2 else x ** (1 / p)
