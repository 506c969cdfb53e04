"""Finding attention among elementary nodes: from a Softmax back to queries and keys, and on to the values.

What each axis means is followed from the product of queries and keys (see axes.py); so it does not matter how many axes
there are, in which order, and whether batch and heads are one axis for a while.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph import Graph, Node
from ..ops import lookup
from .axes import Axes, Group, Layout
from .constants import constant_value
from .products import PRODUCTS, Placed, Product, product_of, product_with_values

LARGE = -1e4  # a mask's number below this hides a position: half precision's exporters write -1e4, others -3.4e38
MOST_STEPS = 16  # nodes between the product and the Softmax
MOST_PATHS = 8
REARRANGING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity")


@dataclass(frozen=True)
class Step:
    """What happens to the scores before the Softmax, in order.

    kind: "add" or "subtract" a tensor; "where": the scores where it is `keep`, else `fill`; "times" the number `fill`.
    """

    kind: str
    tensor: Placed | None = None
    fill: float = 0.0
    keep: bool = True


@dataclass
class Found:
    """The parts of one attention: tensors with their axes, the total scale, the node whose output is replaced."""

    axes: Axes
    q: list[Placed]  # the same tensor from the product back; any of them may be taken
    k: list[Placed]
    v: list[Placed]
    scale: float
    steps: list[Step]
    factors: list[tuple[str, Placed]]  # tensors that queries are multiplied ("Mul") or divided ("Div") by
    final: Node
    output: Layout
    batch: Group
    heads: Group
    query: Group
    key: Group
    size: Group
    value_size: Group
    softcap: float  # 0: none
    softmax_dtype: str | None  # where it is computed in one of its own


@dataclass
class _Scores:
    """The state on the way from the product to the Softmax."""

    layout: Layout
    scale: float = 1.0
    cast: bool = False
    cap: float = 0.0  # the scores are cap * tanh(.); 0: there is no tanh
    steps: list[Step] = field(default_factory=list)
    factors: list[tuple[str, Placed]] = field(default_factory=list)


class Search:
    """Of one graph, with shapes inferred and nothing in it that no output needs."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.writer, self.readers = graph, graph.writer(), graph.readers()

    def attention(self, softmax: Node) -> Found | None:
        """What this Softmax is the heart of; None where it is no attention, or one that the operator cannot express."""
        for path in self._paths(softmax.inputs[0], MOST_STEPS):
            axes = Axes()
            product = product_of(self.graph, path[0], axes)
            if product is None or not all(self._is_read_once(n) for n in path):
                continue
            scores = self._scores(path, product, axes)
            found = None if scores is None else self._whole(softmax, product, scores, axes)
            if found is not None:
                return found
        return None

    # -- from the product to the softmax

    def _paths(self, name: Any, steps: int) -> Iterator[list[Node]]:
        """The ways from a product to the tensor `name`, each as its nodes in order; MOST_PATHS at most."""
        ways: list[tuple[Any, list[Node]]] = [(name, [])]
        given = 0
        while ways and given < MOST_PATHS:
            name, behind = ways.pop(0)
            node = self.writer.get(name) if isinstance(name, str) else None
            if node is None or node.outputs[0] != name or len(behind) >= steps:
                continue
            path = [node, *behind]
            if node.op in PRODUCTS:
                given += 1
                yield path
            elif node.op in (*REARRANGING, "Cast", "Sub", "Div", "Tanh"):
                ways.append((node.inputs[0], path))
            elif node.op in ("Add", "Mul"):
                ways += [(i, path) for i in node.inputs]
            elif node.op == "Where":
                ways += [(i, path) for i in node.inputs[1:]]

    def _is_read_once(self, node: Node) -> bool:
        """Does one node read its output, but for those that ask for no more than its shape?"""
        name = str(node.outputs[0])
        readers = [n for n in self.readers.get(name, ()) if n.op != "IsNaN" and not lookup(n.op).shape_only]
        return len(readers) == 1 and name not in self.graph.outputs

    def _scores(self, path: list[Node], product: Product, axes: Axes) -> _Scores | None:
        scores = _Scores(product.layout)
        for before, node in zip(path, path[1:], strict=False):
            name, y = str(before.outputs[0]), self.graph.value(str(node.outputs[0]))
            if y.rank is None or not self._step(node, name, scores, axes):
                return None
            x = self.graph.value(name).known_shape
            if node.op not in REARRANGING and any(a == 1 != b for a, b in zip(x, y.known_shape, strict=False)):
                return None  # the scores themselves were broadcast
            if len(scores.layout) != y.rank:
                return None
        return scores

    def _step(self, node: Node, name: str, scores: _Scores, axes: Axes) -> bool:
        if node.op in REARRANGING:
            layout = axes.after(node, scores.layout, self.graph.value(str(node.outputs[0])))
            scores.layout = layout or ()
            return layout is not None
        if node.op == "Cast":
            scores.cast = True
            return self.graph.value(name).is_float and self.graph.value(str(node.outputs[0])).is_float
        if node.op == "Tanh":
            known = not (scores.cap or scores.steps)
            scores.cap = 1.0
            return known
        if node.op in ("Mul", "Div"):
            return self._factor_of_scores(node, name, scores, axes)
        side = node.inputs.index(name)
        if node.op in ("Add", "Sub"):
            mask = self._placed(node.inputs[1 - side], scores.layout, axes)
            if mask is not None and not self._is_nothing(mask.name):
                scores.steps.append(Step("add" if node.op == "Add" else "subtract", mask))
            return mask is not None and (node.op == "Add" or side == 0)
        mask, fill = self._placed(node.inputs[0], scores.layout, axes), self._number(node.inputs[3 - side])
        if side == 0 or mask is None or fill is None or not fill <= LARGE:
            return False
        scores.steps.append(Step("where", mask, fill, side == 1))
        return True

    def _factor_of_scores(self, node: Node, name: str, scores: _Scores, axes: Axes) -> bool:
        number = self._factor(node, name)
        if number is not None:
            scores.scale *= number
            scores.cap *= number
            if scores.steps:
                scores.steps.append(Step("times", fill=number))
            return True
        other = node.inputs[1 - node.inputs.index(name)]
        factor = self._placed(other, scores.layout, axes)
        if (
            factor is None
            or scores.steps
            or scores.cap
            or node.inputs[0] == other
            and node.op == "Div"
            or self._number(other) is not None
        ):
            return False
        scores.factors.append((node.op, factor))
        return True

    def _placed(self, name: Any, layout: Layout, axes: Axes) -> Placed | None:
        """A tensor that is broadcast to the scores, before it was expanded; None for one that has more axes."""
        node = self.writer.get(name) if isinstance(name, str) else None
        while node is not None and node.op in ("Expand", "Identity") and isinstance(node.inputs[0], str):
            name = node.inputs[0]
            node = self.writer.get(name)
        shape = self.graph.value(name).shape if isinstance(name, str) else None
        if shape is None or len(shape) > len(layout):
            return None
        return Placed(name, axes.aligned(shape, layout))

    def _number(self, operand: Any) -> float | None:
        """The one number that a tensor consists of, whatever its shape; None where it is not known."""
        node = self.writer.get(operand) if isinstance(operand, str) else None
        while node is not None and node.op in ("Expand", "Identity", "Reshape", "Unsqueeze", "Squeeze"):
            operand = node.inputs[0]
            node = self.writer.get(operand) if isinstance(operand, str) else None
        if node is not None and node.op == "ConstantOfShape":
            value = node.attrs.get("value")
            return 0.0 if value is None else float(np.ravel(value)[0])
        value = constant_value(self.graph, operand)
        if value is None or np.size(value) == 0 or np.any(np.ravel(value) != np.ravel(value)[0]):
            return None
        return float(np.ravel(value)[0])

    def _is_nothing(self, name: str) -> bool:
        """Zeros, or what beta=0 multiplies: torch's baddbmm adds such."""
        node = self.writer.get(name)
        if node is not None and node.op == "Mul" and any(self._number(i) == 0.0 for i in node.inputs):
            return True
        return self._number(name) == 0.0

    def _factor(self, node: Node, name: Any) -> float | None:
        """The number above 0 that a Mul or Div multiplies the tensor `name` by; None where it is no such number."""
        side = node.inputs.index(name)
        if node.op == "Div" and side == 1:
            return None
        number = self._number(node.inputs[1 - side])
        if number is None or not 0 < number < np.inf:
            return None
        return number if node.op == "Mul" else 1 / number

    # -- from the softmax to the values

    def _whole(self, softmax: Node, product: Product, scores: _Scores, axes: Axes) -> Found | None:
        axis = softmax.attrs.get("axis", -1)
        if not -len(scores.layout) <= axis < len(scores.layout):
            return None
        key = axes.leaves(scores.layout[axis])
        first, second = ({a for g in axes.settled(p.layout) for a in g} for p in (product.first, product.second))
        if len(key) != 1 or (key[0] in first) == (key[0] in second):
            return None
        keys, queries = (product.second, product.first) if key[0] in second else (product.first, product.second)
        alone = [a for g in axes.settled(product.layout) for a in g if a in (first ^ second) and a != key[0]]
        alone = [a for a in alone if a in (first if queries is product.first else second)]
        if not alone:
            return None
        query = alone[-1]
        axes.whole |= {query, key[0]}
        values = self._values(softmax, scores.layout, key, axes)
        if values is None:
            return None
        final, value, output, value_size = values
        (q, by_q), (k, by_k) = (self._back(start, axes, number=True) for start in (queries, keys))
        v, _ = self._back(value, axes, number=False)
        if axes.leaves((query,)) != (query,) or axes.leaves(key) != key or self._is_learned(k[-1].name):
            return None
        lead = [g for g in axes.settled(product.layout) if query not in g and key[0] not in g]
        outer: Group = lead[0][:1] if lead else ()
        inner = tuple(a for k, g in enumerate(lead) for a in (g if k else g[1:]))
        return Found(
            axes,
            q,
            k,
            v,
            scores.scale * by_q * by_k,
            scores.steps,
            scores.factors,
            final,
            output,
            outer,
            inner,
            (query,),
            key,
            axes.leaves((product.shared,)),
            axes.leaves(value_size),
            scores.cap,
            self.graph.value(str(softmax.inputs[0])).dtype if scores.cast else None,
        )

    def _is_learned(self, name: str) -> bool:
        """A weight itself: a linear layer before a Softmax is no attention over keys."""
        node = self.writer.get(name)
        return name in self.graph.producers or (
            node is not None and node.op == "Cast" and self._is_learned(str(node.inputs[0]))
        )

    def _values(
        self, softmax: Node, layout: Layout, key: Group, axes: Axes
    ) -> tuple[Node, Placed, Layout, Group] | None:
        """The product with the values, the values, the layout of what it gives, and the axis that values alone have;
        None where something stands between that Attention cannot express."""
        name = softmax.outputs[0]
        while True:
            readers = [n for n in self.readers.get(str(name), []) if n.op != "IsNaN" and not lookup(n.op).shape_only]
            if len(readers) != 1 or name in self.graph.outputs:
                return None
            (node,) = readers
            if node.op in PRODUCTS:
                return product_with_values(self.graph, node, str(name), layout, key, axes)
            guard = node.op == "Where" and node.inputs[2] == name and self._is_nan_of(node.inputs[0], name)
            passes = node.op == "Cast" or (node.op == "Dropout" and not self._drops(node))
            if not (guard or passes):
                after = axes.after(node, layout, self.graph.value(str(node.outputs[0])))
                if after is None:
                    return None
                layout = after
            name = node.outputs[0]

    def _is_nan_of(self, condition: Any, name: Any) -> bool:
        node = self.writer.get(condition) if isinstance(condition, str) else None
        return node is not None and node.op == "IsNaN" and node.inputs[0] == name

    def _drops(self, node: Node) -> bool:
        """Could this Dropout ever drop anything?  Not where its ratio is 0."""
        inputs = lookup("Dropout").pad_inputs(node.inputs)
        ratio = 0.5 if inputs[1] is None else constant_value(self.graph, inputs[1])
        return ratio is None or float(np.asarray(ratio).reshape(())) != 0.0

    # -- back from the products

    def _back(self, start: Placed, axes: Axes, number: bool) -> tuple[list[Placed], float]:
        """Where a tensor comes from, as long as its elements are only rearranged, repeated, or (number) multiplied by
        one number; and that number."""
        places, scale = [start], 1.0
        while True:
            name, layout = places[-1].name, places[-1].layout
            node = self.writer.get(name)
            if node is None or node.outputs[0] != name:
                return places, scale
            side = 0
            if node.op in ("Mul", "Div") and number:
                sides = [s for s in (0, 1) if isinstance(node.inputs[s], str)]
                side = next((s for s in sides if self._factor(node, node.inputs[s]) is not None), -1)
                same = side >= 0 and self.graph.value(str(node.inputs[side])).rank == len(layout)
                before = layout if same else None
                if before is not None:
                    scale *= self._factor(node, node.inputs[side]) or 1.0
                    places.clear()  # the number is in the scale: nothing behind may be taken
            else:
                source = node.inputs[0] if node.inputs else None
                before = axes.before(node, layout, self.graph.value(source)) if isinstance(source, str) else None
            if before is None:
                return places, scale
            places.append(Placed(str(node.inputs[side]), before))
