"""Operators of com.microsoft, which exporters and onnxruntime's optimizer write, decomposed into standard ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...errors import AidgeJaxError, ModelFileError
from ...graph import Graph, Node, Value
from ...passes.rewrite import replace_nodes, with_shapes
from .contrib import attention, layers, layouts, quantized
from .contrib.registry import CONTRIB, SHAPED, Unread, contrib_key
from .packed_weights import unpacked

FAMILIES = (attention, layers, layouts, quantized)  # importing them fills CONTRIB


def is_contrib(domain: str, op_type: str) -> bool:
    return contrib_key(domain, op_type) is not None


def in_standard_operators(graph: Graph) -> Graph:
    """The graph with the nodes of other domains that are known here decomposed into operators of ONNX."""
    graph = unpacked(graph)
    while found := next(((n, k) for n in graph.nodes if (k := contrib_key(n.domain, n.op))), None):
        node, key = found
        if key in SHAPED:
            graph = replace_nodes(_with_shapes_before(graph, node), partial(_replacement_of, node))
        else:
            graph = replace_nodes(graph, _replacement_without_shapes)
    return graph


def _replacement_of(one: Node, node: Node) -> Callable | None:
    return _replacement(node) if node is one else None


def _replacement_without_shapes(node: Node) -> Callable | None:
    return None if contrib_key(node.domain, node.op) in SHAPED else _replacement(node)


def _replacement(node: Node) -> Callable | None:
    key = contrib_key(node.domain, node.op)
    if key is None:
        return None
    function = CONTRIB[key]

    def replacement(op: Any, *inputs: Any, **attributes: Any) -> Any:
        try:
            return function(op, *inputs, **attributes)
        except TypeError as e:
            raise ModelFileError(
                f"node {node.name!r} ({node.op} of {key[0]}) cannot be read: {str(e).split('() ', 1)[-1]}"
            ) from None
        except Unread as e:
            raise ModelFileError(f"node {node.name!r} ({node.op} of {key[0]}) cannot be read: {e}") from None

    return replacement


def _with_shapes_before(graph: Graph, node: Node) -> Graph:
    """The same graph, knowing the shapes of what the node reads, as far as they can be found."""
    before = graph.copy()
    before.nodes = graph.nodes[: graph.nodes.index(node)]
    before.outputs = [i for i in node.input_names if i in graph.values]
    before.prune()
    for p in before.producers.values():  # roles are still to be decided, and a shape that is stored is known
        p.role = "constant"
    for name, v in before.inputs.items():
        if v.shape is not None:
            named = tuple(("N" if k == 0 else f"size_{k}") if d is None else d for k, d in enumerate(v.shape))
            before.inputs[name] = Value(name, named, v.dtype)
    try:
        known = with_shapes(before)
    except AidgeJaxError:
        return graph
    copy = graph.copy()
    copy.values |= {o: known.values[o] for o in before.outputs}
    return copy
