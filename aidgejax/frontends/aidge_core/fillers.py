"""Fillers: they draw the first values of a tensor, in place.  The distributions stand in aidgejax.fillers."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from ...dtypes import x64_for
from ...errors import AidgeJaxError
from ...training import fillers
from .errors import FillerError
from .random import Generator
from .tensor import Tensor, TensorTypeError


class VarianceNorm(enum.Enum):
    """By what a variance is divided: fan_in (in * kernel), fan_out (out * kernel), or their average."""

    FanIn = 0
    Average = 1
    FanOut = 2


FANS = {VarianceNorm.FanIn: "fan_in", VarianceNorm.FanOut: "fan_out", VarianceNorm.Average: "average"}


def _fill(name: str, tensor: Any, rule: Any, *settings: Any, kind: str = "f", **options: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise TensorTypeError(f"{name}: expected a Tensor, got {type(tensor).__name__}")
    if tensor.backend_name is None:
        raise FillerError(
            f"{name}: Tensor got no implementation, cannot fill it. Call set_backend first, on the graph "
            f"or on the tensor"
        )
    dtype = tensor.cell.dtype.name
    if tensor.cell.dtype.kind not in kind and not (dtype == "bfloat16" and "f" in kind):
        raise FillerError(f"{name}: a tensor of {dtype} cannot be filled; set_datatype to a floating one")
    if "fan" in options:
        norm = options["fan"]
        if not isinstance(norm, VarianceNorm):
            raise FillerError(f"{name}: varianceNorm is {norm!r}; expected VarianceNorm.FanIn, FanOut or Average")
        options["fan"] = FANS[norm]
    try:
        with x64_for([dtype]):
            key = None if rule is fillers.constant else Generator.key()
            tensor.fill(np.asarray(rule(key, tuple(tensor.cell.shape), *settings, dtype=dtype, **options)))
    except FillerError:
        raise
    except (AidgeJaxError, TypeError, OverflowError, ValueError) as e:
        raise FillerError(f"{name}: {e}") from None


def constant_filler(tensor: Tensor, value: Any) -> None:
    """`value` everywhere."""
    _fill("constant_filler", tensor, fillers.constant, value, kind="fiub")


def normal_filler(tensor: Tensor, mean: Any = 0.0, stdDev: Any = 1.0) -> None:  # noqa: N803
    """Normal(mean, stdDev**2)."""
    _fill("normal_filler", tensor, fillers.normal, mean, stdDev)


def uniform_filler(tensor: Tensor, min: Any, max: Any) -> None:
    """Uniform in [min, max); on an integer tensor both ends are drawn.  min above max is turned round."""
    try:
        low, high = sorted((min, max))
    except TypeError:
        raise FillerError(f"uniform_filler: min is {min!r} and max is {max!r}; expected numbers") from None
    _fill("uniform_filler", tensor, fillers.uniform, low, high, kind="fiu")


def xavier_uniform_filler(
    tensor: Tensor,
    scaling: Any = 1.0,
    varianceNorm: VarianceNorm = VarianceNorm.FanIn,  # noqa: N803
) -> None:
    """Uniform in scaling * (-sqrt(3 / n), sqrt(3 / n))."""
    _fill("xavier_uniform_filler", tensor, fillers.xavier_uniform, scaling, fan=varianceNorm)


def xavier_normal_filler(
    tensor: Tensor,
    scaling: Any = 1.0,
    varianceNorm: VarianceNorm = VarianceNorm.FanIn,  # noqa: N803
) -> None:
    """Normal(0, scaling**2 / n)."""
    _fill("xavier_normal_filler", tensor, fillers.xavier_normal, scaling, fan=varianceNorm)


def he_filler(
    tensor: Tensor,
    varianceNorm: VarianceNorm = VarianceNorm.FanIn,
    meanNorm: Any = 0.0,  # noqa: N803
    scaling: Any = 1.0,
) -> None:
    """scaling * Normal(meanNorm / n, 2 / n), for weights before a ReLU."""
    _fill("he_filler", tensor, fillers.he_normal, meanNorm, scaling, fan=varianceNorm)


def ibp_normal_filler(tensor: Tensor, scaling: Any = 1.0) -> None:
    """Normal(0, std scaling * sqrt(2 pi) / fan_in)."""
    _fill("ibp_normal_filler", tensor, fillers.ibp_normal, scaling)
