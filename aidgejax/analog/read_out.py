"""A tile's weight as its outputs show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import TileError


def estimated_weight(
    outputs: Callable[[Any], Any], inputs: int, x: Any = None, over_sampling: int = 10, constant: bool = False
) -> np.ndarray:
    """f32[out, inputs]: the least-squares W of y = x W^T, y = outputs(x); constant: y = x W^T + b, [W | b].

    x: f[n, inputs], n at least `inputs`; None: over_sampling * inputs rows of standard normal numbers.
    TileError where x does not determine W.
    """
    if x is None:
        x = np.random.default_rng(inputs).normal(size=(max(1, over_sampling) * inputs, inputs))
    x = np.asarray(x, np.float32)
    if x.ndim != 2 or x.shape[1] != inputs or len(x) < inputs:
        raise TileError(f"x_values has shape {list(x.shape)}: expected [n, {inputs}] with n at least {inputs}")
    columns = np.hstack([x, np.ones((len(x), 1))]) if constant else x
    found = np.linalg.lstsq(columns.astype(np.float64), np.asarray(outputs(x), np.float64), rcond=None)[0]
    return found.T.astype(np.float32)
