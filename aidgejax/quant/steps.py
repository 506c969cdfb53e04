"""Choosing steps from numbers: the step of least squared error, powers of two, zero points."""

from __future__ import annotations

from typing import Any

import numpy as np

SHRINK = np.linspace(0.05, 1.0, 48)  # candidates, as shares of the step that covers everything
TINY = 2.0**-100


def power_of_two(step: Any) -> np.ndarray:
    """The powers of two nearest to these steps in the logarithm, as the operator PowerOfTwo has them."""
    fraction, exponent = np.frexp(np.asarray(step, np.float32))
    return np.ldexp(np.float32(1), exponent - (fraction <= np.sqrt(np.float32(0.5)))).astype(np.float32)


def covering(low_seen: Any, high_seen: Any, low: int, high: int) -> np.ndarray:
    """The smallest step with which nothing between these two numbers is cut off; f32."""
    need = np.maximum(np.asarray(high_seen, np.float64) / high, np.asarray(low_seen, np.float64) / low if low else 0)
    return np.maximum(need, TINY).astype(np.float32)


def candidates(cover: Any, shifts: bool) -> np.ndarray:
    """f64[tries, *shape]: steps to try, below the one that covers everything."""
    cover = np.asarray(cover, np.float64)
    if shifts:
        top = power_of_two(cover).astype(np.float64)
        return np.stack([top * 2.0**-k for k in range(-1, 6)])
    return SHRINK.reshape(-1, *[1] * cover.ndim) * cover


def weight_step(
    weight: np.ndarray, shape: tuple[int, ...], low: int, high: int, *, shifts: bool = False, signed: bool = True
) -> np.ndarray:
    """The steps of least squared error for a weight.  shape: of the steps, as FakeQuantize takes them.

    Each of its numbers is chosen for itself, among shares of the step that covers its part of the weight.
    """
    owner = owners(weight.shape, shape)
    flat, count = weight.reshape(-1).astype(np.float64), int(np.prod(shape, dtype=int))
    most, least = np.zeros(count), np.zeros(count)
    np.maximum.at(most, owner, flat)
    np.minimum.at(least, owner, flat)
    cover = covering(least, most, low, high)
    best, error = cover.astype(np.float64), np.full(count, np.inf)
    for tried in candidates(cover, shifts):
        s = tried[owner]
        wrong = np.bincount(owner, (np.clip(np.rint(flat / s), low, high) * s - flat) ** 2, count)
        better = wrong < error
        best, error = np.where(better, tried, best), np.where(better, wrong, error)
    return best.reshape(shape).astype(np.float32)


def owners(size: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """i[elements]: for each element of a tensor the position, in the flat steps, of the one that it has."""
    index = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)
    for k in range(len(shape)):
        if shape[k] not in (1, size[k]):
            index = np.repeat(index, -(-size[k] // shape[k]), axis=k).take(range(size[k]), axis=k)
    return np.broadcast_to(index, size).reshape(-1)
