"""The graph that is written: plain nodes in order, and what is known of their values and shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import GraphError
from ...graph import Graph, Node, Value
from ...interpreter.constant_folding import compile_time_values, fold
from ...interpreter.shape_inference import infer_shapes
from ...ops import lookup
from ...ops.control_flow import CONTROL_FLOW, is_control_flow
from ..constants import constant_value

MOST_NODES = 10_000
MOST_EVALUATIONS = 3_000  # where nobody gave data, which means: while a file is read
# A tensor's name, a sequence of such items, or None for an optional value that is absent.
Item = Any
Evaluate = Callable[[Node, Sequence[Any]], Sequence[Any]]
# {structural operator: function(flat, node, inputs as items, prefix of new names) -> outputs as items}
WRITERS: dict[str, Callable[..., list[Item]]] = {}


def unrolls(name: str) -> Callable[[Callable], Callable]:
    def register(function: Callable) -> Callable:
        WRITERS[name] = function
        return function

    return register


class DataDependent(GraphError):
    """What decides about a node depends on data that there is not yet."""


def is_dynamic(graph: Graph) -> bool:
    """Does the graph have nodes, or inputs that are sequences or optional, that are still to be unrolled?"""
    return any(map(is_control_flow, graph.nodes)) or any("(" in (v.dtype or "") for v in graph.inputs.values())


def unrolled(
    graph: Graph, feeds: Mapping[str, Any] | None = None, evaluate: Evaluate | None = None
) -> tuple[Graph, list[Item]]:
    """The same graph without control flow, sequences and optional values; and its outputs as items.

    feeds: values of the inputs, where they are known; a sequence is a list, an absent optional value None.  A sequence
    x is replaced by its tensors, which become the inputs `x.0`, `x.1`, ...; see `flat_feeds`.
    evaluate: computes a node whose inputs are known; default: as shapes are computed while a graph is lowered.
    Raises DataDependent naming the node about which nothing can be decided, and GraphError for more than 10000 nodes.
    """
    flat = Unroller(graph, feeds, evaluate)
    for name, item in flat.outputs.items():
        if isinstance(item, str) and item != name:
            flat.graph.add("Identity", [item], names=[name], name=flat.graph.fresh(f"{name}/Identity"))
            flat.outputs[name] = name
    for name in dict.fromkeys(_leaves(list(flat.outputs.values()))):
        flat.graph.output(name)
    flat.graph.prune()
    return flat.graph, [flat.outputs[o] for o in graph.outputs]


def flat_feeds(feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The feeds of the graph that `unrolled` returns."""
    flat: dict[str, Any] = {}
    for name, value in feeds.items():
        if isinstance(value, list | tuple):
            flat |= flat_feeds({f"{name}.{k}": v for k, v in enumerate(value)})
        elif value is not None:
            flat[name] = value
    return flat


def _leaves(items: Sequence[Item]) -> Iterator[str]:
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            yield from _leaves(item)


