"""What the files of operators share."""

from __future__ import annotations

import ast
import operator
from typing import Any

import numpy as np

from .....dtypes import ONNX_CODES
from .....graph import Value
from ...errors import RelaxValueError
from ..expr import Constant, Expr, ShapeExpr, Tuple, Var
from ..sized_builder import SizedBuilder
from ..types import ShapeType, size_of


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


def code_of(dtype: str) -> int:
    """ONNX's number of a dtype."""
    if dtype not in ONNX_CODES:
        raise RelaxValueError(f"dtype is {dtype!r}; expected one such as 'int32' or 'int64'")
    return ONNX_CODES[dtype]


def number_of(value: Any) -> Any:
    """The number in T.float32(0.5), T.int64(3) or a constant; a Python number as it is."""
    return value.data.item() if isinstance(value, Constant) else getattr(value, "value", value)


def listed_sizes(shape: Any) -> tuple[int | str, ...]:
    """The sizes of a shape: numbers, and names of symbols or formulas of them."""
    sizes = sizes_of(shape)
    sizes = (sizes,) if isinstance(sizes, int | np.integer) else tuple(sizes)
    return tuple(size_of(number_of(d)) for d in sizes)


def size_vector(op: Any, sizes: Any, x: Any = None) -> Value:
    """The sizes as a tensor of int64, each symbol read from a tensor that has it: x, or an input of the function.

    A 0 is the size of x at the same place.  Raises RelaxValueError for a symbol that no tensor has.
    """
    tensors = [*([] if x is None else [x]), *(op.symbolic if isinstance(op, SizedBuilder) else ())]

    def one(k: int, d: Any) -> Any:
        if d == 0 and x is not None and k < x.rank and isinstance(x.shape[k], str):
            d = x.shape[k]
        return np.asarray([d], np.int64) if isinstance(d, int) else formula(ast.parse(d, mode="eval").body, d)

    def formula(node: Any, whole: str) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return np.asarray([node.value], np.int64)
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            left, right = formula(node.left, whole), formula(node.right, whole)
            return getattr(op, ARITHMETIC[type(node.op)])(left, right)
        if isinstance(node, ast.Name):
            for t in tensors:
                if node.id in (t.shape or ()):
                    at = t.shape.index(node.id)
                    return op.Shape(t, start=at, end=at + 1)
        raise RelaxValueError(f"the size {whole} is that of no parameter of the function, so that it cannot be known")

    return op.Concat(*[one(k, d) for k, d in enumerate(sizes)], axis=0)


# Sizes are not negative, so that whole division is floor division.
ARITHMETIC = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.FloorDiv: "Div"}
