"""GraphView -> the core's Graph, and compiled functions of it, kept by what the graph is and not by who built it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ...errors import NoGradientRule
from ...execution.numpy_program import NumpyProgram
from ...execution.program import Program, make_program
from ...execution.run import holds_64_bits
from ...graph import Graph, Value
from ...interpreter.constant_folding import compile_time_values
from ...ops.cast import DTYPES
from ._errors import GraphViewError, OrderError, TensorError
from .node import Node
from .operator import InputCategory
from .operators import SAME_RANK
from .tensor import Tensor

CODES = {v: k for k, v in DTYPES.items()}
STATISTICS = ("BatchNorm1D", "BatchNorm2D", "BatchNorm3D")
KEPT = 256  # compiled graphs; the one that was not used for longest is dropped


class Emission:
    """How an operator of the table writes its nodes into the core's graph."""

    def __init__(self, graph: Graph, ranks: dict[str, int | None]) -> None:
        self.graph, self.ranks = graph, ranks
        self.name, self.outputs = "", 1

    def named(self, core: str, *inputs: Any, outputs: int = 1, **attrs: Any) -> Any:
        """The node that gives the result; it bears the Aidge node's name."""
        return self._add(core, inputs, outputs, attrs, self.name)

    def step(self, core: str, *inputs: Any, outputs: int = 1, **attrs: Any) -> Any:
        """A node on the way to it."""
        return self._add(core, inputs, outputs, attrs, self.graph.fresh(f"{self.name}/{core}"))

    def _add(self, core: str, inputs: Sequence[Any], outputs: int, attrs: dict[str, Any], name: str) -> Any:
        inputs = list(inputs)
        while inputs and inputs[-1] is None:
            inputs.pop()
        found = self.graph.add(core, inputs, attrs, outputs=outputs, name=name)
        return found[0] if outputs == 1 else found

    def constant(self, key: str, array: np.ndarray) -> Value:
        return self.graph.constant(self.graph.fresh(f"{self.name}.{key}"), array)

    def rank(self, value: Value) -> int | None:
        return self.ranks.get(value.name)

    def size(self, value: Value, axis: int) -> int:
        shape = self.graph.value(value.name).shape
        if shape is None:
            raise GraphViewError(f"node {self.name!r}: the shape of its weight must be known; feed it by a Producer")
        return shape[axis]

    @staticmethod
    def onnx_dtype(kind: np.dtype) -> int:
        return CODES[kind.name]


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
    def compiled(self) -> Compiled:
        return compiled_of(self.graph)

    @cached_property
    def read(self) -> frozenset[str]:
        """The tensors that some node reads."""
        return frozenset(i for n in self.graph.nodes for i in n.input_names)


def lower(view: Any, feeds: dict[tuple[Node, int], Any], kind: Any = None) -> Lowered:
    """The graph of a view.  feeds: {(node, input): a Tensor, or a shape} of what the graph reads from outside.

    kind: the dtype of inputs that are given as shapes.
    """
    order = view._execution_order()
    graph = Graph(view.name() or "model")
    low = Lowered(graph)
    ranks: dict[str, int | None] = {}
    where: dict[tuple[Node, int], Value] = {}
    emission = Emission(graph, ranks)
    names = {n: graph_name(n) for n in order}
    for (node, k), fed in feeds.items():
        shape, dtype = (fed._dims, fed._kind) if isinstance(fed, Tensor) else (fed, np.dtype(kind or "float32"))
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


def graph_name(node: Node) -> str:
    return node.name() or node.type()


def names_free(graph: Graph, names: dict[Node, str], stem: str) -> str:
    return graph.fresh(stem) if stem not in names.values() else graph.fresh(f"{stem}_input")


def is_kept(node: Node) -> bool:
    notes = node.annotations()
    return bool(notes.has_attr("grad.no_reset") and notes.get_attr("grad.no_reset"))


def _add_producer(low: Lowered, node: Node, name: str, ranks: dict) -> Value:
    tensor = node.get_operator().get_output(0)
    statistics = any(c.type() in STATISTICS and k in (3, 4) for out in node._children for c, k in out)
    trained = tensor._kind.kind == "f" or tensor._kind.name == "bfloat16"
    name = low.graph.fresh(name)
    role = "parameter" if trained and not statistics else "buffer"
    stand_in = np.broadcast_to(np.zeros((), tensor._kind), tensor._dims)  # the data itself is an input of the program
    value = low.graph.producer(name, stand_in, role)
    (low.params if role == "parameter" else low.buffers)[name] = tensor
    low.owners[name] = node
    ranks[name] = tensor.ndim
    return value


def _emit(low: Lowered, view: Any, node: Node, name: str, where: dict, emission: Emission) -> None:
    op = node.get_operator()
    inputs: list[Value | None] = []
    for k, parent in enumerate(node._parents):
        if (node, ~k) in where:
            inputs.append(where[node, ~k])
        elif parent and parent[0] in view._nodes:
            inputs.append(where[parent])
        elif op.input_category(k) & InputCategory.Optional:
            inputs.append(None)
        else:
            raise OrderError(
                f"node {node.name()!r} ({node.type()}): nothing feeds its input {k} "
                f"({op._input_spec[k][0]}); give it in data=[...], connect a Producer, or call set_input"
            )
    _check_precision(low, node, inputs)
    graph = low.graph
    emission.name, emission.outputs = graph.fresh(name), op.nb_outputs()
    emit = getattr(op, "emit", None) or op.kind.emit
    found = emit(emission, op.attr, *inputs)
    found = found if isinstance(found, tuple) else (found,)
    rank = op.kind.rank
    for k, value in enumerate(found):
        where[node, k] = value
        low.values[value.name] = op.get_output(k)
        low.owners[value.name] = node
        if rank == SAME_RANK:
            rank = emission.rank(inputs[0]) if inputs and inputs[0] is not None else None
        emission.ranks[value.name] = rank


