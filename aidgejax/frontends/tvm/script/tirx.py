"""tvm.script.tirx: what TVM calls script.tir since it has the package tirx."""

from .tir import int32, int64, prim_func

__all__ = ["int32", "int64", "prim_func"]
