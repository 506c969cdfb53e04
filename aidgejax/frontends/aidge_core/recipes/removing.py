"""Recipes that take nodes out: what does nothing, or nothing in inference."""

from __future__ import annotations

from ..graphview import GraphView
from ..matching import SinglePassGraphMatching
from .surgery import bypass, checked, nodes_of, take_out

MONOTONE = ("Softmax", "LogSoftmax", "Sigmoid", "Tanh", "Exp", "Ln", "Sqrt", "Softplus", "Identity")


def remove_node(graph_view: GraphView, type: str, incProducers: bool = False) -> int:  # noqa: N803
    """Take out every node of this type; its readers read its first input.  How many there were."""
    found = nodes_of(checked(graph_view, "remove_node"), type)
    for node in found:
        if type == "Producer":
            take_out(graph_view, node)
        else:
            bypass(graph_view, node, include_producers=incProducers)
    return len(found)


def remove_nodes(graph_view: GraphView, query: str) -> int:
    """Take out the nodes of every match of the query, Producers only where nothing else reads them; how many
    matches there were."""
    matched = SinglePassGraphMatching(checked(graph_view, "remove_nodes")).match(query)
    found = dict.fromkeys(n for m in matched for n in m.graph.members)
    for node in found:
        if node in graph_view.members and node.type() != "Producer":
            bypass(graph_view, node)
    return len(matched)


def remove_dropout(graph_view: GraphView) -> int:
    """Every Dropout; how many."""
    return remove_node(checked(graph_view, "remove_dropout"), "Dropout", incProducers=True)


def remove_identity(graph_view: GraphView) -> int:
    """Every Identity; how many."""
    return remove_node(checked(graph_view, "remove_identity"), "Identity")


def remove_flatten(graph_view: GraphView) -> None:
    """Every Flatten that only FCs read, perhaps through others: an FC flattens by itself."""
    while True:
        for node in nodes_of(checked(graph_view, "remove_flatten"), "Flatten"):
            axis = node.get_operator().attr.dict().get("axis", 1)
            readers = [r for r, k in node.readers[0] if k == 0]
            if axis == 1 and readers and len(readers) == len(node.readers[0]) and {r.type() for r in readers} == {"FC"}:
                bypass(graph_view, node)
                break
        else:
            return


def nop_monotone_arg_max(graph_view: GraphView) -> None:
    """What keeps the order of its elements, in front of an ArgMax along the same axis."""
    for node in nodes_of(checked(graph_view, "nop_monotone_arg_max"), "ArgMax"):
        before = node.sources[0]
        while before is not None and before.node.type() in MONOTONE and len(before.node.readers[0]) == 1:
            inner = before.node
            axis = inner.get_operator().attr.dict().get("axis", node.get_operator().attr.axis)
            if inner.sources[0] is None or axis != node.get_operator().attr.axis:
                break
            bypass(graph_view, inner)
            before = node.sources[0]
