"""Convolutions of few channels on a GPU: what the windows see, written out as a matrix, and products of matrices.

cuDNN's fast kernels want a multiple of four channels or eight; for fewer it pads, or goes without tensor cores: on an
H200 the five convolutions of a LeNet's step took half of its time.  The matrix has a row for each tap and channel and
a column for each window, so that a tap writes a stretch of memory; the weight gradient's is that of the forward, which
XLA finds to be the same.  ResNet-8's step, whose first convolution has three channels, takes 0.92 of the time.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from ._windows import Windows, cover, tap

FEW_CHANNELS = 7
# What stays in the second-level cache of a data-center GPU; above, patches cost more memory than cuDNN's kernels time.
LARGEST = 48 << 20


def takes_patches(x: Any, win: Windows, group: int) -> bool:
    """Whether an image f[n, *sizes, i] and its windows are small enough, and its channels few."""
    n, channels = x.shape[0], x.shape[-1]
    if group > 1 or channels > FEW_CHANNELS or math.prod(win.kernel) == 1 or not isinstance(n, int):
        return False
    return n * math.prod((*win.out, *win.kernel, channels)) * x.dtype.itemsize <= LARGEST


def patches(x: Any, win: Windows) -> Any:
    """t[n, *sizes, i] -> t[taps * i, n * prod(out)]"""
    wide = cover(x, win)
    seen = [jnp.moveaxis(tap(wide, win, t), -1, 0) for t in win.taps]
    return jnp.reshape(jnp.stack(seen), (len(seen) * x.shape[-1], -1))


def convolve_by_patches(x: Any, w: Any, win: Windows) -> Any:
    """As convolve for one group."""
    y = _product(patches(x, win), jnp.reshape(w, (-1, w.shape[-1])), ((0,), (0,)))
    return jnp.reshape(y, (-1, *win.out, w.shape[-1]))


def weight_by_patches(x: Any, dy: Any, win: Windows) -> Any:
    """As convolve_weight for one group."""
    dw = _product(patches(x, win), jnp.reshape(dy, (-1, dy.shape[-1])), ((1,), (0,)))
    return jnp.reshape(dw, (*win.kernel, x.shape[-1], dy.shape[-1]))


def _product(a: Any, b: Any, over: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return lax.dot_general(a, b, (over, ((), ())), preferred_element_type=wide).astype(a.dtype)
