"""A convolution and its two gradients as XLA runs them: channels-last images, kernels [*k, in, out].

XLA on CPU is fast, inside lax.scan above all, only for dots, element-wise loops and convolutions of unit dilation
(jax issue 12868).  So each of the three has a form made of those, and lax's own form for every other platform.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from ._windows import Windows, cover, tap, uncover, untap

# Columns (the image repeated once per tap) up to this many bytes are cheaper than a convolution of many channels.
COLUMNS_BYTES = 16 << 20


def convolve(x: Any, w: Any, win: Windows, group: int) -> Any:
    """y[n, *out, o] = sum over taps and channels of x * w.  f[n, *sizes, i], f[*k, i / group, o] -> f[n, *out, o]."""
    if _depthwise(x, w, group):
        return lax.platform_dependent(
            x, w, cpu=lambda x, w: _depthwise_forward(x, w, win), default=lambda x, w: _lax_convolve(x, w, win, group))
    if group == 1 and w.shape[-2] == 1:
        return lax.platform_dependent(
            x, w, cpu=lambda x, w: _forward_by_taps(x, w, win), default=lambda x, w: _lax_convolve(x, w, win, group))
    return lax.platform_dependent(
        x, w, cpu=lambda x, w: _each_group(lambda x, w: _lax_convolve(x, w, win, 1), group, x, w),
        default=lambda x, w: _lax_convolve(x, w, win, group))


def convolve_input(dy: Any, w: Any, win: Windows, group: int) -> Any:
    """dL/dx of convolve.  f[n, *out, o], f[*k, i / group, o] -> f[n, *sizes, i]."""
    if group > 1 and w.shape[-2] == 1:
        ours = lambda dy, w: _depthwise_input(dy, w, win, group)  # noqa: E731
    else:
        ours = lambda dy, w: _each_group(lambda dy, w: _input(dy, w, win), group, dy, w)  # noqa: E731
    return lax.platform_dependent(dy, w, cpu=ours, default=lambda dy, w: _lax_input(dy, w, win, group))


def convolve_weight(x: Any, dy: Any, win: Windows, group: int) -> Any:
    """dL/dw of convolve.  f[n, *sizes, i], f[n, *out, o] -> f[*k, i / group, o]."""
    if group > 1 and x.shape[-1] == group:
        ours = lambda x, dy: _depthwise_weight(x, dy, win)  # noqa: E731
    else:
        ours = lambda x, dy: _each_group(lambda x, dy: _weight(x, dy, win), group, x, dy)  # noqa: E731
    return lax.platform_dependent(x, dy, cpu=ours, default=lambda x, dy: _lax_weight(x, dy, win, group))


# ---- on CPU -------------------------------------------------------------------------------------------


def _each_group(f: Callable, group: int, a: Any, b: Any) -> Any:
    """f on the channels of one group after the other."""
    parts = zip(jnp.split(a, group, -1), jnp.split(b, group, -1), strict=True)
    return jnp.concatenate([f(*p) for p in parts], -1) if group > 1 else f(a, b)


def _columns(x: Any, win: Windows) -> Any:
    """What each window sees, tap by tap.  f[n, *sizes, i] -> f[n, *out, taps * i]."""
    x = cover(x, win)
    return jnp.concatenate([tap(x, win, t) for t in win.taps], -1)


def _dot(a: Any, b: Any, over_a: tuple[int, ...], over_b: tuple[int, ...]) -> Any:
    return lax.dot_general(a, b, ((over_a, over_b), ((), ())))


def _forward_by_taps(x: Any, w: Any, win: Windows) -> Any:
    x = cover(x, win)
    return sum(_dot(tap(x, win, t), w[t], (x.ndim - 1,), (0,)) for t in win.taps)


def _input(dy: Any, w: Any, win: Windows) -> Any:
    columns = math.prod(dy.shape[:-1]) * math.prod(w.shape[:-1]) * dy.dtype.itemsize
    if max(win.strides) == 1 and columns > COLUMNS_BYTES:
        return _input_by_convolution(dy, w, win)
    return _input_by_taps(dy, w, win)


def _input_by_convolution(dy: Any, w: Any, win: Windows) -> Any:
    """Stride 1: dy convolved with the flipped and transposed kernel."""
    w = jnp.flip(jnp.swapaxes(w, -2, -1), tuple(range(win.rank)))
    before = [e - 1 - b for e, b in zip(win.extent, win.begin, strict=True)]
    after = [n + e - 1 - o - b for n, e, o, b in zip(win.sizes, win.extent, win.out, before, strict=True)]
    dy = lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *((b, a, 0) for b, a in zip(before, after, strict=True)),
                                               (0, 0, 0)])
    return lax.conv_general_dilated(dy, w, (1,) * win.rank, "VALID", rhs_dilation=win.dilations,
                                    dimension_numbers=_dimensions(win.rank))


def _input_by_taps(dy: Any, w: Any, win: Windows) -> Any:
    """One dot makes every tap's share, then each is added where its tap lies."""
    shares = _dot(dy, w, (dy.ndim - 1,), (w.ndim - 1,))  # [n, *out, *k, i]
    at = (slice(None),) * (dy.ndim - 1)
    return uncover(sum(untap(shares[(*at, *t)], win, t) for t in win.taps), win)


