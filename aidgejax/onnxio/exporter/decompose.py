"""Decomposition into standard ONNX operators: a node that ONNX does not have becomes what it is defined by."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...errors import ModelFileError
from ...graph import Graph, Node
from ...ops import lookup
from ...passes.control_flow.conditional import with_branches
from ...passes.rewrite import Replacement, replace_nodes, with_shapes
from ..schemas import same, schema_for, schema_of

MOST_PASSES = 8


def decomposed(graph: Graph) -> Graph:
    """The same graph in operators that ONNX has; tensors that were there keep their names.

    Shapes must be known as far as a decomposition asks for them.
    Raises ModelFileError naming a node that cannot be decomposed.
    """
    graph = with_branches(graph, decomposed)
    for _ in range(MOST_PASSES):
        if all(is_standard(graph, n) for n in graph.nodes):
            return graph
        graph = with_shapes(replace_nodes(graph, partial(_decomposition, graph)))
    odd = sorted({n.op for n in graph.nodes if not is_standard(graph, n)})
    raise ModelFileError(
        f"graph {graph.name!r}: {', '.join(odd)} was not reduced to standard operators after {MOST_PASSES} passes: "
        f"its decomposition is cyclic"
    )


def is_standard(graph: Graph, node: Node) -> bool:
    """Can the node be written as it stands?"""
    operator = lookup(node.op)
    if operator.onnx is None or (operator.onnx[0] and operator.decompose):
        return False
    if node.op == "BatchNormalization" and len(node.output_names) > 1 and not node.attrs.get("training_mode"):
        return False  # ONNX gives the running statistics in training mode alone
    schema = schema_for(graph, node)
    if schema is None and operator.decompose and schema_of(operator):
        return False
    schema = schema or schema_of(operator)
    known = operator.attributes if schema is None else schema.attributes
    return all(k in known or same(v, operator.attributes.get(k)) for k, v in node.attrs.items())


def _decomposition(graph: Graph, node: Node) -> Replacement | None:
    if is_standard(graph, node):
        return None
    operator = lookup(node.op)
    decompose, schema = operator.decompose, schema_of(operator)
    if decompose is None:
        odd = [k for k in node.attrs if k not in schema.attributes] if schema else []
        raise ModelFileError(
            f"node {node.name!r} ({node.op}) of graph {graph.name!r} cannot be written: ONNX does not "
            f"have it{' with ' + ', '.join(odd) if odd else ''}, and aidgejax/ops gives no "
            f"decomposition"
        )

    def write(op: Any, *inputs: Any, **attributes: Any) -> Any:
        return decompose(op, *operator.pad_inputs(inputs), **{**operator.attributes, **attributes})

    return write


def for_runtimes(graph: Graph) -> Graph:
    """The same graph, with each node whose operator says so in the form that runtimes execute."""

    def form(node: Node) -> Replacement | None:
        operator = lookup(node.op)
        written = operator.for_runtimes
        if written is None:
            return None
        return lambda op, *inputs, **attributes: written(
            op, *operator.pad_inputs(inputs), outputs=len(node.outputs), **attributes
        )

    return replace_nodes(with_branches(graph, for_runtimes), form)
