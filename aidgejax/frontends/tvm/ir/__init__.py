"""tvm.ir: modules, and when two programs are the same."""

from typing import Any

from ..._shared.absent_names import absent_name
from ..relax.equality import StructuralMismatch, assert_structural_equal, structural_equal, structural_hash
from ..relax.expr import Op
from ..relax.function import GlobalVar, IRModule
from ..relax.metadata import load_json
from ..relax.types import TensorType, TupleType
from ..tir import IntImm
from . import base, module, op

__all__ = [
    "Array", "GlobalVar", "IRModule", "IntImm", "Op", "StructuralMismatch", "TensorType", "TupleType",
    "assert_structural_equal", "base", "load_json", "module", "op", "structural_equal",
    "structural_hash",
]  # fmt: skip

Array = tuple  # what functions of a VirtualMachine return where TVM returns an array of objects

ABSENT = {
    "get_first_structural_mismatch": "assert_structural_equal names the first difference",
    "save_json": "write mod.script(); tvm.script.from_source reads it",
}


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
