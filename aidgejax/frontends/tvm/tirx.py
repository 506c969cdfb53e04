"""tvm.tirx: what TVM calls tir since 2026."""

from .tir import IntImm, Var

__all__ = ["IntImm", "Var"]
