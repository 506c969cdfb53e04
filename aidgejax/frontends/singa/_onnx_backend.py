"""ONNX models as operations on the tape: what singa.sonnx.prepare returns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from onnx.backend.base import BackendRep

from ...dtypes import ONNX_CODES
from ...execution.run import run
from ...graph import Graph, Node, Value
from ...ops import lookup
from ...passes.control_flow import is_dynamic
from ._errors import DoesNotFit, NotDifferentiable
from ._operation import Built, Operator
from ._tensor import Tensor, from_numpy


class OnnxPart(Built):
    """Some nodes of an ONNX model as one operation."""

    def __init__(self, write: Any) -> None:
        super().__init__()
        self.write = write


class OnnxPartByValue(Operator):
    """The same for nodes whose sizes depend on values (NonZero, Compress): computed at once, without a gradient."""

    def __init__(self, part: Graph, names: list[str]) -> None:
        super().__init__()
        self._part, self._names = part, names

    def forward(self, *xs: Any) -> Any:
        arrays = dict(zip(self._names, map(np.asarray, xs), strict=True))
        feeds = {k: _of_booleans(arrays.pop(k), v.dtype) for k, v in self._part.inputs.items()}
        return tuple(run(self._part, feeds, params={k: a for k, a in arrays.items() if k in self._part.producers}))

    def backward(self, *dys: Any) -> Any:
        raise NotDifferentiable(f"operation {self.name} has sizes that depend on values, so it has no gradient")


class SingaRep(BackendRep):
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

    def run(  # type: ignore[override]  # the options are SINGA's
        self, inputs: Iterable[Any], last_layers: int | None = None, aux_output: Iterable[str] = (), **kwargs: Any
    ) -> list[Tensor]:
        """The model's outputs, then the tensors that aux_output names.

        inputs: Tensors or arrays; what the model reads as booleans may be numbers, as no Tensor holds booleans.
        last_layers: the number of the last node that is run, from 0; a negative one is
        SINGA's, (last_layers + 1) modulo the number of nodes: -3 leaves out the last two but one, and -1 runs the
        first node alone.  The output is then that of the last node.
        """
        inputs = [inputs] if isinstance(inputs, Tensor) else inputs
        xs = [x if isinstance(x, Tensor) else from_numpy(_without_booleans(np.asarray(x))) for x in inputs]
        if len(xs) != len(self.inputs):
            raise DoesNotFit(
                f"model {self.graph.name!r} takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), got {len(xs)}"
            )
        outputs = self.outputs if last_layers is None else self._cut(last_layers)
        wanted = tuple(dict.fromkeys((*outputs, *aux_output)))
        for name in wanted:
            self.graph.value(name)
        ys = dict(zip(wanted, self._computed(wanted, [*xs, *self.tensor_map.values()]), strict=True))
        return [ys[name] for name in (*outputs, *aux_output)]

    def _cut(self, last_layers: int) -> list[str]:
        nodes = self.graph.nodes
        last = last_layers if last_layers >= 0 else (last_layers + 1) % len(nodes)
        if last >= len(nodes):
            raise DoesNotFit(f"last_layers is {last_layers}, but the model has {len(nodes)} nodes, numbered from 0")
        return self.outputs if last == len(nodes) - 1 else list(nodes[last].output_names)

    def _computed(self, wanted: tuple[str, ...], xs: list[Tensor]) -> tuple[Tensor, ...]:
        names = [*self.inputs, *self.tensor_map]
        if wanted not in self._writers:
            part = self.graph.copy()
            part.outputs = list(wanted)
            part.prune()
            self._writers[wanted] = part, _writer(part, names)
        part, write = self._writers[wanted]
        if is_dynamic(part):
            return OnnxPartByValue(part, names)(*xs)
        try:
            return OnnxPart(write)(*xs)
        except DoesNotFit:
            if not any(lookup(n.op).static for n in part.nodes):
                raise
            return OnnxPartByValue(part, names)(*xs)


def _without_booleans(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int32) if array.dtype == bool else array


def _of_booleans(array: np.ndarray, dtype: str | None) -> np.ndarray:
    return array.astype(bool) if dtype == "bool" else array


def _writer(part: Graph, names: list[str]) -> Any:
    """write(op, *values): the nodes of a graph; the values are what `names` call there."""

    def write(op: Any, *values: Value) -> Any:
        known: dict[str, Any] = {n: p.data for n, p in part.producers.items()}
        known |= dict(zip(names, values, strict=True))
        for name, declared in part.inputs.items():
            if declared.dtype == "bool" and known[name].dtype != "bool":
                known[name] = op.Cast(known[name], to=ONNX_CODES["bool"])
        for node in part.nodes:
            inputs = [known[i] if isinstance(i, str) else i for i in node.inputs]
            written = getattr(op, node.op)(*inputs, outputs=len(node.outputs), **node.attrs)
            outputs = written if isinstance(written, tuple) else (written,)
            known |= {o: v for o, v in zip(node.outputs, outputs, strict=True) if o is not None}
        return tuple(op.Identity(known[o]) for o in part.outputs)

    return write
