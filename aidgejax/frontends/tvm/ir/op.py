"""tvm.ir.op."""

from ..relax.expr import Op

__all__ = ["Op"]
