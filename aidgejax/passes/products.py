"""What each axis of a product means: of MatMul and of Einsum, which are the same thing in two notations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..graph import Graph, Node
from .axes import Axes, Group, Layout

PRODUCTS = ("MatMul", "Einsum")


@dataclass(frozen=True)
class Placed:
    """A tensor and what its axes mean."""

    name: str
    layout: Layout


@dataclass(frozen=True)
class Product:
    """A product of two tensors, and what each axis of it means."""

    first: Placed
    second: Placed
    layout: Layout
    shared: int  # the atom that is summed over


def product_of(graph: Graph, node: Node, axes: Axes) -> Product | None:
    """The product that a node computes, its axes as new atoms; None where it is none of two tensors of two axes."""
    if len(node.inputs) != 2:
        return None
    a, b, y = (graph.value(str(t)) for t in (*node.inputs, node.outputs[0]))
    if None in (a.rank, b.rank, y.rank):
        return None
    if node.op == "Einsum":
        return _einsum(graph, node, axes)
    if min(a.rank or 0, b.rank or 0) < 2:
        return None
    lead: Layout = tuple(() if d == 1 else (axes.atom(d),) for d in y.known_shape[:-2])
    row, column = axes.atom(a.known_shape[-2], True), axes.atom(b.known_shape[-1], True)
    shared = axes.atom(a.known_shape[-1])
    first = (*axes.aligned(a.known_shape[:-2], lead), (row,), (shared,))
    second = (*axes.aligned(b.known_shape[:-2], lead), (shared,), (column,))
    return Product(Placed(a.name, first), Placed(b.name, second), (*lead, (row,), (column,)), shared)


def _einsum(graph: Graph, node: Node, axes: Axes) -> Product | None:
    terms = _terms(node)
    if terms is None:
        return None
    one, two, out = terms
    summed = (set(one) | set(two)) - set(out)
    if len(summed) != 1 or not summed <= set(one) & set(two):
        return None
    shapes = [graph.value(str(i)).known_shape for i in node.inputs]
    if [len(s) for s in shapes] != [len(one), len(two)]:
        return None
    sizes: dict[str, Any] = {}
    for label, dim in (*zip(one, shapes[0], strict=True), *zip(two, shapes[1], strict=True)):
        sizes[label] = dim if sizes.get(label, 1) == 1 else sizes[label]
    alone = set(one) ^ set(two)
    group: dict[str, Group] = {}
    for c, n in sizes.items():
        group[c] = () if n == 1 and c not in alone | summed else (axes.atom(n),)
    layouts = [
        tuple(() if d == 1 and sizes[c] != 1 else group[c] for c, d in zip(term, shape, strict=True))
        for term, shape in zip((one, two), shapes, strict=True)
    ]
    a, b = (Placed(str(i), layout) for i, layout in zip(node.inputs, layouts, strict=True))
    return Product(a, b, tuple(group[c] for c in out), group[summed.pop()][0])


def product_with_values(
    graph: Graph, node: Node, weights: str, layout: Layout, key: Group, axes: Axes
) -> tuple[Node, Placed, Layout, Group] | None:
    """The node, the other tensor, the layout of the product, and the axis that the other tensor alone has, where a node
    multiplies `weights` of this layout and sums over the keys alone; else None."""
    side = node.inputs.index(weights)
    other = node.inputs[1 - side]
    if not isinstance(other, str) or other == weights or len(node.inputs) != 2 or node.outputs[0] is None:
        return None
    shape = graph.value(other).shape
    layout = axes.settled(layout)
    if shape is None:
        return None
    if node.op == "Einsum":
        terms = _terms(node)
        if terms is None or (len(terms[side]), len(terms[1 - side])) != (len(layout), len(shape)):
            return None
        of_weights, of_values, out = terms[side], terms[1 - side], terms[2]
    else:
        if len(shape) < 2 or len(layout) < len(shape):
            return None
        lead = [f"axis {k}" for k in range(len(layout) - 2)]
        of_weights = [*lead, "row", "key"] if side == 0 else [*lead, "key", "row"]
        of_values = [*lead[len(layout) - len(shape) :], *(("key", "size") if side == 0 else ("size", "key"))]
        out = [*lead, "row", "size"] if side == 0 else [*lead, "size", "row"]
    group = dict(zip(of_weights, layout, strict=True))
    summed = [c for c in (*of_weights, *of_values) if c not in out]
    if len(set(summed)) != 1 or len(summed) != 2 or group.get(summed[0]) != key:
        return None
    mine = [c for c in of_values if c not in of_weights]
    sizes = dict(zip(of_values, shape, strict=True))
    if len(mine) != 1 or any(not group[c] and sizes[c] != 1 for c in of_values if c not in mine):
        return None
    size = (axes.atom(sizes[mine[0]]),)
    group[mine[0]] = size
    values = tuple(() if d == 1 and c not in mine and group[c] != key else group[c] for c, d in sizes.items())
    return node, Placed(other, values), tuple(group[c] for c in out), size


def _terms(node: Node) -> tuple[list[str], list[str], list[str]] | None:
    """The letters of an Einsum of two tensors; None for an implicit result, an ellipsis, or a letter twice in one."""
    equation = str(node.attrs.get("equation", "")).replace(" ", "")
    inputs, arrow, out = equation.partition("->")
    terms = [*inputs.split(","), out]
    if not arrow or "." in equation or len(terms) != 3 or any(len(set(t)) < len(t) for t in terms):
        return None
    return list(terms[0]), list(terms[1]), list(terms[2])
