"""Products of integers that arrived in a file, as the same product of floats between quantizers.

    QuantizeLinear -> ConvInteger (w) -> (Add: bias) -> Cast -> Mul (scale)
    QuantizeLinear -> DequantizeLinear -> Conv (DequantizeLinear (w), DequantizeLinear (bias))

The scale of the sums is that of the data times that of the weight: the latter is what is left when the former, which
the file says, is taken out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node, Value
from ..passes.constants import constant_value
from ..passes.integer_products import PRODUCTS, ScaledSums, scaled_sums
from .sites import TRANSPARENT


def products_in_floats(graph: Graph) -> Graph:
    """The graph with Conv and MatMul between DequantizeLinear in the place of ConvInteger and MatMulInteger.

    graph: with shapes inferred.  Raises GraphError naming those products whose scales a file does not fix: those that
    quantize their data as it comes, take integers from outside, or have no scale behind them.
    """
    products = [n for n in graph.nodes if n.op in PRODUCTS]
    maker = _Maker(graph)
    odd = [f"{n.name or n.output_names[0]!r} ({why})" for n in products if (why := maker.replace(n)) is not None]
    if odd:
        dynamic = any(n.op == "DynamicQuantizeLinear" for n in graph.nodes)
        raise GraphError(
            f"graph {graph.name!r} holds products of integers that cannot go on from their scales: "
            f"{', '.join(odd[:6])}{', ...' if len(odd) > 6 else ''}"
            f"{'; aidgejax.passes.float_weights(graph) makes their weights trainable' if dynamic else ''}"
        )
    return maker.new


class _Maker:
    def __init__(self, graph: Graph) -> None:
        self.old, self.new = graph, graph.copy()
        self.writer = graph.writer()

    def replace(self, node: Node) -> str | None:
        """Put the product of floats in a node's place; else why that is not possible."""
        scaled, weight = scaled_sums(self.old, node), self.old.producers.get(str(node.inputs[1]))
        if weight is None:
            return "its second factor is computed"
        if scaled is None:
            return "its sums are not multiplied by a scale"
        scale, source = constant_value(self.old, scaled.scale), self._quantizer(str(node.inputs[0]))
        if source is None:
            return "its data arrive as integers, or are quantized by what is in them"
        of_data = constant_value(self.old, source.inputs[1])
        zero, own = (constant_value(self.old, _at(n, 2)) for n in (source, node))
        if scale is None or of_data is None or of_data.size != 1:
            return "its scale is computed, or data have one for each channel"
        if not np.array_equal(np.ravel(0 if zero is None else zero), np.ravel(0 if own is None else own)):
            return "its zero point is not that of the quantizer in front"
        axis = 0 if node.op == "ConvInteger" else weight.data.ndim - 1
        count = self._channels(node)
        if scaled.bias is not None and self.old.producers[scaled.bias].data.size not in (1, count):
            return f"its bias has {self.old.producers[scaled.bias].data.size} values for {count} channels"
        if scale.size not in (1, count) or (node.op == "MatMulInteger" and weight.data.ndim != 2):
            return f"its scale has {scale.size} values for {count} channels"
        of_weight = scale.astype(np.float64) / float(of_data.reshape(()))
        self._put(node, scaled, source, of_weight.astype(np.float32), axis)
        return None

    def _channels(self, node: Node) -> int:
        shape = self.old.producers[node.inputs[1]].data.shape
        return shape[0] if node.op == "ConvInteger" else shape[-1]

    def _quantizer(self, tensor: str) -> Node | None:
        """The QuantizeLinear above, through operators that move values alone."""
        node = self.writer.get(tensor)
        while node is not None and node.op in TRANSPARENT and tensor == node.output_names[0]:
            node = self.writer.get(str(node.inputs[0]))
        return node if node is not None and node.op == "QuantizeLinear" else None

    def _put(self, node: Node, scaled: ScaledSums, source: Node, of_weight: np.ndarray, axis: int) -> None:
        """The nodes of the product in floats where the sums become floats."""
        new, stem = self.new, node.name or node.output_names[0]
        one = of_weight.size == 1
        of_weight = of_weight.reshape(() if one else -1)
        along = {} if one else {"axis": axis}
        scale = new.constant(new.fresh(f"{node.inputs[1]}.scale"), of_weight).name
        made = [self._real(stem, "data", (node.inputs[0], *source.inputs[1:]), {})]
        zero = constant_value(self.old, _at(node, 3))
        own = None if zero is None else new.constant(new.fresh(f"{scale}.zero"), np.resize(zero, of_weight.shape)).name
        made.append(self._real(stem, "weight", (node.inputs[1], scale, own), along))
        if scaled.bias is not None:
            held = constant_value(self.old, source.inputs[1])
            both = np.asarray(of_weight * np.float32(0 if held is None else held.reshape(())), np.float32)
            both_name = new.constant(new.fresh(f"{scaled.bias}.scale"), both).name
            vector = np.resize(self.old.producers[scaled.bias].data, self._channels(node))
            bias = new.constant(new.fresh(f"{scaled.bias}.vector"), vector).name
            made.append(self._real(stem, "bias", (bias, both_name), {} if one else {"axis": 0}))
        inputs = [n.output_names[0] for n in made]
        op = "Conv" if node.op == "ConvInteger" else "MatMul"
        if op == "MatMul" and len(made) == 3:
            sums = self._tensor(f"{stem}.sums")
            made.append(Node("MatMul", tuple(inputs[:2]), (sums,), {}, stem))
            made.append(Node("Add", (sums, inputs[2]), scaled.result.outputs, {}, new.fresh(f"{stem}/bias_add")))
        else:
            made.append(Node(op, tuple(inputs), scaled.result.outputs, dict(node.attrs), stem))
        new.nodes = [m for n in new.nodes if n is not node for m in (made if n is scaled.result else [n])]
        new.prune()

    def _real(self, stem: str, what: str, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Node:
        while inputs[-1] is None:
            inputs = inputs[:-1]
        out = self._tensor(f"{stem}.{what}.real")
        return Node("DequantizeLinear", inputs, (out,), attrs, self.new.fresh(f"{stem}/{what}_dq"))

    def _tensor(self, stem: str) -> str:
        name = self.new.fresh(stem)
        self.new.values[name] = Value(name)
        return name


def _at(node: Node, k: int) -> Any:
    return node.inputs[k] if len(node.inputs) > k else None
