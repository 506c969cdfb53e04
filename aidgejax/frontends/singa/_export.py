"""The tape below some tensors as one Graph, in which everything else of aidgejax can work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...graph import Graph, Value
from ...interpreter.shape_inference import infer_shapes
from ._ctensor import DTYPES, CTensor
from ._errors import NotATensor, Unsupported
from ._operation import Built, Dummy, Operator
from ._parts import NonZero
from ._tensor import Tensor


def to_graph(
    outputs: Any,
    inputs: Mapping[str, Tensor],
    params: Mapping[str, Tensor] | None = None,
    buffers: Mapping[str, Tensor] | None = None,
    *,
    name: str = "singa",
    batch: str | None = "N",
) -> Graph:
    """What was computed from `inputs` to `outputs` since the tape began, as a Graph.

    outputs: a Tensor, a list of them, or {name: Tensor}.  inputs, params, buffers: {name: Tensor}, what the graph
    takes, trains and carries along; tensors that are none of these become constants if they store no gradient, and
    parameters under their own name if they do.
    batch: the name of the inputs' first size, so that the graph takes any batch; None keeps the sizes that were used.
    Raises Unsupported for operations that a user wrote, since nobody knows what graph they are.
    """
    named = _named(outputs)
    graph = Graph(name)
    known = _Known()
    for label, t in inputs.items():
        _check(t, label)
        shape: tuple[int | str | None, ...] = (batch, *t.shape[1:]) if batch and t.shape else t.shape
        known.add(t, graph.input(label, shape, DTYPES[t.dtype]).name)
    for group, role in ((params, "parameter"), (buffers, "buffer")):
        for label, t in (group or {}).items():
            known.add(t, graph.producer(label, np.asarray(t.array), role).name)
    writer = _Writer(graph, known)
    for label, t in named.items():
        inside = writer.name_of(t)
        if not graph.has(label):
            inside = graph.add("Identity", [inside], names=[label])[0].name
        graph.output(inside)
    graph.producers = {k: p for k, p in graph.producers.items() if p.role != "constant" or _is_read(graph, k)}
    return _inferred(_without_identities(graph))


def _inferred(graph: Graph) -> Graph:
    """The graph with all shapes; how many positions NonZero finds is a symbol."""
    by_value = [n for n in graph.nodes if n.op == "NonZero"]
    if not by_value:
        return infer_shapes(graph)
    rest = graph.copy()
    rest.nodes = [n for n in graph.nodes if n.op != "NonZero"]
    for node in by_value:
        for o in node.output_names:
            rest.inputs[o] = rest.values.pop(o)
    graph.values |= infer_shapes(rest).values
    return graph


def _named(outputs: Any) -> dict[str, Tensor]:
    if isinstance(outputs, Mapping):
        return dict(outputs)
    many = outputs if isinstance(outputs, tuple | list) else [outputs]
    for t in many:
        _check(t, "an output")
    return {"output" if len(many) == 1 else f"output_{k}": t for k, t in enumerate(many)}


def _check(t: Any, what: str) -> None:
    if not isinstance(t, Tensor):
        raise NotATensor(f"to_graph: {what} is a Tensor, got {type(t).__name__}")


class _Known:
    """The names of tensors that no operation has to be written for."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[str, Any]] = {}

    def add(self, tensor: Any, name: str) -> str:
        self._found[id(tensor)] = (name, tensor)
        return name

    def get(self, source: Operator | None, ident: int) -> str | None:
        """The name of the tensor with this id, if it is the one that `source` made: ids are used again."""
        name, tensor = self._found.get(ident, (None, None))
        leaf = source is None or isinstance(source, Dummy)
        return name if leaf or getattr(tensor, "_creator", None) is source else None


