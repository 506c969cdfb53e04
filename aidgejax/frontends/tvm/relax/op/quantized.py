"""relax.op.quantize and dequantize."""

from __future__ import annotations

from typing import Any

import numpy as np

from .....graph import Value
from ...errors import RelaxValueError
from ..expr import Call, relax_operator
from ._call import code_of


def _along(op: Any, v: Any, axis: int, rank: int) -> Value:
    """A number, or one for each place of an axis."""
    return op.Unsqueeze(v, tuple(a for a in range(rank) if a != axis % rank)) if v.rank == 1 and rank > 1 else v


@relax_operator
def quantize(data: Any, scale: Any, zero_point: Any, axis: int = -1, out_dtype: str = "int8") -> Call:
    """round(data / scale) + zero_point, within the bounds of out_dtype."""
    if out_dtype not in ("int8", "uint8", "int16", "uint16"):
        raise RelaxValueError(f"relax.quantize: out_dtype is {out_dtype!r}; expected int8, uint8, int16 or uint16")
    bounds = np.iinfo(out_dtype)

    def write(op: Any, x: Any, scale: Any, zero: Any) -> Value:
        level = op.Round(op.Div(x, _along(op, scale, axis, x.rank)))
        level = op.Add(level, op.CastLike(_along(op, zero, axis, x.rank), x))
        return op.Cast(op.Clip(level, float(bounds.min), float(bounds.max)), to=code_of(out_dtype))

    return Call("relax.quantize", (data, scale, zero_point), write)


@relax_operator
def dequantize(data: Any, scale: Any, zero_point: Any, axis: int = -1, out_dtype: str = "float32") -> Call:
    """(data - zero_point) * scale."""

    def write(op: Any, x: Any, scale: Any, zero: Any) -> Value:
        code = code_of(out_dtype)
        steps = op.Sub(op.Cast(x, to=code), op.Cast(_along(op, zero, axis, x.rank), to=code))
        return op.Mul(steps, op.Cast(_along(op, scale, axis, x.rank), to=code))

    return Call("relax.dequantize", (data, scale, zero_point), write)
