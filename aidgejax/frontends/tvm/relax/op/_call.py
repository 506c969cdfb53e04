"""What the files of operators share."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ...errors import RelaxValueError
from ..expr import Expr, ShapeExpr, Tuple, Var
from ..types import ShapeType


def axes_of(axis: Any) -> tuple[int, ...] | None:
    """An axis, or several, as a tuple; None stays None."""
    if axis is None:
        return None
    return tuple(int(a) for a in axis) if isinstance(axis, list | tuple) else (operator.index(axis),)


def sizes_of(shape: Any) -> Any:
    """The sizes in a ShapeExpr, or in a Var that is bound to one; anything else as it is."""
    if isinstance(shape, Var) and isinstance(shape.struct_info, ShapeType):
        return shape.struct_info.values
    return shape.values if isinstance(shape, ShapeExpr) else shape


def listed(tensors: Any) -> tuple:
    """The one operand of tuple type: an expression as it is, tensors in a list or tuple as a relax.Tuple."""
    return (tensors if isinstance(tensors, Expr) else Tuple(tensors),)


def target_shape(shape: Any) -> tuple[int, ...]:
    """A shape whose sizes are numbers."""
    shape = sizes_of(shape)
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if not all(isinstance(d, int | np.integer) for d in shape):
        raise RelaxValueError(
            f"the target shape {list(map(str, shape))} has a symbol in it; expected numbers, and -1 "
            f"for what is left over"
        )
    return tuple(int(d) for d in shape)


def pair(what: str, value: Any, length: int = 2) -> tuple[int, ...]:
    """One number per spatial axis."""
    value = (value,) * length if isinstance(value, int | np.integer) else tuple(value)
    if len(value) == 1:
        value = value * length
    if len(value) != length:
        raise RelaxValueError(f"{what} is {list(value)}; expected a number, or {length} of them")
    return tuple(int(v) for v in value)


def padding_of(value: Any) -> tuple[int, int, int, int]:
    """top, left, bottom, right from one number, two (both sides) or four."""
    value = (value,) if isinstance(value, int | np.integer) else tuple(value)
    if len(value) not in (1, 2, 4):
        raise RelaxValueError(f"padding is {list(value)}; expected 1, 2 or 4 numbers (top, left, bottom, right)")
    top, left, bottom, right = (int(v) for v in value * (4 // len(value)))
    return top, left, bottom, right
