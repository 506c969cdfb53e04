"""Softmax in whatever nodes it was written: Softmax itself, e / sum(e), exp(LogSoftmax) and exp(x - LogSumExp).

Subtracting the maximum along the axis before Exp changes nothing but which numbers overflow, so it is looked through.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..graph import Graph, Node
from .constants import constant_value

ENDS = ("Softmax", "Div", "Mul", "Exp")  # the last node of a softmax


class SoftmaxForms:
    """Of one graph, with shapes inferred."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.writer = graph, graph.writer()
        self.nodes = {n.name: n for n in graph.nodes}

    def ended_by(self, name: str) -> tuple[Graph, Node] | None:
        """The graph with the softmax that the node `name` ends as a Softmax node, and this node; else None.

        What nobody reads any more is gone from it: an exponential that somebody reads besides, keeps its scores read.
        """
        node = self.nodes.get(name)
        if node is None or node.op not in ENDS:
            return None
        if node.op == "Softmax":
            return self.graph, node
        found = self._of_exponentials(node) if node.op == "Exp" else self._of_ratio(node)
        if found is None:
            return None
        scores, axis, values = found
        copy = self.graph.copy()
        at = next(k for k, n in enumerate(copy.nodes) if n.name == name)
        new = [Node("Softmax", (scores,), node.outputs, {"axis": axis}, name)]
        if values is not None:  # which were summed before the division
            p = copy.fresh(f"{name}/Softmax")
            copy.values[p] = replace(self.graph.value(scores), name=p)
            new = [
                Node("Softmax", (scores,), (p,), {"axis": axis}, p),
                Node("MatMul", (p, values), node.outputs, {}, name),
            ]
        copy.nodes[at : at + 1] = new
        copy.prune()
        return copy, new[0]

    def _written(self, name: Any, *ops: str) -> Node | None:
        """The node that writes a tensor as its first output, if it is one of these operators."""
        node = self.writer.get(name) if isinstance(name, str) else None
        return node if node is not None and node.op in ops and node.outputs[0] == name else None

    def _of_exponentials(self, node: Node) -> tuple[str, int, str | None] | None:
        """exp(LogSoftmax(x)), and exp(x - log(sum(exp(x))))"""
        log = self._written(node.inputs[0], "LogSoftmax")
        if log is not None:
            return str(log.inputs[0]), int(log.attrs.get("axis", -1)), None
        difference = self._written(node.inputs[0], "Sub")
        if difference is None or not isinstance(difference.inputs[0], str):
            return None
        scores, total = difference.inputs
        reduced = self._reduced(total, "ReduceLogSumExp")
        if reduced is None:
            log = self._written(total, "Log")
            reduced = None if log is None else self._reduced(log.inputs[0], "ReduceSum")
            exp = None if reduced is None else self._written(reduced[0], "Exp")
            reduced = None if exp is None or reduced is None else (str(exp.inputs[0]), reduced[1])
        return (scores, reduced[1], None) if reduced is not None and reduced[0] == scores else None

    def _of_ratio(self, node: Node) -> tuple[str, int, str | None] | None:
        """e / sum(e), e * (1 / sum(e)), and (e v) / sum(e)"""
        top, under = node.inputs
        if node.op == "Mul":
            sides = [(top, self._written(under, "Reciprocal")), (under, self._written(top, "Reciprocal"))]
            top, one = next(((a, r) for a, r in sides if r is not None), (None, None))
            under = None if one is None else one.inputs[0]
        total = self._reduced(under, "ReduceSum")
        exp = None if total is None else self._written(total[0], "Exp")
        if total is None or exp is None:
            return None
        values = None
        if top != total[0]:
            product = self._written(top, "MatMul")
            rank = self.graph.value(total[0]).rank
            if product is None or product.inputs[0] != total[0] or total[1] not in (-1, (rank or 0) - 1):
                return None
            second, whole = (self.graph.value(str(n)).rank for n in (product.inputs[1], top))
            if not isinstance(product.inputs[1], str) or whole != rank or second is None or second < 2:
                return None
            values = product.inputs[1]
        scores = str(exp.inputs[0])
        shifted = self._written(scores, "Sub")
        if shifted is not None and isinstance(shifted.inputs[0], str):
            largest = self._reduced(shifted.inputs[1], "ReduceMax", "TopK")
            if largest is not None and largest == (shifted.inputs[0], total[1]):
                scores = shifted.inputs[0]
        return scores, total[1], values

    def _reduced(self, name: Any, *ops: str) -> tuple[str, int] | None:
        """(What was reduced, along which one axis), where the axis is kept, or put back, with one element."""
        node = self._written(name, "Unsqueeze", "Reshape", "Identity", *ops)
        while node is not None and node.op not in ops:
            node = self._written(node.inputs[0], "Unsqueeze", "Reshape", "Identity", *ops)
        if node is None or not isinstance(node.inputs[0], str):
            return None
        x, y = self.graph.value(node.inputs[0]), self.graph.value(str(name))
        if x.shape is None:
            return None
        if node.op == "TopK":
            many = constant_value(self.graph, node.inputs[1])
            if many is None or many.size != 1 or int(many.ravel()[0]) != 1 or not node.attrs.get("largest", 1):
                return None
            axis = int(node.attrs.get("axis", -1))
        else:
            axes = constant_value(self.graph, node.inputs[1]) if len(node.inputs) > 1 else None
            if axes is None or axes.size != 1:
                return None
            axis = int(axes.ravel()[0])
        axis %= len(x.shape)
        kept = tuple(1 if k == axis else d for k, d in enumerate(x.shape))
        return (node.inputs[0], axis) if y.shape == kept else None
