"""Nodes that compute with integers: those whose data type was set to an integer one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph import Value
from .emission import Emission
from .operator import Operator
from .operators.rounding import AWAY, rounded

SUMMING = frozenset(
    ("FC", "Gemm", "MatMul", "Add", "Sub", "Mul", "Sum", "BitShift")
    + tuple(f"{p}Conv{k}{d}D" for p in ("", "Padded") for k in ("", "DepthWise") for d in (1, 2, 3))
)
AVERAGING = frozenset(
    ("GlobalAveragePooling", "ReduceMean", *(f"{p}AvgPooling{d}D" for p in ("", "Padded") for d in (1, 2, 3)))
)


def computes_with_integers(op: Operator) -> bool:
    """Was the operator's data type set to an integer one, and does that say in what it sums?"""
    return op.datatype is not None and op.datatype.kind in "iu" and op.type() in SUMMING | AVERAGING


def emit_integers(op: Operator, c: Emission, inputs: list[Any]) -> Any:
    """Sums and products in the operator's data type; averages rounded as rounding_mode says, and of that type."""
    kind = c.onnx_dtype(np.dtype(op.datatype))
    if op.type() in SUMMING:
        return op.emit(c, *(None if v is None else _cast(c, v, kind) for v in inputs))
    name, c.name = c.name, c.graph.fresh(f"{c.name}/mean")
    mean = op.emit(c, _cast(c, inputs[0], c.onnx_dtype(np.dtype("float32"))), *inputs[1:])
    c.name = name
    return c.named("Cast", rounded(c, mean, op.attr.dict().get("rounding_mode", AWAY), c.step), to=kind)


def _cast(c: Emission, value: Value, kind: int) -> Value:
    found: Value = c.alike(c.step("Cast", value, to=kind), value)
    c.ranks[found.name] = c.rank(value)
    return found
