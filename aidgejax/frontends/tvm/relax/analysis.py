"""tvm.relax.analysis, as far as tests and scripts of training ask it."""

from __future__ import annotations

from typing import Any

from ....errors import AidgeJaxError
from ....interpreter.shape_inference import infer_shapes
from ..._shared.absent_names import absent_name
from .function import Function, IRModule
from .prim_func import PrimFunc

__all__ = ["check_well_formed", "well_formed"]

ABSENT = dict.fromkeys(
    ("free_vars", "all_vars", "bound_vars", "all_global_vars", "called_global_vars", "has_reshape_pattern",
     "get_static_type", "erase_to_well_defined", "struct_info_base_check", "udchain", "name_to_binding",
     "remove_all_unused", "suggest_layout_transforms", "detect_recursion", "estimate_memory_usage"),
    "read function.graph, or function.body for the bindings",
)  # fmt: skip


def well_formed(obj: Any, check_ty: bool = True) -> bool:
    """Does every binding of a module or function read what stands before it, with types that fit?

    TVM 0.27's returns nothing, or raises; its check_well_formed gives the answer, as this one under both names.
    """
    functions = obj.functions.values() if isinstance(obj, IRModule) else [obj]
    try:
        for function in functions:
            if isinstance(function, PrimFunc):
                continue  # kept as it is written
            if not isinstance(function, Function):
                return False
            infer_shapes(function.graph.copy().check())
    except AidgeJaxError:
        return False
    return True


check_well_formed = well_formed


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
