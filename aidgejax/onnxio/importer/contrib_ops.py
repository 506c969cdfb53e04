"""Operators of com.microsoft, which exporters and onnxruntime's optimizer write, decomposed into standard ones.

    @contrib("QuickGelu")
    def quick_gelu(op, x, *, alpha=1.702):
        return op.Mul(x, op.Sigmoid(op.Mul(x, alpha)))

A function gets the node's inputs by position and its attributes by keyword, and returns its outputs.  `shaped`
functions ask for the shape of an input.  What each means is onnxruntime's, against which the tests check it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...errors import AidgeJaxError, ModelFileError
from ...graph import Graph, Node, Value
from ...passes.rewrite import replace_nodes, with_shapes
from .contrib import attention, layers, quantized
from .contrib.registry import CONTRIB, SHAPED, Unread

MINE = "com.microsoft"
FAMILIES = (attention, layers, quantized)  # importing them fills CONTRIB
# Written by onnxruntime's tools in the default domain, where ONNX does not have them.
UNDER_ANY_NAME = ("SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "SkipLayerNormalization")


def is_contrib(domain: str, op_type: str) -> bool:
    return op_type in CONTRIB and (domain == MINE or domain == "" and op_type in UNDER_ANY_NAME)


def in_standard_operators(graph: Graph) -> Graph:
    """The graph with the nodes of com.microsoft that are known here decomposed into operators of ONNX."""
    while found := next((n for n in graph.nodes if is_contrib(n.domain, n.op)), None):
        if found.op in SHAPED:
            graph = replace_nodes(_with_shapes_before(graph, found), partial(_replacement_of, found))
        else:
            graph = replace_nodes(graph, _replacement_without_shapes)
    return graph


def _replacement_of(one: Node, node: Node) -> Callable | None:
    return _replacement(node) if node is one else None


def _replacement_without_shapes(node: Node) -> Callable | None:
    return None if node.op in SHAPED else _replacement(node)


def _replacement(node: Node) -> Callable | None:
    if not is_contrib(node.domain, node.op):
        return None
    function = CONTRIB[node.op]

    def replacement(op: Any, *inputs: Any, **attributes: Any) -> Any:
        try:
            return function(op, *inputs, **attributes)
        except TypeError as e:
            raise ModelFileError(
                f"node {node.name!r} ({node.op} of {MINE}) cannot be read: {str(e).split('() ', 1)[-1]}"
            ) from None
        except Unread as e:
            raise ModelFileError(f"node {node.name!r} ({node.op} of {MINE}) cannot be read: {e}") from None

    return replacement


def _with_shapes_before(graph: Graph, node: Node) -> Graph:
    """The same graph, knowing the shapes of what the node reads, as far as they can be found."""
    before = graph.copy()
    before.nodes = graph.nodes[: graph.nodes.index(node)]
    before.outputs = [i for i in node.input_names if i in graph.values]
    before.prune()
    for name, v in before.inputs.items():
        if v.shape is not None:
            named = tuple(("N" if k == 0 else f"size_{k}") if d is None else d for k, d in enumerate(v.shape))
            before.inputs[name] = Value(name, named, v.dtype)
    try:
        known = with_shapes(before)
    except AidgeJaxError:
        return graph
    twin = graph.copy()
    twin.values |= {o: known.values[o] for o in before.outputs}
    return twin
