"""tvm.ir.base."""

from ..relax.equality import assert_structural_equal, structural_equal

__all__ = ["assert_structural_equal", "structural_equal"]
