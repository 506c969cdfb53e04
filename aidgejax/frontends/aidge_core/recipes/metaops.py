"""Recipes for meta-operators: nodes into the graphs that they are inside, and matches of a query into nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import TensorTypeError
from ..graphview import SECONDARY, GraphView
from ..matching import MatchingResult, SinglePassGraphMatching
from ..meta import MetaOperatorOp, micro_graph_of
from ..micro_graphs import WHOLE
from ..node import Node, Port, unique_name
from .surgery import checked, like, redirect, take_out


def expand_metaops(
    graph_view: GraphView, recursive: bool = False, name_format: str = "{0}", unique_name: bool = False
) -> None:
    """Every meta-operator becomes the nodes of its micro graph; LSTM, GRU and Leaky, which run as one operator, stay.

    name_format: of their names, from {0} the inner name, {1} the inner type, {2} the meta-operator's name, {3} its
    type.
    unique_name: append a number where the graph has the name already.
    """
    again = True
    while again:
        again = False
        for node in list(checked(graph_view, "expand_metaops").execution_order()):
            again |= _expand(graph_view, node, name_format, unique_name) and recursive


def expand_metaop(node: Node, name_format: str = "{0}", unique_name: bool = False) -> bool:
    """Expand this node in the graphs that hold it; False where it is no meta-operator."""
    if not isinstance(node, Node):
        raise TensorTypeError(f"expand_metaop(node): expected a Node, got {type(node).__name__}")
    views = list(node.views) or [GraphView()]
    return any([_expand(view, node, name_format, unique_name) for view in views])


def _expand(graph: GraphView, node: Node, name_format: str, unique: bool) -> bool:
    inside = None if node.type() in WHOLE else micro_graph_of(node)
    if inside is None:
        return False
    members = inside.execution_order()
    taken = {n.name() for n in graph.members if n is not node}
    for inner in members:
        name = name_format.format(inner.name(), inner.type(), node.name(), node.type())
        inner.set_name(unique_name(name, taken) if unique else name)
        taken.add(inner.name())
        like(inner, node)
        inside.remove(inner, include_attached_producers=False)
    ports, ends = inside_ports(inside, members, node)
    if graph.chosen_inputs is not None:
        graph.chosen_inputs = [ports[p.index] if p.node is node else p for p in graph.chosen_inputs]
    for k, given in node.get_operator().given_inputs.items():
        ports[k].node.get_operator().given_inputs[ports[k].index] = given
    for port, source in zip(ports, list(node.sources), strict=False):
        if source is not None:
            source.node.add_child(port.node, source.index, port.index)
    graph.add(members, include_attached_producers=False)
    for k, end in enumerate(ends):
        redirect(graph, Port(node, k), end)
    take_out(graph, node, include_producers=False)
    return True


def inside_ports(inside: GraphView, members: list[Node], node: Node) -> tuple[list[Port], list[Port]]:
    """(inputs, outputs) of a micro graph, in the order of the meta-operator's."""
    held = GraphView()
    held.members = dict.fromkeys(members)
    held.chosen_inputs, held.chosen_outputs = inside.chosen_inputs, inside.chosen_outputs
    return held.get_ordered_inputs(), held.get_ordered_outputs()[: node.get_nb_outputs()]


def fuse_to_metaops(
    graph_view: Any, query: str, type: str = "", graph_func: Callable[[GraphView], bool] | None = None
) -> int:
    """Every match of the query becomes one unnamed node of this type (default: the query); how many.

    graph_view: a GraphView, or a SinglePassGraphMatching.  What feeds a matched node from outside, Producers included,
    feeds the new node; a matched Producer is inside.  graph_func(match) may refuse a match.
    """
    matching = graph_view if isinstance(graph_view, SinglePassGraphMatching) else SinglePassGraphMatching(graph_view)
    count = 0
    for match in matching.match(query, disjoint=True):
        if graph_func is None or graph_func(match.graph):
            _fuse(matching.graph, match, type or query)
            count += 1
    return count


def fuse_to_metaop(graph: GraphView, type: str) -> bool:
    """All nodes of the graph, Producers included, become one node of this type in the graphs that hold them."""
    inner = checked(graph, "fuse_to_metaop").execution_order()
    views = list(dict.fromkeys(v for n in inner for v in n.views))
    if not inner or not views:
        return False
    match = MatchingResult()
    match.graph.members = dict.fromkeys(inner)
    _fuse(views[0], match, type)
    return True


def _fuse(graph: GraphView, match: MatchingResult, type: str) -> None:
    inner = [n for n in graph.execution_order() if n in match.graph.members]
    entries = [
        Port(n, k) for n in inner for k, p in enumerate(n.sources) if p is None or p.node not in match.graph.members
    ]
    exits = [
        Port(n, k)
        for n in inner
        if n.type() != "Producer"
        for k, out in enumerate(n.readers)
        if any(r.node not in match.graph.members for r in out)
        or not out
        and n.get_operator().output_names[k] not in SECONDARY
    ]
    inside = GraphView()
    inside.members = dict.fromkeys(inner)
    inside.chosen_inputs, inside.chosen_outputs = entries, exits
    copy = inside.clone()
    node = Node(MetaOperatorOp(type, copy), "")
    like(node, inner[-1])
    graph.add(node)
    for k, entry in enumerate(entries):
        source = entry.node.sources[entry.index]
        if source is not None:
            source.node.add_child(node, source.index, k)
        given = entry.node.get_operator().given_inputs.get(entry.index)
        if given is not None:
            node.get_operator().given_inputs[k] = given
    if graph.chosen_inputs is not None:
        graph.chosen_inputs = [Port(node, entries.index(p)) if p in entries else p for p in graph.chosen_inputs]
    for k, end in enumerate(exits):
        outside = [r for r in end.node.readers[end.index] if r.node not in match.graph.members]
        for reader, i in outside:
            node.add_child(reader, k, i)
        if graph.chosen_outputs is not None:
            graph.chosen_outputs = [Port(node, k) if p == end else p for p in graph.chosen_outputs]
    for old in inner:
        take_out(graph, old, include_producers=False)