def _weight(x: Any, dy: Any, win: Windows) -> Any:
    columns = _columns(x, win)
    over = tuple(range(dy.ndim - 1))
    return jnp.reshape(_dot(dy, columns, over, over).T, (*win.kernel, x.shape[-1], dy.shape[-1]))


def _depthwise(x: Any, w: Any, group: int) -> bool:
    return group > 1 and w.shape[-2] == 1


def _depthwise_forward(x: Any, w: Any, win: Windows) -> Any:
    each = w.shape[-1] // x.shape[-1]
    x = jnp.repeat(cover(x, win), each, -1) if each > 1 else cover(x, win)
    return sum(tap(x, win, t) * w[(*t, 0)] for t in win.taps)


def _depthwise_input(dy: Any, w: Any, win: Windows, group: int) -> Any:
    each = w.shape[-1] // group
    total = uncover(sum(untap(dy * w[(*t, 0)], win, t) for t in win.taps), win)
    return jnp.sum(jnp.reshape(total, (*total.shape[:-1], group, each)), -1) if each > 1 else total


def _depthwise_weight(x: Any, dy: Any, win: Windows) -> Any:
    each = dy.shape[-1] // x.shape[-1]
    x = jnp.repeat(cover(x, win), each, -1) if each > 1 else cover(x, win)
    over = tuple(range(dy.ndim - 1))
    return jnp.reshape(jnp.stack([jnp.sum(tap(x, win, t) * dy, over) for t in win.taps]),
                       (*win.kernel, 1, dy.shape[-1]))


# ---- elsewhere: what lax itself offers ----------------------------------------------------------------


def _dimensions(rank: int) -> lax.ConvDimensionNumbers:
    image, kernel = (0, rank + 1, *range(1, rank + 1)), (rank + 1, rank, *range(rank))
    return lax.ConvDimensionNumbers(image, kernel, image)


def _lax_convolve(x: Any, w: Any, win: Windows, group: int) -> Any:
    return lax.conv_general_dilated(x, w, win.strides, list(zip(win.begin, win.after, strict=True)),
                                    rhs_dilation=win.dilations, dimension_numbers=_dimensions(win.rank),
                                    feature_group_count=group)


def _lax_input(dy: Any, w: Any, win: Windows, group: int) -> Any:
    """The convolution of dy, spread out by the strides, with the flipped and transposed kernel."""
    w = jnp.flip(w, tuple(range(win.rank)))
    w = jnp.reshape(w, (*w.shape[:-1], group, -1))  # [*k, i / group, group, o / group]
    w = jnp.moveaxis(w, -1, -3)
    w = jnp.reshape(jnp.swapaxes(w, -1, -2), (*win.kernel, w.shape[-3], -1))
    pads = [(e - 1 - b, n + b - s * (o - 1) - 1) for n, e, b, s, o in
            zip(win.sizes, win.extent, win.begin, win.strides, win.out, strict=True)]
    return lax.conv_general_dilated(dy, w, (1,) * win.rank, pads, lhs_dilation=win.strides, rhs_dilation=win.dilations,
                                    dimension_numbers=_dimensions(win.rank), feature_group_count=group)


def _lax_weight(x: Any, dy: Any, win: Windows, group: int) -> Any:
    """The convolution of x by dy, spread out by the strides, channels and batch exchanged."""
    rank = win.rank
    image, kernel = (rank + 1, 0, *range(1, rank + 1)), (rank + 1, 0, *range(1, rank + 1))
    result = (rank, rank + 1, *range(rank))
    return lax.conv_general_dilated(x, dy, win.dilations, list(zip(win.begin, win.after, strict=True)),
                                    rhs_dilation=win.strides, batch_group_count=group,
                                    dimension_numbers=lax.ConvDimensionNumbers(image, kernel, result))
