"""The ways to build a GraphView: one node after the other, side by side, around a residual edge, from Connectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import GraphViewError, TensorTypeError
from .graphview import GraphView
from .implementation import late
from .node import Connector, Node, Port


def _as_items(inputs: Any, what: str) -> list[Node | GraphView]:
    if not isinstance(inputs, list | tuple):
        raise TensorTypeError(f"{what} takes a list of Nodes and GraphViews, got {type(inputs).__name__}")
    for k, item in enumerate(inputs):
        if not isinstance(item, Node | GraphView):
            raise TensorTypeError(f"{what}: item {k} is {item!r}; expected a Node or a GraphView")
    return list(inputs)


def sequential(inputs: Any, name: str = "") -> GraphView:
    """One after the other: the outputs of each are connected to the free data inputs of the next."""
    graph = GraphView(name)
    before: Any = None
    for item in _as_items(inputs, "sequential"):
        if graph.members:
            outs = graph.get_ordered_outputs()
            if not outs and isinstance(before, Node):  # a Producer, whose output is no graph's
                outs = [Port(before, k) for k in range(before.get_nb_outputs())]
            if isinstance(item, Node):
                for n, k in outs:
                    n.add_child(item, k)
            else:
                ins = item.get_ordered_inputs()
                if len(outs) != len(ins) and len(outs) != 1:
                    raise GraphViewError(
                        f"sequential: {len(outs)} outputs cannot be connected to the {len(ins)} "
                        f"inputs of graph {item.name()!r}"
                    )
                for k, (n, i) in enumerate(ins):
                    source, out = outs[min(k, len(outs) - 1)]
                    source.add_child(n, out, i)
        graph.add(item)
        before = item
    return graph


def parallel(inputs: Any, name: str = "") -> GraphView:
    """Side by side, not connected."""
    graph = GraphView(name)
    for item in _as_items(inputs, "parallel"):
        graph.add(item)
    return graph


def residual(inputs: Any, name: str = "") -> GraphView:
    """sequential, and an edge from the first item's output to the second data input of the last one (an Add, say)."""
    items = _as_items(inputs, "residual")
    graph = sequential(items, name)
    first, last = items[0], items[-1]
    ends = [Port(first, 0)] if isinstance(first, Node) else first.get_ordered_outputs()
    members = [] if isinstance(first, Node) else list(first.members)
    start, out = ends[0] if ends else Port(members[-1], 0)
    node = last if isinstance(last, Node) else last.get_ordered_inputs()[0][0]
    try:
        k = node.first_free_input()
    except GraphViewError:
        raise GraphViewError(
            f"residual: the last item, node {node.name()!r} ({node.type()}), has no free data input "
            f"for the edge from {start.name()!r}; end with an Add, say"
        ) from None
    start.add_child(node, out, k)
    return graph


@late("chained")
def chained(first: Any, second: Any) -> GraphView:
    """first >> second."""
    return sequential([first, second])


@late("beside")
def beside(first: Any, second: Any) -> GraphView:
    """first | second."""
    return parallel([first, second])


def get_connected_graph_view(node: Node) -> GraphView:
    """All nodes that are connected with this one, directly or not."""
    if not isinstance(node, Node):
        raise TensorTypeError(f"get_connected_graph_view takes a Node, got {type(node).__name__}")
    found, waiting = {node: None}, [node]
    while waiting:
        n = waiting.pop(0)
        around = [p[0] for p in n.sources if p] + [c for out in n.readers for c, _ in out]
        for other in around:
            if other not in found:
                found[other] = None
                waiting.append(other)
    view = GraphView()
    view.members = dict(found)
    order = view.execution_order()
    view.members = {}
    return view.add(order)


def generate_graph(output_connectors: Sequence[Connector]) -> GraphView:
    """The graph that computes these Connectors, whose outputs are they, in this order."""
    view, outs = GraphView(), []
    for c in output_connectors:
        if not isinstance(c, Connector):
            raise TensorTypeError(f"generate_graph takes a list of Connectors, got {c!r}")
        node = c.node()
        if node is None:
            raise GraphViewError("generate_graph: a Connector without a node computes nothing")
        view.add([n for n in _ancestors(node) if n not in view.members])
        outs.append((node, c.index()))
    view.set_ordered_outputs(outs)
    return view


def _ancestors(node: Node) -> list[Node]:
    found, waiting = {node: None}, [node]
    while waiting:
        for p in waiting.pop().sources:
            if p and p[0] not in found:
                found[p[0]] = None
                waiting.append(p[0])
    view = GraphView()
    view.members = found
    return view.execution_order()


def producers(graphview: GraphView, constant: bool = False) -> list[Node]:
    """The Producers, in the order in which the nodes that read them run; with constant=True the constant ones too.

    BatchNorm's running mean and variance are among them, as in Aidge; no optimizer changes them.
    """
    if not isinstance(graphview, GraphView):
        raise TensorTypeError(f"producers(graph): expected a GraphView, got {type(graphview).__name__}")
    return [
        n
        for n in graphview.execution_order()
        if n.type() == "Producer" and (constant or not n.get_operator().attr.constant)
    ]


def set_producers_constant(graph: GraphView, constant: bool = True) -> int:
    found = producers(graph, True)
    for n in found:
        n.get_operator().attr.constant = constant
    return len(found)
