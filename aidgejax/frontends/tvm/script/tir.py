"""tvm.script.tir, usually imported as T: symbolic sizes.  Functions of TIR are out of scope."""

from __future__ import annotations

from typing import Any

from ..errors import ScriptError
from ..tir import IntImm, Var

__all__ = ["int32", "int64", "prim_func"]


def int64(value: Any = None, is_size_var: bool = False) -> Any:
    """`n = T.int64()` declares a symbolic size; T.int64(3) is a number."""
    return Var("", "int64") if value is None else IntImm("int64", int(value))


def int32(value: Any = None, is_size_var: bool = False) -> Any:
    """As int64."""
    return Var("", "int32") if value is None else IntImm("int32", int(value))


def prim_func(*args: Any, **kwargs: Any) -> Any:
    """Refused: functions of TIR are out of scope; write the computation with operators of relax."""
    raise ScriptError(
        "T.prim_func: functions of TIR are out of scope here; write the computation with operators of relax (R.add, "
        "R.matmul, ...)"
    )


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"tvm.script.tir has no {name!r}: TIR is out of scope here, but for symbolic sizes (T.int64())"
    )
