"""The operators that quantization-aware training inserts; formulas and gradients stand in aidgejax/ops."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from ..aidge_core.errors import TensorError
from ..aidge_core.operator import OperatorTensor
from ..aidge_core.operators.definition import define
from ..aidge_core.tensor import Tensor


class DoReFaMode(enum.Enum):
    """Default: the weights' half-open interval, as published; Symmetric: around zero."""

    Default = 0
    Symmetric = 1


class LSQOperator(OperatorTensor):
    """Its step is set at the first forward, from what it quantizes then: 2 mean|x| / sqrt(high)."""

    _started = False

    @property
    def is_to_be_started(self) -> bool:
        if not self._started:
            step = self.get_input(1)
            self._started = step is not None and step.has_data() and bool(step.cell.read().any())
        return not self._started

    def start(self) -> None:
        """Set the step, from the input's data.  Raises TensorError where that is all zeros."""
        x, step = self.get_input(0), self.get_input(1)
        if x is None or step is None:
            return
        size = np.abs(x.cell.read()).mean(dtype=np.float64)
        if not size > 0:
            name = self.node.name() if self.node is not None else ""
            raise TensorError(
                f"node {name!r} (LSQ): what it quantizes in the first forward is zero everywhere, so its step is not "
                f"known; begin with a batch on which something is not zero, or fill the step's Producer"
            )
        value = 2 * size / abs(self.attr.range[1]) ** 0.5
        step.copy_from(Tensor(np.full(1, value, step.cell.dtype)))


def _step() -> dict[str, Any]:
    return {"ss": (1,)}


@define("LSQ", parameters=("step_size",), weights=_step, base=LSQOperator)
def lsq(c: Any, data_input: Any, step_size: Any, *, range: Any = (0, 255)) -> Any:
    """round(clip(x / step, low, high)) step; the step is trained."""
    return c.alike(c.named("LSQ", data_input, step_size, range=tuple(float(r) for r in range)), data_input)


@define("DoReFa")
def dorefa(c: Any, data_input: Any, *, range: int = 255, mode: Any = DoReFaMode.Default) -> Any:
    """2 round((x / 2 + 1 / 2) range) / range - 1; Symmetric: round(x range) / range."""
    return c.alike(c.named("DoReFa", data_input, range=int(range), mode=getattr(mode, "name", str(mode))), data_input)


def _alpha() -> dict[str, Any]:
    return {"alpha": (1,)}


@define("CGPACT", parameters=("alpha",), weights=_alpha)
def cgpact(c: Any, data_input: Any, alpha: Any, *, range: int = 255) -> Any:
    """round(clip(x / alpha, 0, 1) range) / range alpha; alpha is trained."""
    return c.alike(c.named("CGPACT", data_input, alpha, range=int(range)), data_input)


@define("FixedQ")
def fixedq(c: Any, data_input: Any, *, nb_bits: int = 8, span: float = 4.0, is_output_unsigned: bool = False) -> Any:
    """Fixed point: steps of span / 2^(bits - 1), or unsigned of span / 2^bits."""
    settings = {"nb_bits": int(nb_bits), "span": float(span), "is_output_unsigned": int(is_output_unsigned)}
    return c.alike(c.named("FixedQ", data_input, **settings), data_input)


@define("TanhClamp", outputs=("data_output", "scaling_output"))
def tanh_clamp(c: Any, data_input: Any) -> Any:
    """tanh(x) / max |tanh(x)|, and that maximum."""
    found, scale = c.named("TanhClamp", data_input, outputs=2)
    return c.alike(found, data_input), scale


@define("ScaleAdjust", outputs=("data_output", "scaling_output"))
def scale_adjust(c: Any, data_input: Any) -> Any:
    """x / a with a = sqrt(fan_in var(x)), and a."""
    found, scale = c.named("ScaleAdjust", data_input, outputs=2)
    return c.alike(found, data_input), scale
