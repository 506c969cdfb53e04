"""Graphs of the real aidge_core, taken over from its live objects and given back: by duck typing, without importing it.

    view = from_aidge(real_view)               # a GraphView of this front end, with the real one's data
    ...                                        # train it here
    to_aidge(view, aidge_core, view=real_view) # its parameters are the real one's now

Quantizers (LSQ and the like) are known once aidgejax.frontends.aidge_quantization is imported.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import GraphViewError
from .factories import factory
from .graphview import GraphView
from .node import Node, Port, Producer
from .operators import CLASSES, TYPES
from .saving import ENUMS
from .tensor import Tensor

RENAMED = {"pads": "padding_dims"}  # attributes inside a meta operator -> what its factory calls them
SIZES = {"in_channels": 1, "out_channels": 0, "nb_channels": 0, "nb_features": 0}  # axis of the weight


def from_aidge(view: Any) -> GraphView:
    """The GraphView of this front end that a live GraphView of the real aidge_core describes, data copied.

    Raises GraphViewError naming a node of a type that is not known here.
    """
    made: dict[str, Node] = {}
    graph = GraphView(str(view.name()) if hasattr(view, "name") else "")
    for live in view.get_ordered_nodes():
        node = _node(live)
        for k, (source, out) in enumerate(_sources(live)):
            if source is not None:
                if source.name() not in made:
                    raise GraphViewError(f"node {live.name()!r} reads {source.name()!r}, which the graph does not hold")
                made[source.name()].add_child(node, out, k)
        if live.name() in made:
            raise GraphViewError(f"the graph has two nodes called {live.name()!r}: give each a name of its own")
        made[live.name()] = node
    graph.add(list(made.values()))
    read = {live.name(): [s is None for s, _ in _sources(live)] for live in view.get_ordered_nodes()}
    ins = [(n.name(), k) for n, k in map(_pair, view.get_ordered_inputs()) if n is not None]
    outs = [(n.name(), k) for n, k in map(_pair, view.get_ordered_outputs()) if n is not None]
    graph.set_ordered_inputs(
        [Port(made[n], k) for n, k in ins if read[n][k] and not made[n].is_optional_input(k)]
    )  # optional ones that nothing feeds are settings of the real meta operators
    graph.set_ordered_outputs([Port(made[n], k) for n, k in outs])
    return graph


def to_aidge(graph: GraphView, aidge_core: Any, *others: Any, view: Any = None) -> Any:
    """A GraphView of the real package with this one's nodes and data; with view, that one given this one's parameters.

    aidge_core: the real module; others: more that make nodes (aidge_quantization).  Its nodes have no backend yet.
    Raises GraphViewError naming a node that neither module makes, or a Producer whose sizes are not the view's.
    """
    if view is not None:
        return _given_back(graph, aidge_core, view)
    made: dict[Node, Any] = {}
    for node in graph.execution_order():
        kind = node.type()
        if kind == "Producer":
            data = np.asarray(node.get_operator().get_output(0).cell.read())
            constant = bool(node.get_operator().attr.dict().get("constant", False))
            made[node] = aidge_core.Producer(aidge_core.Tensor(data), node.name(), constant)
            continue
        maker = next((getattr(m, kind) for m in (aidge_core, *others) if hasattr(m, kind)), None)
        if maker is None or kind not in TYPES:
            raise GraphViewError(
                f"node {node.name()!r} is of type {kind!r}, which {aidge_core.__name__} does not make; give to_aidge "
                f"the module that does (aidge_quantization)"
            )
        made[node] = maker(**_arguments(node))
        for k, source in enumerate(node.sources):
            if source is not None:
                made[source.node].add_child(made[node], source.index, k)
    found = aidge_core.GraphView()  # which takes no name
    for node in made.values():
        found.add(node)
    found.set_ordered_inputs([(made[p.node], p.index) for p in graph.get_ordered_inputs()])
    found.set_ordered_outputs([(made[p.node], p.index) for p in graph.get_ordered_outputs()])
    return found


def _given_back(graph: GraphView, aidge_core: Any, view: Any) -> Any:
    mine = {n.name(): n.get_operator().get_output(0) for n in graph.execution_order() if n.type() == "Producer"}
    live = {n.name(): n for n in view.get_ordered_nodes() if n.type() == "Producer"}
    missing = sorted(set(mine) - set(live))
    if missing:
        raise GraphViewError(f"the live graph has no Producer {missing[0]!r}: is it the one that from_aidge took?")
    for name, tensor in mine.items():
        held = live[name].get_operator().get_output(0)
        dims = list(held() if callable(held := held.dims) else held)
        if dims not in ([], list(tensor.dims)):
            raise GraphViewError(f"Producer {name!r} has sizes {dims} in the live graph, {list(tensor.dims)} here")
    for name, tensor in mine.items():
        live[name].get_operator().set_output(0, aidge_core.Tensor(np.array(tensor.cell.read())))
    return view


# ---- one node -----------------------------------------------------------------------------------------


def _pair(port: Any) -> tuple[Any, int]:
    """(node, index) of a port of either kind; None where nothing is joined."""
    node, index = port
    return node, int(index)


def _sources(live: Any) -> Iterator[tuple[Any, int]]:
    return (_pair(p) for p in live.inputs())


def _node(live: Any) -> Node:
    kind, op = live.type(), live.get_operator()
    attributes = _attributes(op)
    if kind == "Producer":
        return Producer(Tensor(np.array(op.get_output(0))), live.name(), bool(attributes.get("constant", False)))
    if kind not in CLASSES:
        quantizer = " (import aidgejax.frontends.aidge_quantization first, if it is a quantizer's)"
        raise GraphViewError(f"node {live.name()!r} is of type {kind!r}, which is not known{quantizer}")
    accepted = inspect.signature(factory(TYPES[kind])).parameters
    chosen = {k: v for k, v in attributes.items() if k in accepted and k not in SIZES}
    if "nb_inputs" in accepted:
        chosen["nb_inputs"] = len(list(live.inputs()))
    if kind == "Split":
        chosen["nb_outputs"] = live.get_nb_outputs()
    return Node(CLASSES[kind](**chosen), live.name())


def _attributes(op: Any) -> dict[str, Any]:
    """What the operator says of itself; of a meta operator also what those inside say."""
    held = getattr(op, "attr", None)
    found: dict[str, Any] = {}
    for key, value in (held.dict() if held is not None else {}).items():
        value = value.dict() if hasattr(value, "get_attr") else value
        if isinstance(value, Mapping):
            found |= {RENAMED.get(str(k), str(k)): _plain(v) for k, v in value.items()}
        else:
            found[key] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    """An enumeration of the real package as ours of that name; a tensor as an array."""
    own = ENUMS.get(type(value).__name__)
    if own is not None and hasattr(value, "name"):
        return own[value.name]
    if hasattr(value, "name") and hasattr(value, "value"):
        return value.name.lower()
    return np.array(value) if hasattr(value, "dims") else value


def _arguments(node: Node) -> dict[str, Any]:
    """What the factory of this node's type takes, from its attributes and its weight."""
    held = node.get_operator().attr.dict()
    found: dict[str, Any] = {"name": node.name()}
    weight = _weight(node)
    for key in inspect.signature(factory(TYPES[node.type()])).parameters:
        if key in held:
            value = held[key]
            found[key] = value.name.lower() if isinstance(value, enum.Enum) else value
        elif key in SIZES and weight is not None:
            found[key] = int(weight[SIZES[key]])
        elif key == "no_bias":
            found[key] = len(node.sources) < 3 or node.sources[2] is None
        elif key == "nb_inputs":
            found[key] = node.get_nb_inputs()
    return found


def _weight(node: Node) -> tuple[int, ...] | None:
    """The sizes of what feeds input 1, through the quantizers in between."""
    source = node.sources[1] if len(node.sources) > 1 else None
    while source is not None and source.node.type() != "Producer":
        source = source.node.sources[0] if source.node.sources else None
    return None if source is None else tuple(source.node.get_operator().get_output(0).dims)
