"""Which library XLA on CPU calls for a convolution: one that takes a single thread, or one that takes them all.

Up to jaxlib 0.10 the first of them, YNNPACK, computes a convolution of any size on one thread.  Eigen, the second,
takes up to a third more time of all cores together, and shares it out.  XLA leaves to Eigen what has more windows
along an axis than the image has pixels, so one row of windows too many is asked for, and cut off again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from ._windows import Windows

# Multiplications: of less, sharing costs more than it saves.
LEAST_WORK = 1 << 24
# YNNPACK takes neither so few channels nor other numbers: nothing need be done.
FEW_CHANNELS = 16
OF_YNNPACK = ("float32", "float64")


def on_all_threads(convolve: Callable[[Any, Any, Windows], Any], x: Any, w: Any, win: Windows) -> Any:
    """convolve(x, w, win) for stride 1 and one group, where it is large by Eigen.  f[n, h, w, i] -> f[n, *out, o]."""
    if not _left_to_one_thread(x, w, win):
        return convolve(x, w, win)
    too_many = max(1, win.sizes[0] + 1 - win.out[0])
    return convolve(x, w, replace(win, out=(win.out[0] + too_many, *win.out[1:])))[:, : win.out[0]]


def takes_one_thread(dtype: Any, channels: int) -> bool:
    """Whether XLA gives the first library a convolution of such numbers and so many channels, and that one thread."""
    return jax.__version_info__ < (0, 11) and dtype.name in OF_YNNPACK and channels > FEW_CHANNELS


def _left_to_one_thread(x: Any, w: Any, win: Windows) -> bool:
    if _cores() < 2 or not takes_one_thread(x.dtype, max(w.shape[-2:])):
        return False
    if win.rank != 2 or max(win.strides) > 1 or not isinstance(x.shape[0], int):
        return False
    return x.shape[0] * math.prod(win.out) * math.prod(w.shape) >= LEAST_WORK


def _cores() -> int:
    """On which this process may run: XLA makes so many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