class Unroller:
    """Writes the nodes of a graph into `self.graph`; a scope tells what a name of the old one stands for."""

    def __init__(self, old: Graph, feeds: Mapping[str, Any] | None, evaluate: Evaluate | None) -> None:
        self.old, self.evaluate = old, evaluate
        self.given = flat_feeds(feeds or {})
        self.values: dict[str, Any] = {}  # of tensors, as far as somebody asked; None where it is not known
        self.shapes: dict[str, tuple | None] = {}
        self.writer: dict[str, int] = {}  # the node that writes a tensor, as an index
        self._spent, self._evaluations = 0, 0
        self._stored: dict[int, dict[str, str]] = {}  # {subgraph: {its producer: where it is in the new graph}}
        self._reserved = {*old.inputs, *old.producers, *old.values}
        self.graph = Graph(old.name)
        self.graph.metadata = dict(old.metadata)
        scope: dict[str, Item] = {
            p.name: self.graph.producer(p.name, p.data, p.role).name for p in old.producers.values()
        }
        for v in old.inputs.values():
            scope[v.name] = self._input(v, None if feeds is None else feeds.get(v.name), feeds is not None)
        self.write_nodes(old, scope, "", {})
        self.outputs = {o: scope[o] for o in old.outputs}

    def _input(self, v: Value, fed: Any, known: bool) -> Item:
        """The item that an input is: a tensor, or as many as are fed."""
        kind = v.dtype or ""
        if "(" not in kind:
            shape = tuple(np.shape(fed)) if known and fed is not None else v.shape
            return self.graph.input(v.name, shape, kind).name
        if not known:
            raise DataDependent(f"what is in the input {v} of graph {self.old.name!r} is known only when it is run")
        outer, inner = kind[:-1].split("(", 1)
        if outer == "optional":
            return None if fed is None else self._input(Value(v.name, v.shape, inner), fed, known)
        if not isinstance(fed, list | tuple):
            raise GraphError(f"graph {self.old.name!r}, {v}: got {type(fed).__name__}, expected a list of arrays")
        return [self._input(Value(f"{v.name}.{k}", None, inner), a, known) for k, a in enumerate(fed)]

    def error(self, node: Node, what: str, kind: type[GraphError] = GraphError) -> GraphError:
        return kind(f"node {node.name!r} ({node.op}) of graph {self.old.name!r}: {what}")

    # ---- writing --------------------------------------------------------------------------------------

    def write_nodes(self, graph: Graph, scope: dict[str, Item], prefix: str, names: Mapping[str, str]) -> None:
        """Write the nodes of `graph`; what they write joins the scope.

        prefix: of every new name; names: {tensor of this graph: what it is to be called}.
        """
        for node in graph.nodes:
            inputs = [scope[i] if isinstance(i, str) else i for i in node.inputs]
            results: Sequence[Item]
            if is_control_flow(node):
                results = WRITERS[node.op](self, node, inputs, prefix)
            elif node.op == "Identity" and not isinstance(inputs[0], str):
                results = inputs
            else:
                results = self._plain(node, inputs, prefix, names)
            scope.update((o, r) for o, r in zip(node.outputs, results, strict=False) if o is not None)

    def _plain(self, node: Node, inputs: list, prefix: str, names: Mapping[str, str]) -> list[Item]:
        for i, wanted in zip(inputs, node.inputs, strict=True):
            if isinstance(i, list):
                raise self.error(node, f"{wanted!r} is a sequence; expected a tensor")
        outputs = [o if o is None or not prefix else names.get(o) or self.free(prefix + o) for o in node.outputs]
        return self.written(node, node.op, inputs, node.attrs, outputs, f"{prefix}{node.name}")

    def emit(self, cause: Node, prefix: str, op: str, *inputs: Any, outputs: int = 1, **attrs: Any) -> list[str]:
        """A node that stands for a part of `cause`."""
        stem = f"{prefix}{cause.name}/{op}"
        names = [self.free(stem) for _ in range(outputs)]
        return self.written(cause, op, inputs, attrs, names, names[0])

    def constant(self, cause: Node, prefix: str, what: str, value: Any) -> str:
        return self.graph.constant(self.free(f"{prefix}{cause.name}/{what}"), value).name

    def written(
        self, cause: Node, op: str, inputs: Sequence, attrs: Mapping[str, Any], outputs: Sequence, name: str
    ) -> list[Item]:
        self.spend(cause)
        self.graph.add(op, inputs, dict(attrs), names=outputs, name=name, domain=cause.domain)
        at = len(self.graph.nodes) - 1
        self.writer.update(dict.fromkeys(self.graph.nodes[at].output_names, at))
        return list(outputs)

    def taken_back(self, start: int) -> list[Node]:
        """The nodes from a place on, which leave the graph; the names of what they write stay taken."""
        nodes, self.graph.nodes = self.graph.nodes[start:], self.graph.nodes[:start]
        for o in (o for n in nodes for o in n.output_names):
            self._reserved.add(o)
            del self.writer[o], self.graph.values[o]
        return nodes

    def free(self, stem: str) -> str:
        """A name that nothing bears, in the old graph neither."""
        name = self.graph.fresh(stem)
        while name in self._reserved:
            name = self.graph.fresh(stem)
        self._reserved.add(name)
        return name

    def spend(self, node: Node, nodes: int = 1) -> None:
        """Count what is written."""
        self._spent += nodes
        if self._spent > MOST_NODES + len(self.old.nodes):
            raise self.error(node, f"unrolled, the graph has more than {MOST_NODES} nodes; shorten the loop")

    def call(
        self,
        node: Node,
        body: Graph,
        items: Sequence[Item],
        captured: Mapping[str, Item],
        prefix: str,
        names: Mapping[str, str] | None = None,
    ) -> list[Item]:
        """The outputs of a subgraph, its nodes unrolled under `prefix`."""
        if id(body) not in self._stored:
            self._stored[id(body)] = {
                p.name: self.graph.producer(self._kept(node, p.name), p.data, p.role).name
                for p in body.producers.values()
            }
        formal = [i for i in body.inputs if i not in captured]
        if len(formal) != len(items):
            raise self.error(node, f"its subgraph {body.name!r} takes {len(formal)} inputs, got {len(items)}")
        scope = {**captured, **self._stored[id(body)], **dict(zip(formal, items, strict=True))}
        self.write_nodes(body, scope, prefix, names or {})
        return [scope[o] for o in body.outputs]

    def _kept(self, node: Node, name: str) -> str:
        """The name of a subgraph's initializer, where nothing else bears it."""
        return self.free(f"{node.name}/{name}") if self.graph.has(name) or name in self._reserved else self.free(name)

    # ---- what is known --------------------------------------------------------------------------------

    def known(self, item: Item, node: Node, what: str | None = None) -> np.ndarray:
        """The value of a tensor; DataDependent where it depends on data."""
        value = self.value(item) if isinstance(item, str) else item
        if value is None:
            raise self.error(
                node,
                f"{what or CONTROL_FLOW[node.op]} is not known before the data is, since {item!r} is computed from it",
                DataDependent,
            )
        return np.asarray(value)

    def number(self, item: Item, node: Node, what: str) -> int:
        value = self.known(item, node, what)
        if value.size != 1:
            raise self.error(node, f"{what} is a tensor of shape {list(value.shape)}; expected one number")
        return int(value.reshape(()))

    def value(self, name: str) -> Any:
        """The value of a tensor of the new graph, or None."""
        stack, needed = [name], set()
        while stack:
            name_ = stack.pop()
            if self._is_at_hand(name_):
                continue
            at = self.writer.get(name_)
            if at is None or lookup(self.graph.nodes[at].op).random:
                return None
            if at not in needed:
                needed.add(at)
                if not self._by_shape(self.graph.nodes[at]):
                    stack += self.graph.nodes[at].input_names
        for at in sorted(needed):
            node = self.graph.nodes[at]
            results = self._compute(node) or [None] * len(node.outputs)
            self.values.update((o, r) for o, r in zip(node.outputs, results, strict=False) if o is not None)
        if self._at_hand(name) is None and self.evaluate is None:
            self.values[name] = self._at_any_size(name)
        return self._at_hand(name)

    def _at_any_size(self, name: str) -> Any:
        """The value of a tensor that follows from sizes, where those that are open have no part in it."""
        part = self._part(name)
        if any(v.shape is None or None in v.shape for v in part.inputs.values()):
            return None
        try:
            return constant_value(infer_shapes(part), name)
        except GraphError:
            return None

    def _by_shape(self, node: Node) -> bool:
        """Is it the shape alone that decides, and are the numbers not there?"""
        return self.evaluate is None and lookup(node.op).shape_only

    def _is_at_hand(self, name: str) -> bool:
        return name in self.values or name in self.given or name in self.graph.producers

    def _at_hand(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        return self.given[name] if name in self.given else self.graph.producers[name].data

    def _compute(self, node: Node) -> Sequence[Any] | None:
        if self._by_shape(node):
            shape = self.shape(node.inputs[0])
            if shape is None or not all(isinstance(d, int) for d in shape):
                return None
            return self._evaluated(node, [np.broadcast_to(np.float32(0), shape)])
        args = [
            np.asarray(i, np.int64) if isinstance(i, tuple) else self._at_hand(i) if isinstance(i, str) else i
            for i in node.inputs
        ]
        if any(a is None and isinstance(i, str) for a, i in zip(args, node.inputs, strict=True)):
            return None
        return args if node.op == "Identity" else self._evaluated(node, args)

    def _evaluated(self, node: Node, args: list) -> Sequence[Any]:
        if self.evaluate is not None:
            return self.evaluate(node, args)
        self._evaluations += 1
        if self._evaluations > MOST_EVALUATIONS:
            raise self.error(
                node,
                f"to find out how often the loops run, more than {MOST_EVALUATIONS} nodes would have to be computed",
            )
        try:
            return fold(lookup(node.op), args, dict(node.attrs))
        except (TypeError, ValueError, IndexError, ZeroDivisionError) as e:
            raise self.error(node, str(e)) from e

    def shape(self, name: str) -> tuple | None:
        """The shape of a tensor of the new graph, as far as it is known."""
        if self._is_at_hand(name):
            value = self._at_hand(name)
            return None if value is None else tuple(np.shape(value))
        if name in self.graph.inputs:
            return self.graph.inputs[name].shape
        if name not in self.shapes:
            self._infer(name)
        return self.shapes[name]

    def _part(self, name: str) -> Graph:
        """What computes a tensor, as far as it is written."""
        part = self.graph.copy()
        part.outputs = [name]
        part.prune()
        for p in part.producers.values():  # what is trained is decided later
            p.role = "constant"
        read = {i for n in part.nodes for i in n.input_names}
        part.inputs = {i: v for i, v in part.inputs.items() if i in read}
        for i in compile_time_values(part).intersection(part.inputs, self.given):
            del part.inputs[i]
            part.constant(i, self.given[i])
        return part

    def _infer(self, name: str) -> None:
        part = self._part(name)
        self.shapes[name] = None
        if all(v.shape is not None and None not in v.shape for v in part.inputs.values()):
            self.shapes.update((v.name, v.shape) for v in infer_shapes(part).values.values())

    def length(self, item: Item, axis: int, node: Node) -> int:
        """The size of a tensor along an axis."""
        if not isinstance(item, str):
            raise self.error(node, "expected a tensor, got a sequence or nothing")
        shape = self.shape(item)
        if shape is not None and not -len(shape) <= axis < len(shape):
            raise self.error(node, f"axis {axis} is outside a tensor of rank {len(shape)}")
        size = None if shape is None else shape[axis]
        if not isinstance(size, int):
            raise self.error(
                node,
                f"the size of {item!r} along axis {axis} is not known; read the model with `shapes=` that say it",
                DataDependent,
            )
        return size
