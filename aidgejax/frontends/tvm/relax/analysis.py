"""tvm.relax.analysis, as far as tests and scripts of training ask it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....errors import AidgeJaxError
from ....interpreter.shape_inference import infer_shapes
from ..._shared.absent_names import absent_name
from .body import SeqExpr, expressions_in
from .expr import Var
from .function import Function, IRModule
from .prim_func import PrimFunc

__all__ = ["all_vars", "bound_vars", "check_well_formed", "free_vars", "post_order_visit", "well_formed"]

ABSENT = dict.fromkeys(
    ("all_global_vars", "called_global_vars", "has_reshape_pattern",
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


def post_order_visit(expr: Any, fvisit: Callable[[Any], Any]) -> None:
    """Call fvisit with everything that an expression or a function is made of, operands first, each thing once."""
    seen: set[int] = set()
    for e in _expressions(expr):
        if id(e) not in seen:
            seen.add(id(e))
            fvisit(e)


def _expressions(expr: Any) -> list[Any]:
    if isinstance(expr, Function):
        return [*expr.params, *expressions_in(expr.body), expr]
    return list(expressions_in(expr))


def all_vars(expr: Any) -> list[Var]:
    """The Vars of an expression or a function, in the order in which they come."""
    return list(dict.fromkeys(e for e in _expressions(expr) if isinstance(e, Var)))


def bound_vars(expr: Any) -> list[Var]:
    """Its parameters, and the Vars that its bindings define."""
    found = expr.params if isinstance(expr, Function) else []
    sequences = [e for e in _expressions(expr) if isinstance(e, SeqExpr)]
    return [*found, *(b.var for s in sequences for block in s.blocks for b in block.bindings)]


def free_vars(expr: Any) -> list[Var]:
    """Those that are neither."""
    bound = set(bound_vars(expr))
    return [v for v in all_vars(expr) if v not in bound]


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
