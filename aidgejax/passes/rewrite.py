"""Replacing nodes by others that mean the same: how old forms become new ones, and ours become standard ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AidgeJaxError, GraphError
from ..graph import Builder, Graph, Node, Value
from ..interpreter.constant_folding import compile_time_values
from ..interpreter.shape_inference import infer_shapes
from .control_flow import is_dynamic

Replacement = Callable[..., Any]


def replace_nodes(graph: Graph, replacement: Callable[[Node], Replacement | None]) -> Graph:
    """The same graph, each node for which `replacement(node)` is a function replaced by what this function writes.

    The function is called like a rule, `f(op, *inputs, **attributes)`, and returns the node's outputs (one, or a
    tuple with None where there is none).  Outputs keep their names, and the node that writes the first of them
    keeps the replaced node's name; what stands between is called `<node>/<operator>`.
    """
    copy = graph.copy()
    copy.nodes = []
    node_names = {n.name for n in graph.nodes}
    for node in graph.nodes:
        function = replacement(node)
        copy.nodes += [node] if function is None else _replaced(copy, node, function, node_names)
    return copy


def with_shapes(graph: Graph) -> Graph:
    """infer_shapes, or the graph as it is where its inputs do not say enough: shapes that are not known, a shape that
    is itself an input, control flow that depends on data.  Such a graph can be executed, where more is known."""
    if is_dynamic(graph):
        return graph
    decides = compile_time_values(graph)
    open_ = [v for v in graph.inputs.values() if v.shape is None or None in v.shape or v.name in decides]
    return graph if open_ else infer_shapes(graph)


def _replaced(copy: Graph, node: Node, function: Replacement, node_names: set[str]) -> list[Node]:
    scratch = Graph(copy.name)  # written apart, so that no name of the graph is in the way
    scratch.inputs = {i: copy.value(i) for i in node.input_names}
    inputs = [scratch.inputs.get(i, i) if isinstance(i, str) else i for i in node.inputs]
    try:
        made = function(Builder(scratch, f"{node.name}/"), *inputs, **node.attrs)
    except AidgeJaxError as e:
        if f"node {node.name!r}" in str(e):
            raise
        raise type(e)(f"node {node.name!r} ({node.op}) of graph {copy.name!r}: {e}") from None
    made = made if isinstance(made, tuple) else (made,)
    final: dict[str, str] = {}  # {what the function calls it: the node's output}
    again: list[tuple[str, str]] = []
    written = [o for n in scratch.nodes for o in n.output_names]
    for k, output in enumerate(node.outputs):
        if output is None:
            continue
        value = made[k] if k < len(made) else None
        if not isinstance(value, Value):
            raise GraphError(
                f"node {node.name!r} ({node.op}) of graph {copy.name!r}: its replacement in other operators "
                f"gives no output {k}, which the graph uses as {output!r}"
            )
        if value.name in written and value.name not in final:
            final[value.name] = output
        else:  # an input passed through, or the same tensor twice
            again.append((value.name, output))
    rename = final | {name: _moved(copy, scratch, name) for name in (*scratch.producers, *written) if name not in final}
    nodes = [
        Node(
            n.op,
            tuple(rename.get(i, i) if isinstance(i, str) else i for i in n.inputs),
            tuple(rename.get(o, o) if o else o for o in n.outputs),
            n.attrs,
            n.name,
            n.domain,
        )
        for n in scratch.nodes
    ]
    nodes += [Node("Identity", (rename.get(i, i),), (o,), {}, f"{node.name}/Identity") for i, o in again]
    return _named(nodes, node, node_names)


def _moved(copy: Graph, scratch: Graph, name: str) -> str:
    """Take a tensor over from the scratch graph, under a name that is free."""
    fresh = copy.fresh(name)
    if name in scratch.producers:
        return copy.producer(fresh, scratch.producers[name].data, scratch.producers[name].role).name
    copy.values[fresh] = Value(fresh, None, None)
    return fresh


def _named(nodes: list[Node], node: Node, node_names: set[str]) -> list[Node]:
    first = next((o for o in node.outputs if o is not None), None)
    result = []
    for n in nodes:
        name = node.name
        if first not in n.outputs:
            k, name = 0, n.name
            while name in node_names:
                k, name = k + 1, f"{n.name}_{k + 1}"
            node_names.add(name)
        result.append(n.replace(name=name))
    return result
