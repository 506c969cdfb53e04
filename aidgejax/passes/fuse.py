"""Fusing: several nodes that mean one operator become that operator.

Attention.  MatMul, a scale, a mask, Softmax and MatMul, in whatever form an exporter chose, become ONNX's
`Attention`, whose forward and gradient need not hold the scores of all pairs of positions in memory.  The search
starts at each Softmax over the last axis and walks back to the product of queries and keys:

* the scale stands before the product (on the queries, on the keys, or its root on both) or after it, as a number or
  computed from sizes that are known;
* the mask is added, or chosen by Where with minus infinity or a large negative number, from either side;
* keys are transposed by a node of their own, together with the split into heads, or as matrices of batch times heads;
* keys and values of grouped heads are repeated by Unsqueeze, Expand and Reshape;
* a guard `Where(IsNaN(p), 0, p)` for rows that may look at nothing, and casts around the Softmax, are part of it.

A Dropout of the weights that training needs stays, and with it the nodes around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph import Graph, Node, Value
from ..interpreter.shape_inference import infer_shapes
from ..ops import lookup
from .constants import constant_value
from .join_products import join_products

LARGE = -1e4  # a mask's number below this hides a position: half precision's exporters write -1e4, others -3.4e38


def fuse(graph: Graph, *, attention: bool = True, products: bool | None = None) -> Graph:
    """The same graph with every attention made of elementary nodes as one `Attention` node, and fewer products.

    attention: False leaves those nodes as they are.  products: whether products of one tensor with several weights, as
    queries, keys and values are made, become one (see join_products.py); None: as `attention`.  The names of outputs
    and parameters do not change; a node that the fused one replaces is gone if nothing else reads it.  Count what was
    found with `fused.count()`: "Attention", "MatMul".
    """
    graph = infer_shapes(graph)
    graph = _with_attention(graph) if attention else graph
    return join_products(graph) if (attention if products is None else products) else graph


def _with_attention(graph: Graph) -> Graph:
    for softmax in [n.name for n in graph.nodes if n.op == "Softmax"]:
        found = _Search(graph).attention(graph.node(softmax))
        if found is not None:
            graph = found.replaced(graph)
    return graph


@dataclass
class _Attention:
    """The parts of one attention: tensors by name, the total scale, the node whose output is replaced."""

    q: str
    k: str
    v: str
    scale: float
    final: Node
    masks: list[Any] = field(default_factory=list)  # ("add", tensor) | ("where", condition, fill, keep_where_true)
    causal: bool = False
    k_perm: tuple[int, ...] | None = None
    softmax_float32: bool = False

    def replaced(self, graph: Graph) -> Graph:
        copy = graph.copy()
        before: list[Node] = []
        scratch = graph.copy()
        scratch.nodes = before
        k = self.k
        if self.k_perm is not None:
            (value,) = scratch.add("Transpose", [k], {"perm": self.k_perm})
            k = value.name
        mask = self._mask(scratch)
        attrs: dict[str, Any] = {"scale": self.scale}
        if self.causal:
            attrs["is_causal"] = 1
        if self.softmax_float32:
            attrs["softmax_precision"] = 1
        at = next(n for n, node in enumerate(copy.nodes) if node.name == self.final.name)
        inputs = (self.q, k, self.v) if mask is None else (self.q, k, self.v, mask)
        fused = Node("Attention", inputs, self.final.outputs, attrs, name=f"{self.final.name}/Attention")
        copy.nodes[at : at + 1] = [*before, fused]
        copy.values |= {o: scratch.values[o] for n in before for o in n.output_names}
        copy.producers |= {k: p for k, p in scratch.producers.items() if k not in copy.producers}
        copy.prune()
        return infer_shapes(copy)

    def _mask(self, scratch: Graph) -> str | None:
        total: Value | None = None
        for kind, *rest in self.masks:
            if kind == "add":
                part = scratch.value(rest[0])
            else:
                condition, fill, keep_where_true = rest
                kept = scratch.value(condition)
                if np.isneginf(fill) and len(self.masks) == 1:
                    part = kept if keep_where_true else scratch.add("Not", [kept])[0]
                else:
                    dtype = scratch.value(self.q).dtype
                    zero, low = (
                        scratch.constant(scratch.fresh(f"{condition}.{name}"), np.asarray(number, dtype))
                        for name, number in (("kept", 0.0), ("hidden", fill))
                    )
                    arms = (zero, low) if keep_where_true else (low, zero)
                    (part,) = scratch.add("Where", [kept, *arms])
            total = part if total is None else scratch.add("Add", [total, part])[0]
        return None if total is None else total.name


class _Search:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.writer, self.readers = graph, graph.writer(), graph.readers()

    def attention(self, softmax: Node) -> _Attention | None:
        scores = self.graph.value(softmax.outputs[0] or "")
        if scores.rank != 4 or softmax.attrs.get("axis", -1) not in (-1, 3):
            return None
        final = self._product_with_values(softmax)
        if final is None:
            return None
        found = self._scores(softmax.inputs[0], final)
        if found is None:
            return None
        found.v = self._heads_before_repeating(str(final.inputs[1]), found.q) or str(final.inputs[1])
        k = self._heads_before_repeating(found.k, found.q) if found.k_perm is None else None
        heads_of_v = self.graph.value(found.v).shape
        if k is not None and heads_of_v is not None and self._dim(k, 1) == heads_of_v[1]:
            found.k = k
        else:
            found.v = str(final.inputs[1])
        found.causal, found.masks = self._causal(found)
        return found if self._fits(found) else None

    # -- after the softmax

    def _product_with_values(self, softmax: Node) -> Node | None:
        """The MatMul with the values; None where something stands between that Attention cannot express."""
        name = softmax.outputs[0]
        while True:
            readers = [n for n in self.readers.get(str(name), []) if n.op != "IsNaN"]
            if len(readers) != 1 or name in self.graph.outputs:
                return None
            (node,) = readers
            if node.op == "MatMul":
                return node if node.inputs[0] == name and node.outputs[0] else None
            guard = node.op == "Where" and node.inputs[2] == name and self._is_nan_of(node.inputs[0], name)
            passes = node.op in ("Identity", "Cast") or (node.op == "Dropout" and not self._drops(node))
            if not (guard or passes):
                return None
            name = node.outputs[0]

    def _is_nan_of(self, condition: Any, name: Any) -> bool:
        node = self.writer.get(condition) if isinstance(condition, str) else None
        return node is not None and node.op == "IsNaN" and node.inputs[0] == name

    def _drops(self, node: Node) -> bool:
        """Could this Dropout ever drop anything?  Its ratio is 0, or it is certainly in inference mode."""
        inputs = lookup("Dropout").pad_inputs(node.inputs)
        ratio = 0.5 if inputs[1] is None else constant_value(self.graph, inputs[1])
        return ratio is None or float(np.asarray(ratio).reshape(())) != 0.0

    # -- before the softmax

    def _scores(self, name: Any, final: Node) -> _Attention | None:
        scale, low = 1.0, False
        masks: list[Any] = []
        while True:
            node = self.writer.get(name) if isinstance(name, str) else None
            if node is None or (name != node.outputs[0]):
                return None
            if node.op == "MatMul":
                return self._keys(node, scale, masks, final, low)
            factor = self._factor(node)
            if factor is not None:
                name, number = factor
                scale *= number
                continue
            if node.op == "Cast" and self.graph.value(str(node.inputs[0])).is_float:
                name, low = node.inputs[0], True
            elif node.op == "Identity":
                name = node.inputs[0]
            elif node.op == "Add" and scale == 1.0:
                side = next((i for i in (0, 1) if self._leads_to_product(node.inputs[i])), None)
                if side is None or not isinstance(node.inputs[1 - side], str):
                    return None
                masks.append(("add", node.inputs[1 - side]))
                name = node.inputs[side]
            elif node.op == "Where" and scale == 1.0:
                side = next((i for i in (1, 2) if self._leads_to_product(node.inputs[i])), None)
                fill = None if side is None else constant_value(self.graph, node.inputs[3 - side])
                if side is None or fill is None or np.size(fill) != 1 or not float(np.ravel(fill)[0]) <= LARGE:
                    return None
                masks.append(("where", node.inputs[0], float(np.ravel(fill)[0]), side == 1))
                name = node.inputs[side]
            else:
                return None

    def _leads_to_product(self, name: Any) -> bool:
        for _ in range(8):
            node = self.writer.get(name) if isinstance(name, str) else None
            if node is None:
                return False
            if node.op == "MatMul":
                return True
            factor = self._factor(node)
            if factor is not None:
                name = factor[0]
            elif node.op in ("Cast", "Identity"):
                name = node.inputs[0]
            elif node.op == "Add":
                if self._leads_to_product(node.inputs[0]):
                    return True
                name = node.inputs[1]
            elif node.op == "Where":
                if self._leads_to_product(node.inputs[1]):
                    return True
                name = node.inputs[2]
            else:
                return False
        return False

    def _factor(self, node: Node) -> tuple[str, float] | None:
        """(tensor, number) of a node that multiplies a tensor by a number above 0."""
        if node.op not in ("Mul", "Div"):
            return None
        for side in (0, 1) if node.op == "Mul" else (1,):
            number = constant_value(self.graph, node.inputs[side])
            other = node.inputs[1 - side]
            if number is not None and np.size(number) == 1 and isinstance(other, str):
                n = float(np.ravel(number)[0])
                if n > 0:
                    return other, n if node.op == "Mul" else 1 / n
        return None

    def _unscaled(self, name: Any) -> tuple[str, float]:
        scale = 1.0
        while isinstance(name, str) and name in self.writer:
            factor = self._factor(self.writer[name])
            if factor is None:
                break
            name, number = factor
            scale *= number
        return name, scale

    def _keys(self, product: Node, scale: float, masks: list, final: Node, low: bool) -> _Attention | None:
        q, on_queries = self._unscaled(product.inputs[0])
        transposed, outside = self._unscaled(product.inputs[1])
        node = self.writer.get(transposed)
        if node is not None and node.op == "Reshape" and self._are_transposed_matrices(node):
            total, known = scale * on_queries * outside, self._before_matrices(node)
            source, inside = (transposed, 1.0) if known is None else self._unscaled(known)
            perm = (0, 1, 3, 2) if known is None else None
            return _Attention(q, source, "", total * inside, final, masks, k_perm=perm, softmax_float32=low)
        if node is None or node.op != "Transpose":
            return None
        source, inside = self._unscaled(node.inputs[0])
        perm = tuple(node.attrs.get("perm") or ())
        total = scale * on_queries * outside * inside
        if perm == (0, 1, 3, 2):
            return _Attention(q, source, "", total, final, masks, softmax_float32=low)
        if len(perm) == 4:  # the heads were split and the keys transposed in one
            straight = tuple(perm[i] for i in (0, 1, 3, 2))
            return _Attention(q, source, "", total, final, masks, k_perm=straight, softmax_float32=low)
        return None

    def _are_transposed_matrices(self, reshape: Node) -> bool:
        """Of [n, t, d], batch and heads as one axis, the transposed matrices [n, d, t], as [b, h, d, t]?"""
        turn = self.writer.get(str(reshape.inputs[0]))
        if turn is None or turn.op != "Transpose" or tuple(turn.attrs.get("perm") or ()) != (0, 2, 1):
            return False
        three, four = (self.graph.value(n.output_names[0]).shape for n in (turn, reshape))
        return three is not None and four is not None and len(four) == 4 and None not in four and three[1:] == four[2:]

    def _before_matrices(self, reshape: Node) -> str | None:
        """The tensor [b, h, t, d] of which those matrices were made; None where there is none of that rank."""
        turn = self.writer[str(reshape.inputs[0])]
        flat = self.writer.get(str(turn.inputs[0]))
        if flat is None or flat.op != "Reshape" or not isinstance(flat.inputs[0], str):
            return None
        x, y = (self.graph.value(name).shape for name in (flat.inputs[0], reshape.output_names[0]))
        # The batch follows: as many elements.
        same = x is not None and y is not None and len(x) == 4 and x[1:] == (y[1], y[3], y[2])
        return flat.inputs[0] if same else None

    def _heads_before_repeating(self, name: str, q: str) -> str | None:
        """Grouped heads: Reshape(Expand(Unsqueeze(x, 2))) repeats each head of x; the tensor x, or None."""
        reshape = self.writer.get(name)
        expand = self.writer.get(str(reshape.inputs[0])) if reshape and reshape.op == "Reshape" else None
        unsqueeze = self.writer.get(str(expand.inputs[0])) if expand and expand.op == "Expand" else None
        if unsqueeze is None or unsqueeze.op != "Unsqueeze":
            return None
        x, whole = self.graph.value(str(unsqueeze.inputs[0])), self.graph.value(name)
        five = self.graph.value(str(reshape.inputs[0] if reshape else "")).shape
        if x.rank != 4 or whole.rank != 4 or five is None or len(five) != 5 or x.shape is None or whole.shape is None:
            return None
        one = self.graph.value(unsqueeze.output_names[0]).shape
        same = one is not None and one[2] == 1 and x.shape[0] == five[0] and x.shape[1] == five[1]
        heads = self._dim(q, 1)
        sizes = isinstance(five[1], int) and isinstance(five[2], int) and five[1] * five[2] == heads == whole.shape[1]
        return x.name if same and sizes else None

    def _causal(self, found: _Attention) -> tuple[bool, list[Any]]:
        """Is a mask that is known a lower triangle?  Then it need not be held."""
        kept = []
        causal = False
        for mask in found.masks:
            kind, name = mask[0], mask[1]
            value = constant_value(self.graph, name)
            visible = None
            if value is not None and np.ndim(value) >= 2 and np.size(value) == np.prod(np.shape(value)[-2:]):
                table = np.reshape(value, np.shape(value)[-2:])
                if kind == "where":
                    visible = table.astype(bool) if mask[3] else ~table.astype(bool)
                elif np.all((table == 0) | (table <= LARGE)):
                    visible = table == 0
            square = visible is not None and visible.shape[0] == visible.shape[1] == self._dim(found.q, 2)
            if square and visible is not None and np.array_equal(visible, np.tril(np.ones_like(visible))):
                causal = True
            else:
                kept.append(mask)
        return causal, kept

    def _fits(self, found: _Attention) -> bool:
        for name in (found.q, found.k, found.v):
            if self.graph.value(name).rank != 4:
                return False
        ranks = [self.graph.value(str(m[1])).rank for m in found.masks]
        return all(r is not None and 2 <= r <= 4 for r in ranks)

    def _dim(self, name: str, axis: int) -> Any:
        shape = self.graph.value(name).shape
        return None if shape is None else shape[axis]
