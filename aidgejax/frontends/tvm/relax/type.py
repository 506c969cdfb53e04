"""tvm.relax.type: the types of Relax."""

from .types import ShapeType, TensorType, TupleType

__all__ = ["ShapeType", "TensorType", "TupleType"]
