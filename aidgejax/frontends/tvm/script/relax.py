"""tvm.script.relax, usually imported as R: functions, annotations, and all operators of relax.op."""

from __future__ import annotations

import builtins
import sys
from typing import Any, TypeAlias

from ..._shared.absent_names import absent_name
from .._original_names import NAMES, NO_OPERATOR
from ..relax import op
from ..relax.expr import MatchCast, ShapeExpr, TupleGetItem, const
from ..relax.expr import Tuple as _TupleExpr
from ..relax.lift import call_packed as call_pure_packed
from ..relax.op import grad, nn
from ..relax.types import ShapeType, TensorType, TupleType
from ._forms import dataflow, func_attr, output
from ._reader import function_of_source

__all__ = [
    "Object", "Shape", "Tensor", "Tuple", "TupleGetItem", "call_pure_packed", "const", "dataflow", "dtype", "emit",
    "func_attr", "function", "grad", "match_cast", "nn", "null_value", "output", "prim_value", "shape", "str", "tuple",
]  # fmt: skip

Text: TypeAlias = builtins.str


def function(f: Any = None, pure: bool = True, private: bool = False, check_well_formed: bool = True) -> Any:
    """Decorates a Python function that is TVMScript; it becomes a relax Function.

    In a class under I.ir_module it waits for that.  Raises ScriptError, naming file and line, for what is none.
    """
    if f is not None:
        return function_of_source(f, sys._getframe(1), private)
    return lambda found: function_of_source(found, sys._getframe(1), private)


# ---- annotations --------------------------------------------------------------------------------------


def Tensor(shape: Any = None, dtype: Any = None, vdevice: Any = None, ndim: int = -1) -> TensorType:
    """R.Tensor((3, "n"), "float32"), or R.Tensor("float32", ndim=2); float32 where no dtype is said."""
    if isinstance(shape, Text) and dtype is None:
        shape, dtype = None, shape
    return TensorType(shape, dtype or "float32", vdevice, ndim)


def Tuple(*fields: Any) -> Any:
    """R.Tuple(R.Tensor(...), ...): the type of a tuple."""
    if len(fields) == 1 and isinstance(fields[0], list):
        fields = builtins.tuple(fields[0])
    if fields and not all(isinstance(t, TensorType | TupleType) for t in fields):
        return _TupleExpr(fields)
    return TupleType(fields)


def Shape(values: Any = None, ndim: int = -1) -> ShapeType:
    """R.Shape(["n", 3]): the type of a shape."""
    return ShapeType(values, ndim)


def Object() -> None:
    """The type of what is no tensor: nothing is known of it."""


# ---- expressions --------------------------------------------------------------------------------------


def shape(value: Any) -> ShapeExpr:
    """A shape: R.shape([3, n])."""
    return ShapeExpr(value)


def prim_value(value: Any) -> Any:
    """A number as an operand."""
    return getattr(value, "value", value)


def str(value: Text) -> Text:
    """A string as an operand."""
    return value


def dtype(value: Any) -> Text:
    """A dtype as an operand."""
    return Text(value)


def tuple(*fields: Any) -> _TupleExpr:
    """A tuple of expressions."""
    return _TupleExpr(fields)


def null_value() -> None:
    """An operand that is absent."""


def emit(value: Any, **_: Any) -> Any:
    """The expression itself: an assignment binds it."""
    return value


def match_cast(value: Any, ty: Any) -> MatchCast:
    """The tensor, said to be of this type; what is known of it has to agree."""
    return MatchCast(value, ty)


def shape_of(x: Any) -> ShapeExpr:
    """The shape of a Var."""
    return ShapeExpr(x.struct_info.shape)


def __getattr__(name: Text) -> Any:
    if name in op.__all__:
        return getattr(op, name)
    if name in NAMES["script.relax"].split():
        raise absent_name(__name__, name, {name: NO_OPERATOR})
    known = ", ".join(n for n in op.__all__ if n not in ("nn", "grad"))
    raise AttributeError(f"R.{name} is not here; the operators of relax are {known}")
