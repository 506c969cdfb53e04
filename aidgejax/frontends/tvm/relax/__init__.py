"""tvm.relax, as far as a backbone and its training need it."""

from . import frontend, op, testing, training, transform
from .backbones import from_graph, from_onnx
from .block_builder import BlockBuilder
from .expr import Call, Constant, DataflowVar, Expr, MatchCast, ShapeExpr, Tuple, TupleGetItem, Var, const
from .function import Function, GlobalVar, IRModule
from .types import ShapeType, TensorType, TupleType
from .vm import Executable, VirtualMachine, build

TensorStructInfo = TensorType  # TVM's name until 2026
TupleStructInfo = TupleType

__all__ = [
    "BlockBuilder", "Call", "Constant", "DataflowVar", "Executable", "Expr", "Function", "GlobalVar", "IRModule",
    "MatchCast", "ShapeExpr", "ShapeType", "TensorStructInfo", "TensorType", "Tuple", "TupleGetItem",
    "TupleStructInfo", "TupleType", "Var", "VirtualMachine", "build", "const", "frontend", "from_graph", "from_onnx",
    "op", "testing", "training", "transform",
]  # fmt: skip
