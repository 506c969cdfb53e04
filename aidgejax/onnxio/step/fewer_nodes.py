"""Two or three nodes of a step as one, where onnxruntime computes them faster so.

Cast(Greater(x, 0)), of an x that a Relu takes      Sign(Relu(x))
c * v + Gemm(a, b), of a velocity v                 Gemm(a, b, v, beta=c)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...graph import Graph, Node


def with_fewer_nodes(graph: Graph) -> Graph:
    """The graph in fewer nodes; shapes must be inferred."""
    return _with_accumulating_products(_with_signs(graph))


def _number(graph: Graph, operand: Any) -> float | None:
    """The number that an operand is, if it is one."""
    if isinstance(operand, str):
        data = graph.constants.get(operand)
        return float(data.reshape(())) if data is not None and data.size == 1 else None
    return None if operand is None or isinstance(operand, tuple) else float(operand)


def _with_signs(graph: Graph) -> Graph:
    """What lets a gradient through a Relu is 1 where its output is positive, and 0 where that is 0."""
    copy = graph.copy()
    writer = {o: n for n in graph.nodes for o in n.output_names}
    rectified = {n.inputs[0]: n.output_names[0] for n in graph.nodes if n.op == "Relu"}

    def form(node: Node) -> Node:
        asked = writer.get(str(node.inputs[0])) if node.op in ("Cast", "CastLike") else None
        if asked is None or asked.op != "Greater" or _number(graph, asked.inputs[1]) != 0:
            return node
        y = rectified.get(asked.inputs[0])
        if y is None or graph.value(y).dtype != graph.value(node.output_names[0]).dtype:
            return node
        return Node("Sign", (y,), node.outputs, {}, node.name)

    copy.nodes = [form(n) for n in graph.nodes]
    copy.prune()
    return copy


def _with_accumulating_products(graph: Graph) -> Graph:
    copy = graph.copy()
    writer = {o: n for n in graph.nodes for o in n.output_names}
    readers: dict[str, int] = {o: 1 for o in graph.outputs}
    for node in graph.nodes:
        for i in node.input_names:
            readers[i] = readers.get(i, 0) + 1

    def form(node: Node) -> Node:
        if node.op != "Add":
            return node
        for scaled, product in (node.inputs, node.inputs[::-1]):
            mul, gemm = writer.get(str(scaled)), writer.get(str(product))
            if mul is None or gemm is None or mul.op != "Mul" or gemm.op != "Gemm" or len(gemm.inputs) > 2:
                continue
            beta, v, made = _number(graph, mul.inputs[0]), mul.inputs[1], graph.value(str(product))
            same = isinstance(v, str) and graph.value(v).shape == made.shape
            if beta is None or not same or readers[str(product)] > 1 or made.dtype == "float64":
                continue  # an attribute is float32
            return replace(gemm, inputs=(*gemm.inputs, v), outputs=node.outputs, attrs={**gemm.attrs, "beta": beta})
        return node

    copy.nodes = [form(n) for n in graph.nodes]
    copy.prune()
    return copy
