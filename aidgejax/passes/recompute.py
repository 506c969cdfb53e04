"""Memory for time: which tensors of the forward the gradient computes again instead of keeping them.

    graph = recompute(graph, "blocks")              # keeps what stands between blocks
    graph = recompute(graph, "products")            # keeps the results of matrix products and convolutions
    graph = recompute(graph, 64 << 20, sizes={"N": 32})    # as little recomputation as 64 MiB of kept tensors allow

The choice is written into the graph's metadata, so it survives export; the gradient then holds the nodes once more,
behind a `Barrier` each, without which a compiler would find that they are there already and keep the first results.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import SettingError
from ..graph import Graph, Node, Value
from ..interpreter.abstract_evaluation import number_of
from ..interpreter.constant_folding import compile_time_values
from ..interpreter.shape_inference import infer_shapes
from ..ops import lookup
from .edit import renamed
from .gradient import make_gradient
from .mode import normalized

KEY = "aidgejax.recompute"
POLICIES = ("none", "blocks", "products")
# What XLA computes once for all its readers, not once in the kernel of each.
COMPUTED_ONCE = frozenset(
    "Acos Asin Atan Cos Cosh Erf Exp Log Pow Reciprocal Sigmoid Sin Sinh Softplus Sqrt Tan Tanh".split()
)


def recompute(
    graph: Graph, policy: str | int = "blocks", *, every: int = 1, sizes: Mapping[str, int] | None = None
) -> Graph:
    """The same graph, whose gradient computes again what `policy` does not keep: the same operations once more, on
    tensors stored as the first time.  In float32 on a CPU, loss and gradients of every network that was measured are
    those of the graph without it to the bit (benchmarks/step_memory.py); with `scan_blocks`, whose loops are compiled
    otherwise, but for the last bits.

    policy: "none" keeps every tensor that the gradient reads; "blocks" keeps the tensors through which everything
        flows (block boundaries), each `every`-th of them; "products" keeps the results of matrix products and
        convolutions and computes element-wise nodes again; a number of bytes: as many block boundaries as fit.
    sizes: {symbol: number} for a policy in bytes where sizes are symbolic.
    Random draws are always kept.  Raises SettingError for another policy, or where not even every boundary's removal
    reaches the number of bytes.
    """
    graph = infer_shapes(graph)
    if isinstance(policy, str) and policy not in POLICIES:
        raise SettingError(f"recompute has the policies {', '.join(POLICIES)} and a number of bytes, got {policy!r}")
    if every < 1:
        raise SettingError(f"every is {every}: expected 1 or more")
    if isinstance(policy, str):
        dropped = _dropped(graph, policy, every)
    else:
        dropped = _within(graph, policy, dict(sizes or {}))
    copy = graph.copy()
    copy.metadata.pop(KEY, None)
    if dropped:
        copy.metadata[KEY] = json.dumps(sorted(dropped))
    return copy


def with_recomputation(graph: Graph, backward: Graph) -> Graph:
    """The gradient `backward` of `graph`, reading nothing that `recompute` said is not kept."""
    dropped = recomputed_tensors(graph)
    wanted = [i for i in backward.inputs if i in dropped]
    if not wanted:
        return backward
    writer = graph.writer()
    copy = backward.copy()
    copy.nodes = []
    kept = {*graph.inputs, *graph.producers, *(o for n in graph.nodes for o in n.output_names if o not in dropped)}
    for i in wanted:
        del copy.inputs[i]
    again = Again(writer, copy, kept, graph=graph)
    arrived = {i for i in backward.inputs if not graph.has(i)}  # the cotangents that the gradient starts from
    again.trigger = next(iter(sorted(arrived)), None)
    again.held = results_to_hold(graph, backward)
    for node in backward.nodes:
        again.session = {}
        copy.nodes.append(renamed(node, {i: again(i) for i in node.input_names if i in dropped}))
        if arrived.intersection(node.input_names):
            arrived.update(node.output_names)
            floats = [o for o in node.output_names if backward.value(o).is_float]
            again.trigger = floats[0] if floats else again.trigger
    copy.outputs = list(backward.outputs)
    return copy


def recomputed_tensors(graph: Graph) -> set[str]:
    """The tensors that the gradient of this graph is to compute again; see `recompute`."""
    listed = json.loads(graph.metadata.get(KEY, "[]"))
    written = {o for n in graph.nodes for o in n.output_names}
    return {t for t in listed if t in written and t not in graph.outputs}


def results_to_hold(graph: Graph, backward: Graph) -> set[str]:
    """Results that forward and recomputation put into memory, as the forward does without recomputation, where the
    gradient `backward` reads them there.  Else a compiler joins what is around them to one kernel, and rounds less."""
    dropped, writer = recomputed_tensors(graph), graph.writer()
    return {i for i in backward.inputs if i in dropped and writer[i].op in COMPUTED_ONCE}


class Again:
    """Writes the nodes that compute again what was not kept, each once, where it is first needed.

    graph: where the tensors are declared, for barriers; None writes the nodes without them.
    trigger: a tensor that the recomputation waits for, so that it does not start, and hold memory, too early.
    held: see `results_to_hold`.
    """

    def __init__(
        self, writer: Mapping[str, Node], target: Graph, kept: Collection[str] | None, graph: Graph | None = None
    ) -> None:
        self._writer, self._target, self._kept, self._source = writer, target, kept, graph
        self._done: dict[str, str] = {}
        self.trigger: str | None = None
        self.held: Collection[str] = ()
        self.session: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        node = self._writer.get(name)
        if self._kept is None or node is None or name in self._kept:
            return name if self._source is None else self._behind_barrier(name)
        if name not in self._done:
            names = self._inputs(node)
            for o in node.output_names:
                names[o] = self._done[o] = self._target.fresh(f"{o}_cp")
                v = (self._source or self._target).value(o)
                self._target.values[names[o]] = Value(names[o], v.shape, v.dtype)
            self._target.nodes.append(replace(renamed(node, names), name=f"{node.name}_cp"))
            for o in set(node.output_names).intersection(self.held):
                self._done[o] = self._barrier(names[o])
        return self._done[name]

    def _inputs(self, node: Node) -> dict[str, str]:
        """{what the node reads: what its copy reads}.  One input behind a barrier holds a node: parameters are put
        there only where nothing else is."""
        names = {i: self(i) for i in node.input_names if i in self._writer}
        for i in node.input_names:
            if i not in names:
                held = self._source is not None and any(k != v for k, v in names.items())
                names[i] = self._declared(i) if held else self(i)
        return names

    def _declared(self, name: str) -> str:
        """The tensor itself, which the target then takes as an input."""
        source, target = self._source, self._target
        if source is not None and not target.has(name):
            if name in source.constants:
                target.constant(name, source.constants[name])
            else:
                target.inputs[name] = source.value(name)
        return name

    def _behind_barrier(self, name: str) -> str:
        source = self._source
        self._declared(name)
        if source is None or name in source.constants or not source.value(name).is_float:
            return name
        if name not in self.session:
            self.session[name] = self._barrier(name, *(() if self.trigger is None else (self.trigger,)))
        return self.session[name]

    def _barrier(self, name: str, *after: str) -> str:
        value, held = self._target.value(name), self._target.fresh(f"{name}_kept")
        self._target.values[held] = Value(held, value.shape, value.dtype)
        self._target.nodes.append(Node("Barrier", (name, *after), (held,), {}, name=f"{held}/Barrier"))
        return held


# ---- policies -----------------------------------------------------------------------------------------


def _dropped(graph: Graph, policy: str, every: int) -> set[str]:
    if policy == "none":
        return set()
    fixed = compile_time_values(graph)
    kept = set(graph.outputs) | fixed | {o for n in graph.nodes if lookup(n.op).random for o in n.output_names}
    whole = {o for n in graph.nodes for o in n.output_names} - kept - _next_values(graph)
    if policy == "products":
        return {t for t in whole if not _is_product(graph.writer()[t])}
    return whole - set(boundaries(graph)[every - 1 :: every])


def _next_values(graph: Graph) -> set[str]:
    """What takes the place of buffers and parameters; a normalization's result beside it can be computed again."""
    places = ((n, at) for n in graph.nodes for at in lookup(n.op).updates.values())
    return {o for n, at in places if at < len(n.outputs) and (o := n.outputs[at])}


