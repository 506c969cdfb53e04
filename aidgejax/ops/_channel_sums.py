"""Sums over all but the channels of an image stored channels last, as a GPU adds fastest.

XLA gives a column of such a matrix of n * pixels rows to few threads: on an H200 4096 rows of 64 channels took 27
microseconds, longer than a convolution of them.  Here the rows are first laid side by side, so that thousands of
columns are added at once; what is left, a small matrix, in a second step.  ResNet-8's step takes 0.88 of the time.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax

COLUMNS = 8192
FEWEST_ROWS = 1024


def sum_over_pixels(x: Any) -> Any:
    """f[*s, c] -> f[c]"""
    axes = tuple(range(jnp.ndim(x) - 1))
    fold = rows_side_by_side(math.prod(jnp.shape(x)[:-1]), jnp.shape(x)[-1])
    if fold == 1:
        return jnp.sum(x, axes)
    folded = partial(folded_sum, fold=fold)
    return lax.platform_dependent(x, cuda=folded, rocm=folded, default=lambda x: jnp.sum(x, axes))


def folded_sum(x: Any, fold: int) -> Any:
    """The same in two steps, `fold` rows side by side in the first."""
    channels = x.shape[-1]
    part = jnp.sum(jnp.reshape(x, (-1, fold * channels)), 0)
    part = lax.optimization_barrier(part)  # else XLA makes one sum of the two again
    return jnp.sum(jnp.reshape(part, (fold, channels)), 0)


def rows_side_by_side(rows: Any, channels: Any) -> int:
    """A power of two that divides the rows; 1 where there are few, or their number is not known yet."""
    if not isinstance(rows, int) or not isinstance(channels, int) or rows < FEWEST_ROWS:
        return 1
    fold = 1
    while rows % (2 * fold) == 0 and 2 * fold * channels <= COLUMNS and rows // fold > 2 * fold:
        fold *= 2
    return fold
