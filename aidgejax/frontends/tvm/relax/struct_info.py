"""tvm.relax.struct_info: the names that types had until 2026."""

from .types import ShapeType as ShapeStructInfo
from .types import TensorType as TensorStructInfo
from .types import TupleType as TupleStructInfo

__all__ = ["ShapeStructInfo", "TensorStructInfo", "TupleStructInfo"]
