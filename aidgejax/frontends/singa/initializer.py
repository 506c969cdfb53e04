"""singa.initializer: random first values, written into a Tensor.  The formulas are aidgejax.fillers'.

A matrix is (in, out), a convolution's weight (out, in, kh, kw) with the fans (in * kh * kw, out * kh * kw); what has
one axis has its square root for a fan, as in SINGA.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from ...training import fillers
from ._errors import DoesNotFit
from ._tensor import Tensor

__all__ = [
    "eye",
    "gaussian",
    "glorot",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "msra",
    "orthogonal",
    "uniform",
    "xavier",
]


def _fill(t: Tensor, filler: Callable[..., Any]) -> Tensor:
    if t.ndim() < 2:  # a kernel of one channel has its size for a fan; the scale turns that into the square root
        size = t.size()
        return t._fill(filler(t.device.key(), (1, 1, size), scaling=size**0.25).reshape(t.shape))
    return t._fill(filler(t.device.key(), t.shape, order="io" if t.ndim() == 2 else "oi"))


def he_uniform(t: Tensor) -> Tensor:
    """Uniform in (-b, b), b = sqrt(6 / fan_in)."""
    return _fill(t, fillers.he_uniform)


def he_normal(t: Tensor) -> Tensor:
    """Normal with standard deviation sqrt(2 / fan_in)."""
    return _fill(t, fillers.he_normal)


def glorot_uniform(t: Tensor) -> Tensor:
    """Uniform in (-b, b), b = sqrt(6 / (fan_in + fan_out))."""
    return _fill(t, fillers.glorot_uniform)


def glorot_normal(t: Tensor) -> Tensor:
    """Normal with standard deviation sqrt(2 / (fan_in + fan_out))."""
    return _fill(t, fillers.glorot_normal)


def lecun_uniform(t: Tensor) -> Tensor:
    """Uniform in (-b, b), b = sqrt(3 / fan_in)."""
    return _fill(t, fillers.lecun_uniform)


def lecun_normal(t: Tensor) -> Tensor:
    """Normal with standard deviation sqrt(1 / fan_in)."""
    return _fill(t, fillers.lecun_normal)


def _matrix(t: Tensor, what: str) -> None:
    if t.ndim() != 2:
        raise DoesNotFit(f"{what}: Only tensors with 2 dimensions are supported, got {t.name} of shape {list(t.shape)}")


def eye(t: Tensor) -> Tensor:
    """Ones on the diagonal.  (SINGA refuses exactly the matrices that it is for.)"""
    _matrix(t, "eye")
    return t._fill(jnp.eye(t.shape[0], t.shape[1]))


def orthogonal(t: Tensor, gain: float = 1.0) -> Tensor:
    """gain * a random orthogonal matrix.  (SINGA refuses exactly the matrices that it is for.)"""
    _matrix(t, "orthogonal")
    return t._fill(fillers.orthogonal(t.device.key(), t.shape, gain))


# ---- older names ----------------------------------------------------------------------------------------


def uniform(t: Tensor, fan_in: int = 0, fan_out: int = 0) -> Tensor:
    """Uniform in (-b, b), b = sqrt(6 / (fan_in + fan_out)), or sqrt(3 / fan) where only one of them is given."""
    fan = (fan_in + fan_out) / 2 if fan_in and fan_out else fan_in or fan_out
    bound = math.sqrt(3 / fan) if fan else 1.0
    return t.uniform(-bound, bound)


def gaussian(t: Tensor, fan_in: int = 0, fan_out: int = 0) -> Tensor:
    """Normal with standard deviation sqrt(2 / (fan_in + fan_out)), or sqrt(2 / fan) where only one is given."""
    fan = fan_in + fan_out
    return t.gaussian(0, math.sqrt(2 / fan) if fan else 1.0)


def xavier(t: Tensor) -> Tensor:
    """glorot_uniform's older name."""
    return glorot_uniform(t)


def glorot(t: Tensor) -> Tensor:
    """A normal scaled by sqrt(2 / (fan_in + fan_out))."""
    return glorot_normal(t)


def msra(t: Tensor) -> Tensor:
    """he_normal's older name, of a matrix (out, in)."""
    return t._fill(fillers.he_normal(t.device.key(), t.shape))
