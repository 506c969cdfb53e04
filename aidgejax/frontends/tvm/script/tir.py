"""tvm.script.tir, usually imported as T: symbolic sizes, and the marks of functions of TIR, which a module keeps."""

from __future__ import annotations

import builtins
import sys
from typing import Any, TypeAlias

from ..._shared.absent_names import absent_name
from ..errors import ScriptError
from ..relax.prim_func import CURE
from ..tir import FloatImm, IntImm, Var

__all__ = ["Buffer", "bool", "float16", "float32", "float64", "handle", "int32", "int64", "prim_func"]

Truth: TypeAlias = builtins.bool


def int64(value: Any = None, is_size_var: Truth = False) -> Any:
    """`n = T.int64()` declares a symbolic size; T.int64(3) is a number."""
    return Var("", "int64") if value is None else IntImm("int64", int(value))


def int32(value: Any = None, is_size_var: Truth = False) -> Any:
    """As int64."""
    return Var("", "int32") if value is None else IntImm("int32", int(value))


def bool(value: Any) -> IntImm:  # noqa: A001  TVM's name
    """A truth value as an operand."""
    return IntImm("bool", int(value))


def float32(value: Any) -> FloatImm:
    """A number of this dtype as an operand: R.clip(x, T.float32(0), T.float32(6))."""
    return FloatImm("float32", float(value))


def float64(value: Any) -> FloatImm:
    """As float32."""
    return FloatImm("float64", float(value))


def float16(value: Any) -> FloatImm:
    """As float32."""
    return FloatImm("float16", float(value))


def prim_func(func: Any = None, private: Truth = False, check_well_formed: Truth = True, **_: Any) -> Any:
    """Decorates a function of TIR.  In a class under I.ir_module it is kept as it is written, and never run.

    Raises ScriptError for one that stands alone: there is nothing to be done with it here.
    """
    if func is None:
        return lambda found: _in_a_class(found, sys._getframe(1))
    return _in_a_class(func, sys._getframe(1))


def _in_a_class(func: Any, frame: Any) -> Any:
    if "__qualname__" in frame.f_locals and "__module__" in frame.f_locals:
        return func
    raise ScriptError(f"T.prim_func: {CURE}")


def Buffer(*_: Any, **__: Any) -> None:
    """An annotation in a function of TIR."""


def handle(*_: Any, **__: Any) -> None:
    """An annotation in a function of TIR."""


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, {name: CURE})
