"""What the numbers of a tensor say about its part in an architecture: masks, steps, tables and grids are not learnt."""

from __future__ import annotations

import math

import numpy as np

MASKED = 1e4  # what is added to scores to hide them is below minus this
KNOWN = (math.sqrt(2 / math.pi), 0.044715, 1.702, 1.6732632, 1.0507009, math.pi, math.e, math.log(2), 1 / 255)


def two_values(numbers: np.ndarray) -> bool:
    return len(np.unique(numbers)) <= 2


def is_steps(numbers: np.ndarray) -> bool:
    """0, 1, 2, ...: positions, or a grid; not zeros."""
    flat = np.ravel(numbers)
    if flat.size < 8 or flat.size != max(numbers.shape):
        return False
    steps = np.diff(flat)
    return bool(steps[0] != 0 and np.allclose(steps, steps[0], rtol=1e-5, atol=0))


def counts_channels(data: np.ndarray) -> bool:
    """The kernel of one channel that says how a distribution over 0, 1, 2, ... is averaged, as in detectors."""
    return data.size >= 4 and data.shape[0] == 1 and bool(np.array_equal(np.ravel(data), np.arange(data.size)))


def is_grid(numbers: np.ndarray) -> bool:
    """Cells, anchors and strides of a detector: many whole numbers or halves, none negative."""
    return numbers.size >= 8 and bool(
        np.all(numbers * 2 == np.round(numbers * 2)) and numbers.min() >= 0 and len(np.unique(numbers)) > 2
    )


def is_formula(data: np.ndarray) -> bool:
    """Waves or ramps of positions, such as sines, the caches of rotary positions, grids, slopes of distances.

    Along its positions each of them obeys x[t + 1] + x[t - 1] = c x[t], c = 2 cos(frequency); what is learnt does not.
    """
    table = np.squeeze(data)
    if table.ndim < 2 or min(table.shape) < 2:
        return False
    for axis in range(table.ndim):
        length = table.shape[axis]
        if length < 4:
            continue
        lines = np.moveaxis(table, axis, 0).reshape(length, -1)[:512, :64].astype(np.float64)
        if not np.isfinite(lines).all():  # a mask
            continue
        moving = np.ptp(lines, axis=0) > 0
        if moving.sum() * (len(lines) - 3) < 6 or 2 * moving.sum() < len(moving):
            continue
        x, around = lines[1:-1], lines[2:] + lines[:-2]
        c = (x * around).sum(0) / np.maximum((x * x).sum(0), 1e-30)
        if np.abs(around - c * x).max() <= 1e-3 * np.abs(lines).max() and np.abs(c).max() < 2.001:
            return True
    return False


def is_known(number: float) -> bool:
    """Whole numbers, their roots, halves and so on: what formulas are written with."""
    size = abs(number)
    if not np.isfinite(size) or size <= 1e-3 or size >= MASKED:
        return True

    def near(x: float, whole: float) -> bool:
        return abs(x - whole) <= 1e-5 * max(1.0, whole)

    for x in (size, 1 / size):
        if near(x, round(x)) or near(x * x, round(x * x)):
            return True
    return near(size * 6, round(size * 6)) or any(near(size, k) or near(1 / size, k) for k in KNOWN)
