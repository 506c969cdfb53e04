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

from ...errors import GraphError
from ...graph import Graph, Node, Value
from ...onnxio import read, to_model
from ._errors import DoesNotFit, NotATensor, StatesError
from ._export import to_graph
from ._operation import Built
from ._tensor import Tensor, from_numpy
from .model import Model

__all__ = ["SONNXModel", "SingaRep", "get_op", "prepare", "run_node", "save", "to_onnx"]


def to_onnx(inputs: Iterable[Tensor], y: Any, model_name: str = "sonnx") -> onnx.ModelProto:
    """What leads from the inputs to y (a Tensor or a list of them) as an ONNX model, with its weights."""
    inputs = list(inputs)
    for t in inputs:
        if not isinstance(t, Tensor):
            raise NotATensor(f"to_onnx: its inputs are Tensors, got {type(t).__name__}")
    names = [t.name.replace("#", "_") for t in inputs]
    if len(set(names)) < len(names):
        names = [f"{n}_{k}" for k, n in enumerate(names)]
    return to_model(to_graph(y, dict(zip(names, inputs, strict=True)), name=model_name, batch=None))


def save(model: onnx.ModelProto, path: Any) -> None:
    """Write the model to a file."""
    onnx.save(model, path)


def prepare(model: Any, device: Any = "CPU", **kwargs: Any) -> SingaRep:
    """A runnable form of an ONNX model: a ModelProto, a path, or bytes."""
    return SingaRep(read(model), device)


class SingaRep:
    """An ONNX model as operations on the tape.

    tensor_map: {name: Tensor} of its parameters and buffers; `run` reads them, so training them trains the model.
    """

    def __init__(self, graph: Graph, device: Any = "CPU") -> None:
        self.graph, self.is_graph = graph, False
        self.inputs, self.outputs = list(graph.inputs), list(graph.outputs)
        self.tensor_map: dict[str, Tensor] = {}
        for name, data in {**graph.params, **graph.buffers}.items():
            if data.dtype.kind == "f":
                trained = name in graph.params
                t = from_numpy(data)
                t.name, t.requires_grad, t.stores_grad = name, trained, trained
                self.tensor_map[name] = t
        self._writers: dict[tuple[str, ...], Any] = {}

    @property
    def states(self) -> dict[str, Tensor]:
        return self.tensor_map

    @property
    def layers(self) -> list[tuple[Node, Node]]:
        """The nodes in order, each with what executes it: here the node itself."""
        return [(node, node) for node in self.graph.nodes]

    def run(
        self, inputs: Iterable[Any], last_layers: int | None = None, aux_output: Iterable[str] = (), **kwargs: Any
    ) -> list[Tensor]:
        """The model's outputs, then the tensors that aux_output names.

        inputs: Tensors or arrays.  last_layers: how many nodes to run, counted from the front, or, where negative, to
        leave out at the end; the output is then that of the last one.
        """
        inputs = [inputs] if isinstance(inputs, Tensor) else inputs
        xs = [x if isinstance(x, Tensor) else from_numpy(np.asarray(x)) for x in inputs]
        if len(xs) != len(self.inputs):
            raise DoesNotFit(
                f"model {self.graph.name!r} takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), got {len(xs)}"
            )
        outputs = self.outputs if last_layers is None else self._cut(last_layers)
        wanted = tuple(dict.fromkeys((*outputs, *aux_output)))
        for name in wanted:
            self.graph.value(name)
        if wanted not in self._writers:
            self._writers[wanted] = _writer(self.graph, [*self.inputs, *self.tensor_map], wanted)
        ys = dict(zip(wanted, Built("ONNX", self._writers[wanted])(*xs, *self.tensor_map.values()), strict=True))
        return [ys[name] for name in (*outputs, *aux_output)]

    def _cut(self, last_layers: int) -> list[str]:
        nodes = self.graph.nodes[:last_layers]
        if not nodes:
            raise DoesNotFit(f"last_layers is {last_layers}, the model has {len(self.graph.nodes)} nodes: none is left")
        return [nodes[-1].output_names[0]]


def _writer(graph: Graph, names: list[str], wanted: tuple[str, ...]) -> Any:
    """write(op, *values): the nodes of a graph that lead to `wanted`, `names` being given by the values."""
    part = graph.copy()
    part.outputs = list(wanted)
    part.prune()

    def write(op: Any, *values: Value) -> Any:
        target = op._graph
        known = dict(zip(names, (v.name for v in values), strict=True))
        for name, producer in part.producers.items():
            if name not in known:
                known[name] = target.constant(target.fresh(f"held/{name}"), producer.data).name
        for node in part.nodes:
            for o in node.output_names:
                known[o] = target.fresh(f"inside/{o}")
                target.values[known[o]] = Value(known[o], None, None)
            target.nodes.append(
                Node(
                    node.op,
                    tuple(known[i] if isinstance(i, str) else i for i in node.inputs),
                    tuple(None if o is None else known[o] for o in node.outputs),
                    node.attrs,
                    node.name,
                    node.domain,
                )
            )
        return tuple(op.Identity(known[o]) for o in wanted)

    return write


class SONNXModel(Model):
    """An ONNX model to be trained further: subclass it, call super().forward(x), add layers to what it returns."""

    def __init__(self, onnx_model: Any, device: Any = "CPU") -> None:
        super().__init__()
        self.__dict__["sg_ir"] = prepare(onnx_model, device)

    def own_params(self) -> dict[str, Tensor]:
        return {**super().own_params(), **{k: t for k, t in self.sg_ir.tensor_map.items() if t.stores_grad}}

    def own_states(self) -> dict[str, Tensor]:
        return {**super().own_states(), **self.sg_ir.tensor_map}

    def forward(self, *inputs: Tensor, aux_output: Iterable[str] = (), **kwargs: Any) -> Any:
        ys = self.sg_ir.run(list(inputs), aux_output=aux_output, **kwargs)
        return ys[0] if len(ys) == 1 else ys


def run_node(node: onnx.NodeProto, inputs: Iterable[Tensor], opset_version: int = 11) -> list[Tensor]:
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
    return prepare(model).run(inputs)


def get_op(model: Any, name: str) -> Node:
    """The node of this name."""
    graph = model.graph if isinstance(model, SingaRep) else read(model)
    try:
        return graph.node(name)
    except GraphError as e:
        raise StatesError(str(e)) from None
