"""GraphView -> the core's Graph, and shapes found by way of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...execution.cache import CompiledGraph, compiled_graph
from ...graph import Graph, Value
from ...interpreter.constant_folding import compile_time_values
from .backends import available
from .emission import Emission
from .errors import GraphViewError, OrderError, TensorError, as_aidge_errors
from .integers import computes_with_integers, emit_integers
from .node import Node, Port
from .operator import InputCategory
from .operators import SAME_RANK
from .operators.normalization import STATISTICS
from .tensor import Tensor


@dataclass
class Lowered:
    """The core's graph of a GraphView, and which of its tensors are whose."""

    graph: Graph
    inputs: list[tuple[str, Node, int]] = field(default_factory=list)
    params: dict[str, Tensor] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)  # outputs of nodes, secondary ones included
    outputs: list[str] = field(default_factory=list)
    owners: dict[str, Node] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()  # tensors whose gradient is not reset before a forward
    resets: list[Tensor] = field(default_factory=list)

    @cached_property
    def compiled(self) -> CompiledGraph:
        with as_aidge_errors():
            return compiled_graph(self.graph)

    @cached_property
    def read(self) -> frozenset[str]:
        """The tensors that some node reads."""
        return frozenset(i for n in self.graph.nodes for i in n.input_names)


def lower(view: Any, feeds: dict[Port, Any], kind: Any = None) -> Lowered:
    """The graph of a view.  feeds: {(node, input): a Tensor, or a shape} of what the graph reads from outside.

    kind: the dtype of inputs that are given as shapes.
    """
    order = view.execution_order()
    graph = Graph(view.name() or "model")
    low = Lowered(graph)
    ranks: dict[str, int | None] = {}
    where: dict[Any, Value] = {}
    emission = Emission(graph, ranks)
    names = {n: graph_name(n) for n in order}
    for (node, k), fed in feeds.items():
        shape, dtype = (
            (fed.cell.shape, fed.cell.dtype) if isinstance(fed, Tensor) else (fed, np.dtype(kind or "float32"))
        )
        name = names_free(graph, names, f"{names[node]}_in{k}")
        where[node, ~k] = graph.input(name, shape, dtype.name)
        ranks[name] = len(shape)
        low.inputs.append((name, node, k))
    for node in order:
        if node.type() == "Producer":
            where[node, 0] = _add_producer(low, node, names[node], ranks)
    for node in order:
        if node.type() != "Producer":
            _emit(low, view, node, names[node], where, emission)
    _make_static(low, feeds)
    for node, k in view.get_ordered_outputs():
        graph.outputs.append(where[node, k].name)
        low.outputs.append(where[node, k].name)
    kept = set()
    for name, tensor in {**low.params, **low.buffers, **low.values}.items():
        if is_kept(low.owners[name]):
            kept.add(name)
        else:
            low.resets.append(tensor)
    low.kept = frozenset(kept)
    return low


def is_statistics(node: Node) -> bool:
    """Is it a running mean or variance of a BatchNorm?"""
    return any(c.type() in STATISTICS and k in (3, 4) for out in node.readers for c, k in out)


def static_shape(value: Value) -> tuple[int, ...]:
    """The sizes of a tensor of a lowered graph, which are all numbers."""
    if value.shape is None or not all(isinstance(d, int) for d in value.shape):
        raise GraphViewError(f"the shape of {value} is not known")
    return tuple(int(d) for d in value.shape if isinstance(d, int))


def graph_name(node: Node) -> str:
    return node.name() or node.type()


def names_free(graph: Graph, names: dict[Node, str], stem: str) -> str:
    return graph.fresh(stem) if stem not in names.values() else graph.fresh(f"{stem}_input")


def is_kept(node: Node) -> bool:
    notes = node.annotations()
    return bool(notes.has_attr("grad.no_reset") and notes.get_attr("grad.no_reset"))


def _add_producer(low: Lowered, node: Node, name: str, ranks: dict) -> Value:
    tensor = node.get_operator().get_output(0)
    trained = tensor.cell.dtype.kind == "f" or tensor.cell.dtype.name == "bfloat16"
    name = low.graph.fresh(name)
    role = "parameter" if trained and not is_statistics(node) else "buffer"
    stand_in = np.broadcast_to(
        np.zeros((), tensor.cell.dtype), tensor.cell.shape
    )  # the data itself is an input of the program
    value = low.graph.producer(name, stand_in, role)
    (low.params if role == "parameter" else low.buffers)[name] = tensor
    low.owners[name] = node
    ranks[name] = tensor.ndim
    return value


def _emit(low: Lowered, view: Any, node: Node, name: str, where: dict, emission: Emission) -> None:
    op = node.get_operator()
    inputs: list[Value | None] = []
    for k, parent in enumerate(node.sources):
        if (node, ~k) in where:
            inputs.append(where[node, ~k])
        elif parent and parent[0] in view.members:
            inputs.append(where[parent])
        elif op.input_category(k) & InputCategory.Optional:
            inputs.append(None)
        else:
            raise OrderError(
                f"node {node.name()!r} ({node.type()}): nothing feeds its input {k} "
                f"({op.input_spec[k][0]}); give it in data=[...], connect a Producer, or call set_input"
            )
    if not computes_with_integers(op):
        _check_precision(low, node, inputs)
    micro = getattr(op, "micro_graph", None)
    if micro is not None:
        _inline(low, node, name, inputs, where, emission)
        return
    graph = low.graph
    emission.name, emission.outputs = graph.fresh(name), op.nb_outputs()
    found = emit_integers(op, emission, inputs) if computes_with_integers(op) else op.emit(emission, *inputs)
    found = found if isinstance(found, tuple) else (found,)
    rank = op.kind.rank
    for k, value in enumerate(found):
        where[node, k] = value
        low.values[value.name] = op.get_output(k)
        low.owners[value.name] = node
        if rank == SAME_RANK:
            rank = emission.rank(inputs[0]) if inputs and inputs[0] is not None else None
        emission.ranks[value.name] = rank


