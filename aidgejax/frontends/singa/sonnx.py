"""singa.sonnx: ONNX models out of the tape, and back onto it.

    model = sonnx.to_onnx([x], [y])              # y was computed from x
    rep = sonnx.prepare(model)
    (y,) = rep.run([x])                          # an operation on the tape: its parameters can be trained further

Unlike SINGA's: several outputs, any opset that aidgejax reads, and the newest that it writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend

from ...errors import GraphError
from ...graph import Node
from ...onnxio import read, to_model
from ._ctensor import dtype_number
from ._errors import NotATensor, StatesError
from ._export import to_graph
from ._onnx_backend import SingaRep
from ._tensor import Tensor
from .model import Model

__all__ = [
    "OnnxAttributes",
    "OnnxNode",
    "SONNXModel",
    "SingaBackend",
    "SingaFrontend",
    "SingaRep",
    "get_op",
    "load",
    "onnx_type_to_singa_type",
    "prepare",
    "run_node",
    "save",
    "to_onnx",
]


def to_onnx(inputs: Iterable[Tensor], y: Any, model_name: str = "sonnx") -> onnx.ModelProto:
    """What leads from the inputs to y (a Tensor or a list of them) as an ONNX model, with its weights.

    Numbers, lists of them and arrays among the inputs, such as the bounds of clip or the shape of reshape, are
    constants: they stand in the model.
    """
    inputs = [t for t in inputs if not _is_constant(t)]
    for t in inputs:
        if not isinstance(t, Tensor):
            raise NotATensor(f"to_onnx: its inputs are Tensors, got {type(t).__name__}")
    names = [t.name.replace("#", "_") for t in inputs]
    if len(set(names)) < len(names):
        names = [f"{n}_{k}" for k, n in enumerate(names)]
    return to_model(to_graph(y, dict(zip(names, inputs, strict=True)), name=model_name, batch=None))


def _is_constant(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_constant, value))
    return isinstance(value, int | float | np.generic | np.ndarray)


def save(model: onnx.ModelProto, path: Any) -> None:
    """Write the model to a file."""
    onnx.save(model, path)


class SONNXModel(Model):
    """An ONNX model to be trained further: subclass it, call super().forward(x), add layers to what it returns.

    `forward` gives a list, also where the model has one output: `super().forward(x)[0]`.
    """

    def __init__(self, onnx_model: Any, device: Any = "CPU") -> None:
        super().__init__()
        self.__dict__["sg_ir"] = SingaRep(read(onnx_model), device)

    def own_params(self) -> dict[str, Tensor]:
        return {**super().own_params(), **{k: t for k, t in self.sg_ir.tensor_map.items() if t.stores_grad}}

    def own_states(self) -> dict[str, Tensor]:
        return {**super().own_states(), **self.sg_ir.tensor_map}

    def forward(self, *inputs: Tensor, aux_output: Iterable[str] = (), **kwargs: Any) -> list[Tensor]:
        """The list of the model's outputs; last_layers and aux_output as in SingaRep.run."""
        return self.sg_ir.run(list(inputs), aux_output=aux_output, **kwargs)


class SingaBackend(Backend):
    """SINGA as ONNX's test suite and tools know backends."""

    @classmethod
    def prepare(cls, model: Any, device: Any = "CPU", **kwargs: Any) -> SingaRep:
        return SingaRep(read(model), device)

    @classmethod
    def run_node(  # type: ignore[override]  # SINGA's takes the opset in the place of a device
        cls, node: onnx.NodeProto, inputs: Iterable[Tensor], opset_version: int = 11, **kwargs: Any
    ) -> list[Tensor]:
        """The outputs of one ONNX node."""
        inputs = list(inputs)
        kinds = {0: onnx.TensorProto.FLOAT, 1: onnx.TensorProto.FLOAT16, 2: onnx.TensorProto.INT32}
        values = [
            onnx.helper.make_tensor_value_info(n, kinds[t.dtype], t.shape)
            for n, t in zip((i for i in node.input if i), inputs, strict=True)
        ]
        outputs = [onnx.helper.make_tensor_value_info(o, onnx.TensorProto.FLOAT, None) for o in node.output if o]
        graph = onnx.helper.make_graph([node], "node", values, outputs)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset_version)])
        return cls.prepare(model).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whatever JAX runs on is looked up when tensors are made, so every name is fine."""
        return True


class SingaFrontend:
    """The tape as ONNX models."""

    @classmethod
    def singa_to_onnx_model(cls, inputs: Iterable[Any], y: Any, model_name: str = "sonnx") -> onnx.ModelProto:
        return to_onnx(inputs, y, model_name)

    @classmethod
    def singa_to_onnx_graph(cls, inputs: Iterable[Any], y: Any, model_name: str = "sonnx") -> onnx.GraphProto:
        return to_onnx(inputs, y, model_name).graph


prepare, run_node, load = SingaBackend.prepare, SingaBackend.run_node, onnx.load


class OnnxAttributes(dict):
    """The attributes of a node, {name: number, string, list or tensor}."""

    @staticmethod
    def from_onnx(args: Iterable[onnx.AttributeProto]) -> OnnxAttributes:
        return OnnxAttributes({a.name: onnx.helper.get_attribute_value(a) for a in args})


class OnnxNode:
    """A node of an ONNX file with its attributes as a dict."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.name, self.op_type = str(node.name).replace(".", "_"), str(node.op_type)
        self.inputs, self.outputs = list(node.input), list(node.output)
        self.attrs = OnnxAttributes.from_onnx(node.attribute)

    def getattr(self, key: str, default: Any = None) -> Any:
        return self.attrs.get(key, default)


def onnx_type_to_singa_type(onnx_type: int) -> int:
    """SINGA's number for ONNX's number of a dtype."""
    return dtype_number(onnx.helper.tensor_dtype_to_np_dtype(onnx_type))


def get_op(model: Any, name: str) -> Node:
    """The node of this name."""
    graph = model.graph if isinstance(model, SingaRep) else read(model)
    try:
        return graph.node(name)
    except GraphError as e:
        raise StatesError(str(e)) from None
