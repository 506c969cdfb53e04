"""tvm.ir: modules, and when two programs are the same."""

from ..relax.equality import StructuralMismatch, assert_structural_equal, structural_equal
from ..relax.expr import Op
from ..relax.function import GlobalVar, IRModule
from ..relax.metadata import load_json
from ..relax.types import TensorType, TupleType
from ..tir import IntImm
from . import base, op

__all__ = [
    "GlobalVar", "IRModule", "IntImm", "Op", "StructuralMismatch", "TensorType", "TupleType", "assert_structural_equal",
    "base", "load_json", "op", "structural_equal",
]  # fmt: skip
