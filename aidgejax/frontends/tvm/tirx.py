"""tvm.tirx: what TVM calls tir since 2026."""

from .tir import FloatImm, IntImm, Var

__all__ = ["FloatImm", "IntImm", "Var"]