def _is_product(node: Node) -> bool:
    return lookup(node.op).flops is not None


def boundaries(graph: Graph) -> list[str]:
    """Tensors, in order, through which everything flows that comes after: where a network could be cut in two."""
    last_read: dict[str, int] = {}
    for at, node in enumerate(graph.nodes):
        for i in node.input_names:
            last_read[i] = at
    for o in graph.outputs:
        last_read[o] = len(graph.nodes)
    settings = {*graph.producers, *compile_time_values(graph), *_from_producers(graph)}
    alive: set[str] = {i for i in graph.inputs if graph.inputs[i].is_float}
    found = []
    # An input that is read late, a target, is not part of the flow.
    alive -= {i for i in alive if last_read.get(i, -1) > len(graph.nodes) // 2 and len(alive) > 1}
    for at, node in enumerate(graph.nodes):
        alive = {t for t in alive if last_read.get(t, -1) > at}
        alive |= {o for o in node.output_names if last_read.get(o, -1) > at and o not in settings}
        if len(alive) == 1 and node.output_names and node.output_names[0] in alive:
            found.append(node.output_names[0])
    return _between_products(graph, found)


def _from_producers(graph: Graph) -> set[str]:
    """Tensors that follow from parameters and constants alone: a cast weight, say."""
    known = set(graph.producers)
    for node in graph.nodes:
        if node.input_names and all(i in known for i in node.input_names):
            known.update(node.output_names)
    return known


def _between_products(graph: Graph, cuts: list[str]) -> list[str]:
    """Of several cuts with no matrix product between them, the last: what follows is cheap to compute from it."""
    writer = graph.writer()
    order = {o: at for at, n in enumerate(graph.nodes) for o in n.output_names}
    products = [at for at, n in enumerate(graph.nodes) if _is_product(n)]
    kept: list[str] = []
    for cut in cuts:
        if kept and not any(order[kept[-1]] < at <= order[cut] for at in products):
            kept[-1] = cut
        else:
            kept.append(cut)
    return [c for c in kept if not lookup(writer[c].op).random]


def _within(graph: Graph, budget: int, sizes: dict[str, int]) -> set[str]:
    """The choice with the fewest tensors computed again among those that fit."""
    cuts = len(boundaries(graph))
    candidates = [set[str](), _dropped(graph, "products", 1)]
    candidates += [_dropped(graph, "blocks", every) for every in range(1, max(2, cuts))]
    seeds = ["loss"] if "loss" in graph.outputs else [o for o in graph.outputs if graph.value(o).is_float]
    trained = infer_shapes(normalized(graph, True))  # with the outputs that rules read, as training will keep them
    backward = infer_shapes(make_gradient(trained, seeds, list(graph.params), unreachable="zeros"))
    held = [sum(tensor_bytes(trained.value(t), sizes) for t in kept_tensors(trained, backward, c)) for c in candidates]
    fitting = [(len(c), n) for n, c in enumerate(candidates) if held[n] <= budget]
    if not fitting:
        raise SettingError(
            f"recompute cannot keep the tensors of graph {graph.name!r} within {budget} bytes: the least is {min(held)}"
        )
    return candidates[min(fitting)[1]]


def kept_tensors(graph: Graph, backward: Graph, dropped: Collection[str]) -> list[str]:
    """What the forward keeps for the gradient `backward` where `dropped` tensors are computed again."""
    writer = graph.writer()
    found: dict[str, None] = {}
    waiting = [i for i in backward.inputs if i in writer]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in writer:
            continue
        seen.add(name)
        if name in dropped:
            waiting += writer[name].input_names
        else:
            found[name] = None
    return list(found)


def tensor_bytes(value: Value, sizes: Mapping[str, int]) -> int:
    """Bytes of a tensor whose symbols have these sizes.  Raises SettingError naming a symbol without one."""
    if value.shape is None:
        return 0
    counts: list[Any] = []
    for d in value.shape:
        if isinstance(d, str):
            try:
                counts.append(number_of(d, dict(sizes)))
            except KeyError as e:
                raise SettingError(
                    f"the size of {value} depends on {e.args[0]!r}: give sizes={{{e.args[0]!r}: ...}}"
                ) from None
        else:
            counts.append(d or 1)
    item = 2 if value.dtype in ("bfloat16", "float16") else np.dtype(value.dtype or "float32").itemsize
    return math.prod(counts) * item
