"""tvm.ir.module."""

from ..relax.function import IRModule

__all__ = ["IRModule"]