def _check_precision(low: Lowered, node: Node, inputs: list) -> None:
    """Data and parameters of one node are of one dtype: nothing is converted behind anyone's back."""
    data = next(
        (
            v
            for k, v in enumerate(inputs)
            if v is not None and v.name in low.graph.inputs and node._op.input_category(k) & InputCategory.Data
        ),
        None,
    )
    if data is None:
        return
    for k, v in enumerate(inputs):
        if (
            v is not None
            and v.name in low.graph.producers
            and node._op.input_category(k) & InputCategory.Param
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
            low.graph.producers[name].data = np.array(tensor._look())
            low.graph.producers[name].role = "constant"
    for name, node, k in list(low.inputs):
        if name in known:
            tensor = feeds[node, k]
            if not isinstance(tensor, Tensor):
                raise OrderError(f"input {k} of node {node.name()!r} decides a shape: its data must be given")
            del low.graph.inputs[name]
            low.graph.constant(name, np.array(tensor._look()))
            low.inputs.remove((name, node, k))


# ---- compiled ---------------------------------------------------------------------------------------------

Plan = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # seeds, wrt, tensors to show besides the outputs
COMPILED: OrderedDict[Any, Compiled] = OrderedDict()


def compiled_of(graph: Graph) -> Compiled:
    key = signature(graph)
    found = COMPILED.get(key)
    if found is None:
        found = COMPILED[key] = Compiled(graph)
        while len(COMPILED) > KEPT:
            COMPILED.popitem(last=False)
    else:
        COMPILED.move_to_end(key)
    return found


def signature(graph: Graph) -> Any:
    """Equal for graphs that compute the same, given the same tensors."""

    def frozen(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return x.dtype.name, x.shape, x.tobytes()
        return tuple(map(frozen, x)) if isinstance(x, list | tuple) else (type(x).__name__, x)

    return (
        tuple(graph.inputs.values()),
        tuple(graph.outputs),
        tuple((p.value, p.role, frozen(p.data) if p.role == "constant" else None) for p in graph.producers.values()),
        tuple(
            (n.op, n.inputs, n.outputs, n.name, tuple((k, frozen(v)) for k, v in sorted(n.attrs.items())))
            for n in graph.nodes
        ),
    )


class Compiled:
    """Jitted functions of one graph.  A plan says from where a gradient starts, for what, and what is to be shown."""

    def __init__(self, graph: Graph) -> None:
        base = make_program(graph, seeds=[], wrt=[])
        self.base, self.graph = base, base.graph
        self.wide = holds_64_bits(self.graph)
        self.random = any(n.op in RANDOM for n in self.graph.nodes)
        self._programs: dict[Plan, Program] = {}
        self._forwards: dict[Any, Any] = {}
        self._backwards: dict[Any, Any] = {}

    def program(self, plan: Plan) -> Program:
        if plan not in self._programs:
            seeds, wrt, shown = plan
            graph = self.graph.copy()
            graph.outputs += [s for s in shown if s not in graph.outputs]
            self._programs[plan] = Program(graph, seeds, wrt, self.base.layout, "zeros")
        return self._programs[plan]

    def forward(
        self, plan: Plan, save: bool, backend: str, params: dict, buffers: dict, batch: dict, seed: int, count: int
    ) -> tuple[dict, dict, dict]:
        """(outputs, saved, the buffers that the pass updates)"""
        program = self.program(plan)
        if backend == "numpy":
            key = jax.random.fold_in(jax.random.key(seed), count) if self.random else None
            outputs, saved, updated = NumpyProgram(program).forward(params, buffers, batch, key, save=save)
            return outputs, saved, {b: updated[b] for b in program.updates}
        if (plan, save) not in self._forwards:
            updates = tuple(program.updates)

            def forward(params, buffers, batch, seed, count):
                key = jax.random.fold_in(jax.random.key(seed), count) if self.random else None
                outputs, saved, updated = program.forward(params, buffers, batch, key, save=save)
                return outputs, saved, {b: updated[b] for b in updates}

            self._forwards[plan, save] = jax.jit(forward)
        with jax.enable_x64(self.wide):
            return self._forwards[plan, save](params, buffers, batch, np.uint32(seed), np.uint32(count))

    def backward(self, plan: Plan, backend: str, params: dict, saved: dict, seeds: dict, before: dict) -> dict:
        """{name: gradient}; before: what to add it to, None for nothing."""
        program = self.program(plan)
        if backend == "numpy":
            numpy = NumpyProgram(program)
            try:
                fresh = numpy.backward(params, saved, seeds)
            except NoGradientRule:  # no plain backward for some operator: the rules, executed in NumPy
                fresh = numpy.backward_from_gradient_graph({**params, **saved}, seeds)
            return {w: g if before[w] is None else before[w] + g for w, g in fresh.items()}
        if plan not in self._backwards:

            def backward(params, saved, seeds, before):
                fresh = program.backward(params, saved, seeds)
                return {w: g if before[w] is None else before[w] + g for w, g in fresh.items()}

            self._backwards[plan] = jax.jit(backward)
        with jax.enable_x64(self.wide):
            return self._backwards[plan](params, saved, seeds, before)

    @cached_property
    def differentiable(self) -> tuple[str, ...]:
        return tuple(o for o in self.graph.outputs if self.graph.value(o).is_float)


RANDOM = ("Dropout", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli")
