"""tvm.relax, as far as a backbone and its training need it."""

from typing import Any

from ..._shared.absent_names import absent_name
from . import analysis, frontend, op, struct_info, testing, training, transform
from .backbones import from_graph, from_onnx
from .block_builder import BlockBuilder
from .body import BindingBlock, DataflowBlock, If, SeqExpr, VarBinding
from .expr import Call, Constant, DataflowVar, Expr, MatchCast, ShapeExpr, Tuple, TupleGetItem, Var, const
from .function import Function, GlobalVar, IRModule
from .pipeline import get_default_pipeline, get_pipeline
from .types import ShapeType, TensorType, TupleType
from .vm import Executable, VirtualMachine, build

TensorStructInfo = TensorType  # TVM's name until 2026
TupleStructInfo = TupleType
ShapeStructInfo = ShapeType

BODY = "function.body holds the blocks and bindings, function.graph the graph"
ABSENT = {
    **dict.fromkeys(("Binding", "get_shape_of"), BODY),
    **dict.fromkeys(
        ("PyExprMutator", "PyExprVisitor", "ExprMutator", "ExprVisitor", "ExprFunctor"),
        "passes over graphs are written with aidgejax.passes.edit and pattern",
    ),
    **dict.fromkeys(("extern", "ExternFunc", "StringImm", "DataTypeImm", "PrimValue"), "it is out of scope here"),
}


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)


__all__ = [
    "BindingBlock", "BlockBuilder", "Call", "Constant", "DataflowBlock", "DataflowVar", "Executable", "Expr",
    "Function", "GlobalVar", "IRModule", "If", "MatchCast", "SeqExpr", "ShapeExpr", "ShapeStructInfo",
    "ShapeType", "TensorStructInfo", "TensorType", "Tuple", "TupleGetItem", "TupleStructInfo", "TupleType",
    "Var", "VarBinding", "VirtualMachine", "analysis", "build", "const", "from_graph", "from_onnx", "frontend",
    "get_default_pipeline", "get_pipeline", "op", "struct_info", "testing", "training", "transform",
]  # fmt: skip