class _Writer:
    """Copies the small graphs of operations into one."""

    def __init__(self, graph: Graph, known: _Known) -> None:
        self.graph, self.known = graph, known
        self.written: dict[tuple[int, int], str] = {}
        self.done: set[int] = set()

    def name_of(self, tensor: Tensor) -> str:
        """The name of a tensor in the graph; whatever it was computed from is written first."""
        for op in _in_order(tensor.creator, self.known):
            if id(op) not in self.done:
                self.done.add(id(op))
                self._write(op)
        return self._source(tensor.creator, id(tensor))

    def _source(self, creator: Operator, ident: int) -> str:
        name = self.known.get(creator, ident)
        if name is not None:
            return name
        if isinstance(creator, Dummy):
            return self._leaf(creator.tensor)
        return self.written[id(creator), creator.y_id2idx[ident]]

    def _leaf(self, tensor: Any) -> str:
        trained = isinstance(tensor, Tensor) and tensor.stores_grad
        label = self.graph.fresh(tensor.name if isinstance(tensor, Tensor) else "constant")
        array = tensor.array if isinstance(tensor, Tensor | CTensor) else tensor
        return self.known.add(
            tensor, self.graph.producer(label, np.asarray(array), "parameter" if trained else "constant").name
        )

    def _write(self, op: Operator) -> None:
        if isinstance(op, NonZero):
            (source,) = (self._source(source, ident) for source, ident, _, _ in op.src)
            self.written[id(op), 0] = op.in_graph(self.graph, source)
            return
        if not isinstance(op, Built):
            raise Unsupported(
                f"operation {op.name} was written by hand, so it cannot stand in a Graph; use operations "
                f"of singa.autograd for what is to be exported or trained in compiled epochs"
            )
        sources = [self._source(source, ident) for source, ident, _, _ in op.src]
        for extra in op.extras:
            sources.append(
                self.name_of(extra)
                if isinstance(extra, Tensor)
                else self.known.get(None, id(extra)) or self._leaf(extra)
            )
        for k, output in enumerate(self._inline(op, sources)):
            self.written[id(op), k] = output

    def _inline(self, op: Built, sources: list[str]) -> list[str]:
        small = op.kernel.graph
        names = {f"x{k}": s for k, s in enumerate(sources)}
        for label, producer in small.producers.items():
            fresh = self.graph.fresh(f"{op.kind}.{label}")
            names[label] = self.graph.producer(fresh, producer.data, producer.role).name
        for node in small.nodes:
            name = self.graph.fresh(f"{op.kind.lstrip('_')}/{node.name}")
            outs = []
            for k, o in enumerate(node.outputs):
                if o is not None:
                    names[o] = name if k == 0 else self.graph.fresh(f"{name}.{k}")
                    self.graph.values[names[o]] = Value(names[o], None, None)
                outs.append(None if o is None else names[o])
            inputs = tuple(names.get(i, i) if isinstance(i, str) else i for i in node.inputs)
            self.graph.nodes.append(node.replace(inputs=inputs, outputs=tuple(outs), name=name))
        return [names[o] for o in small.outputs]


def _in_order(creator: Operator, known: _Known) -> list[Operator]:
    """The operations that lead to `creator`, each after its sources."""
    order: list[Operator] = []
    seen: set[int] = set()
    stack = [(creator, False)]
    while stack:
        op, ready = stack.pop()
        if isinstance(op, Dummy):
            continue
        if ready:
            order.append(op)
        elif id(op) not in seen:
            seen.add(id(op))
            stack.append((op, True))
            stack += [(source, False) for source, ident, _, _ in op.src if known.get(source, ident) is None]
    return order


def _is_read(graph: Graph, name: str) -> bool:
    return name in graph.outputs or any(name in n.input_names for n in graph.nodes)


def _without_identities(graph: Graph) -> Graph:
    """Output names moved onto the nodes that compute them."""
    moved = graph.copy()
    writers, readers = moved.writer(), moved.readers()
    for node in list(moved.nodes):
        (out,) = node.outputs[:1]
        if node.op != "Identity" or out not in moved.outputs:
            continue
        inside = node.inputs[0]
        source = writers.get(inside)
        if source is None or inside in moved.outputs or len(readers.get(inside, ())) > 1 or source not in moved.nodes:
            continue
        at = moved.nodes.index(source)
        renamed = tuple(out if o == inside else o for o in source.outputs)
        moved.nodes[at] = source.replace(outputs=renamed)
        moved.nodes.remove(node)
        moved.values.pop(inside, None)
        writers = moved.writer()
    return moved
