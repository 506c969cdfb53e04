"""Producer: a tensor that the graph brings along."""

from __future__ import annotations

from typing import Any

from ..errors import GraphViewError, TensorTypeError
from ..operator import Operator, OperatorTensor, OperatorType
from ..tensor import Tensor
from .definition import CLASSES, TYPES


def _not_computed(c: Any, **attrs: Any) -> Any:
    raise GraphViewError("a Producer is not computed")


TYPES["Producer"] = OperatorType("Producer", _not_computed, (), ("data_output",), {"constant": False})


class ProducerOp(OperatorTensor):
    """ProducerOp(tensor or dims, constant=False)."""

    Type = "Producer"

    def __init__(self, tensor: Any, constant: bool = False) -> None:
        Operator.__init__(self, TYPES["Producer"], {"constant": bool(constant)})
        if isinstance(tensor, Tensor):
            self.tensors[0] = tensor
            self.backend_name, self.place = tensor.backend_name, tensor.cell.place
        elif isinstance(tensor, list | tuple):
            self.tensors[0] = Tensor(dims=[int(d) for d in tensor])
        elif tensor is None:
            raise TensorTypeError("a Producer was given None: expected a Tensor or a shape")
        else:
            self.tensors[0] = Tensor(tensor)

    def dims(self) -> list[int]:
        return self.tensors[0].dims

    @staticmethod
    def get_inputs_name() -> list[str]:
        return []

    @staticmethod
    def get_outputs_name() -> list[str]:
        return ["data_output"]

    @staticmethod
    def attributes_name() -> list[str]:
        return ["constant"]


CLASSES["Producer"] = ProducerOp
