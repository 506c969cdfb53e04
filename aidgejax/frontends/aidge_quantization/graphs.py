"""Putting nodes into the edges of a graph, and which nodes are quantized."""

from __future__ import annotations

from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node
from ..aidge_core.recipes.surgery import checked, like

AFFINE = frozenset(("FC", *(f"{p}Conv{k}{d}D" for p in ("", "Padded") for k in ("", "DepthWise") for d in (1, 2, 3))))


def affine(graph: GraphView, call: str) -> list[Node]:
    """The layers with weights, in the order in which they run."""
    return [n for n in checked(graph, call).execution_order() if n.type() in AFFINE]


def insert(graph: GraphView, consumer: Node, k: int, new: Node) -> None:
    """Put a node between an input and what feeds it; an input that nothing feeds is then the new node's."""
    source = consumer.sources[k]
    if source is not None:
        source.node.add_child(new, source.index, 0)
    elif graph.chosen_inputs is not None:
        graph.chosen_inputs = [
            type(p)(new, 0) if (p.node, p.index) == (consumer, k) else p for p in graph.chosen_inputs
        ]
    given = consumer.get_operator().given_inputs.pop(k, None)
    if given is not None:
        new.get_operator().given_inputs[0] = given
    new.add_child(consumer, 0, k)
    like(new, consumer)
    for p in new.sources[1:]:
        if p is not None:
            like(p.node, consumer)
    graph.add(new)


def sources_above(node: Node, k: int, *types: str) -> list[Node]:
    """The nodes above input k, as long as they are of these types, nearest first."""
    found, source = [], node.sources[k]
    while source is not None and source.node.type() in types:
        found.append(source.node)
        source = source.node.sources[0]
    return found
