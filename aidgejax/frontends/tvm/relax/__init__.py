"""tvm.relax, as far as a backbone and its training need it."""

from . import op, training, transform
from .block_builder import BlockBuilder
from .expr import (
    Call,
    Constant,
    DataflowVar,
    Expr,
    ShapeExpr,
    TensorType,
    Tuple,
    TupleGetItem,
    TupleType,
    Var,
    const,
)
from .frontend import from_graph, from_onnx
from .function import Function, GlobalVar, IRModule
from .vm import Executable, VirtualMachine, build

TensorStructInfo = TensorType  # TVM's name until 2026
TupleStructInfo = TupleType

__all__ = [
    "BlockBuilder", "Call", "Constant", "DataflowVar", "Executable", "Expr", "Function", "GlobalVar", "IRModule",
    "ShapeExpr", "TensorStructInfo", "TensorType", "Tuple", "TupleGetItem", "TupleStructInfo", "TupleType", "Var",
    "VirtualMachine", "build", "const", "from_graph", "from_onnx", "op", "training", "transform",
]  # fmt: skip
