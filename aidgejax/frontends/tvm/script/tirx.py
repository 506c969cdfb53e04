"""tvm.script.tirx: what TVM calls script.tir since it has the package tirx."""

from typing import Any

from ..._shared.absent_names import absent_name
from ..relax.prim_func import CURE
from .tir import Buffer, bool, float16, float32, float64, handle, int32, int64, prim_func

__all__ = ["Buffer", "bool", "float16", "float32", "float64", "handle", "int32", "int64", "prim_func"]


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, {name: CURE})