def _inline(low: Lowered, node: Node, name: str, inputs: list, where: dict, emission: Emission) -> None:
    """The nodes inside a meta-operator, named <node>/<inner node>."""
    op: Any = node.get_operator()
    micro = op.micro_graph
    for (inner, k), value in zip(op.ports, inputs, strict=True):
        if value is not None:
            where[inner, ~k] = value
    for inner in micro.execution_order():
        if inner.type() == "Producer":
            where[inner, 0] = _add_producer(low, inner, f"{name}/{graph_name(inner)}", emission.ranks)
    for inner in micro.execution_order():
        if inner.type() != "Producer":
            _emit(low, micro, inner, f"{name}/{graph_name(inner)}", where, emission)
    for k, (inner, i) in enumerate(micro.get_ordered_outputs()):
        value = where[inner, i]
        where[node, k] = value
        low.values[value.name], low.owners[value.name] = op.get_output(k), node
        if op.type() in ("Quantizer", "Dequantizer") and inputs[0] is not None:
            emission.alike(value, inputs[0])


def _check_precision(low: Lowered, node: Node, inputs: list) -> None:
    """Data and parameters of one node are of one dtype: nothing is converted behind anyone's back."""
    data = next(
        (
            v
            for k, v in enumerate(inputs)
            if v is not None and v.name in low.graph.inputs and node.operator.input_category(k) & InputCategory.Data
        ),
        None,
    )
    if data is None:
        return
    for k, v in enumerate(inputs):
        if (
            v is not None
            and v.name in low.graph.producers
            and node.operator.input_category(k) & InputCategory.Param
            and v.dtype != data.dtype
        ):
            raise TensorError(
                f"node {node.name()!r} ({node.type()}): its input {data} and its parameter {v} differ in "
                f"dtype; convert the input with .astype({v.dtype!r}), or call set_datatype on the graph"
            )


def _make_static(low: Lowered, feeds: dict) -> None:
    """What decides a shape is a constant of the graph."""
    known = compile_time_values(low.graph)
    for name in [n for n in low.graph.producers if n in known]:
        tensor = low.params.pop(name, None) or low.buffers.pop(name, None)
        if tensor is not None:
            low.graph.producers[name].data = np.array(tensor.cell.read())
            low.graph.producers[name].role = "constant"
    for name, node, k in list(low.inputs):
        if name in known:
            tensor = feeds[node, k]
            if not isinstance(tensor, Tensor):
                raise OrderError(f"input {k} of node {node.name()!r} decides a shape: its data must be given")
            del low.graph.inputs[name]
            low.graph.constant(name, np.array(tensor.cell.read()))
            low.inputs.remove((name, node, k))


def forward_dims(view: Any, dims: list[tuple[int, ...]]) -> bool:
    """GraphView.forward_dims."""
    ports = view.get_ordered_inputs()
    kinds = {
        t.cell.dtype
        for n in view.members
        if n.type() == "Producer"
        for t in [n.get_operator().get_output(0)]
        if t.cell.dtype.kind == "f"
    }
    feeds: dict[Any, Any] = {}
    for n, (node, k) in enumerate(ports):
        given = node.operator.given_inputs.get(k)
        parent = node.sources[k]
        if n < len(dims) and dims[n]:
            feeds[node, k] = (
                given if given is not None and given.cell.shape == dims[n] and given.has_data() else dims[n]
            )
        elif given is not None:
            feeds[node, k] = given
        elif parent and parent[0].operator.get_output(parent[1]).cell.shape:
            feeds[node, k] = parent[0].operator.get_output(parent[1])
        else:
            return False
    if any(math.prod(f) <= 0 for f in feeds.values() if isinstance(f, tuple)):
        raise GraphViewError(f"forward_dims: {dims} has a size below 1")
    kind = kinds.pop() if len(kinds) == 1 else None
    low = lower(view, feeds, kind)
    graph = low.compiled.graph
    for name, tensor in low.values.items():
        known = graph.value(name)
        if tensor.cell.shape != known.shape or not tensor.has_data():
            tensor.cell.clear(static_shape(known), known.dtype)
            tensor.gradient = None
    view.known_shapes = {port: f.cell.shape if isinstance(f, Tensor) else f for port, f in feeds.items()}
    return True


def place_of_model(view: Any) -> Any:
    """The device on which a graph computes, whatever its data was made on; None for JAX's own choice."""
    places = (n.get_operator().place for n in view.members if n.type() != "Producer")
    return next((p for p in places if p is not None), None)


def require_backend(view: Any) -> str:
    """The backend of the graph's nodes; OrderError where set_backend was forgotten or they disagree."""
    operators = [n.get_operator() for n in view.members if n.type() != "Producer"]
    if operators and all(op.is_opaque for op in operators):
        return "cpu"
    operators = [op for op in operators if not op.is_opaque]
    found = {op.backend_name for op in operators if op.backend_name is not None}
    if not found or any(op.backend_name is None for op in operators):
        bare = next((n for n in view.members if n.type() != "Producer" and n.get_operator().backend_name is None), None)
        where = f"node {bare.name()!r} ({bare.type()})" if bare else "the graph"
        raise OrderError(
            f"{where} has no backend: call set_backend first; available backends: {', '.join(available())}"
        )
    if len(found) > 1:
        raise GraphViewError(
            f"the nodes of this graph are on different backends: {', '.join(sorted(found))}; "
            f"call set_backend on the whole graph"
        )
    return found.pop()
