"""Where a graph is to be quantized: its layers, and the tensors between them that lie on one grid.

An operator is a layer (its product of two tensors is computed in integers), transparent (its output holds values of its
input, and is on the grid if that is), joining (its inputs must share one grid), averaging, or left in floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ..analog.layer import AnalogLayer
from ..errors import GraphError, QueryError
from ..graph import Graph, Node
from ..passes.pattern import matches
from .scheme import Scheme

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
TRANSPARENT = (
    "MaxPool", "GlobalMaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout",
    "Slice", "Split", "DepthToSpace", "SpaceToDepth", "Expand",
)  # fmt: skip
JOINING = ("Add", "Sub", "Concat", "Max", "Min")
AVERAGING = ("AveragePool", "GlobalAveragePool", "ReduceMean", "Mul")
RECTIFIERS = ("Relu", "Clip")
NEVER_NEGATIVE = ("Relu", "Sigmoid", "Softmax", "Abs", "Exp", "HardSigmoid", "Softplus")


def weight_axis(graph: Graph, node: Node) -> int | None:
    """The axis of a layer's weight that counts output channels; None where there is not one."""
    weight = graph.value(node.inputs[1])
    if node.op == "Conv":
        return 0
    if node.op == "ConvTranspose":
        return 1 if node.attrs.get("group", 1) == 1 else None
    if node.op == "Gemm":
        return 0 if node.attrs.get("transB", 0) else 1
    return weight.rank - 1 if weight.rank == 2 else None


def constant_side(graph: Graph) -> set[str]:
    """The tensors that follow from producers alone."""
    known = set(graph.producers)
    for node in graph.nodes:
        if all(i in known for i in node.input_names):
            known.update(node.output_names)
    return known


def is_layer(graph: Graph, node: Node, known: set[str]) -> bool:
    if node.op not in LAYERS or node.inputs[0] in known or not graph.value(node.inputs[0]).is_float:
        return False
    if node.op == "Gemm" and (
        node.attrs.get("transA", 0) or node.attrs.get("alpha", 1.0) != 1.0 or node.attrs.get("beta", 1.0) != 1.0
    ):
        return False
    return node.inputs[1] in graph.producers or (node.op == "MatMul" and node.inputs[1] not in known)


def named_layers(graph: Graph, names: Iterable[str] | str, what: str) -> set[str]:
    """The nodes that these names mean: each is a node's or a weight's name, a pattern with * and ?, or a query.

    Raises GraphError for one that means no node.
    """
    found: set[str] = set()
    for name in [names] if isinstance(names, str) else names:
        mine = {n.name for n in graph.nodes if n.name == name or (n.op in LAYERS and name in n.input_names)}
        mine = mine or {n.name for n in graph.nodes if fnmatchcase(n.name, name)}
        if not mine:
            try:
                mine = {n for m in matches(graph, name) for n in m.nodes if n not in graph.producers}
            except QueryError:
                mine = set()
        if not mine:
            some = ", ".join(repr(n.name) for n in graph.nodes[:12])
            raise GraphError(f"{what} {name!r} means no node of graph {graph.name!r}; it has {some}")
        found |= mine
    return found


@dataclass
class Site:
    """Tensors on one grid.  tensors: those that are quantized, first in order.

    same_levels: whether they share the levels too, as what Concat puts together must, or the step alone, as what Add
    adds.
    """

    tensors: list[str] = field(default_factory=list)
    wishes: list[Scheme] = field(default_factory=list)
    same_levels: bool = False


class Sites:
    """The analysis of one graph.  layers: {node name: its scheme}; `sites()` gives the grids."""

    def __init__(
        self,
        graph: Graph,
        scheme: Scheme,
        exclude: set[str],
        specific: Callable[..., Scheme | None] | None,
        fixed: Mapping[str, Scheme],
        tiles: Iterable[AnalogLayer] = (),
    ) -> None:
        self.graph, self.scheme = graph, scheme
        self.tiles: dict[str, AnalogLayer] = {}  # {node that writes what an analog layer gives: that layer}
        self.inside: set[str] = set()  # the nodes of analog layers
        self.writer, self.readers = graph.writer(), graph.readers()
        self.known = constant_side(graph)
        self.parent: dict[str, str] = {}
        self.marked: dict[str, Site] = {}
        for tile in tiles:
            self._enclose(tile)
        candidates = [
            n
            for n in graph.nodes
            if n.name in self.tiles or (n.name not in self.inside and is_layer(graph, n, self.known))
        ]
        ends = self._ends([n for n in candidates if n.name not in fixed])
        self.layers: dict[str, Scheme] = {}
        self.of_tiles: dict[str, Scheme] = {}  # {node of `tiles`: what its input and output are rounded to}
        for n in candidates:
            named = self.tiles[n.name].node if n.name in self.tiles else n
            if named.name in exclude or exclude.intersection(n.input_names):
                continue
            chosen: Any = scheme.at_end() if n.name in ends else scheme
            if n.name in fixed:
                chosen = fixed[n.name]
            elif specific is not None:
                chosen = specific(named.name, named, chosen)
            if chosen is not None:
                (self.of_tiles if n.name in self.tiles else self.layers)[n.name] = chosen
        self.fixed = set(fixed)
        for node in graph.nodes:
            self._visit(node)

    def _ends(self, layers: list[Node]) -> set[str]:
        """The layers with no layer before them, or none behind them."""
        names = {n.name for n in layers}
        after: set[str] = set()
        first = set()
        for n in self.graph.nodes:
            behind = bool(after.intersection(n.input_names))
            if n.name in names and not behind:
                first.add(n.name)
            if behind or n.name in names:
                after.update(n.output_names)
        before: set[str] = set()
        last = set()
        for n in reversed(self.graph.nodes):
            ahead = bool(before.intersection(n.output_names))
            if n.name in names and not ahead:
                last.add(n.name)
            if ahead or n.name in names:
                before.update(n.input_names)
        return first | last

    # ---- grids ----------------------------------------------------------------------------------------

    def _enclose(self, tile: AnalogLayer) -> None:
        """Find an analog layer's nodes: what leads from its input to its output."""
        given, result = tile.node.inputs[0], tile.node.output_names[0]
        last = self.writer.get(result)
        if last is None:
            return
        self.tiles[last.name] = tile
        left = [last]
        while left:
            node = left.pop()
            if node.name not in self.inside:
                self.inside.add(node.name)
                left += [self.writer[i] for i in node.input_names if i != given and i in self.writer]

    def _visit(self, node: Node) -> None:
        if node.name in self.of_tiles:
            self._need(str(self.tiles[node.name].node.inputs[0]), self.of_tiles[node.name])
            self._need(self._end_of(node.output_names[0]), None)
        elif node.name in self.inside:
            return
        elif node.name in self.layers:
            scheme = self.layers[node.name]
            for i in [node.inputs[0], *([node.inputs[1]] if node.inputs[1] not in self.known else [])]:
                self._need(i, scheme)
            self._need(self._end_of(node.output_names[0]), None)
        elif node.op in JOINING and not self.is_bias(node):
            data = [i for i in node.input_names if i not in self.known]
            roots = [self.root(i) for i in data]
            if len(data) < 2 or len(data) != len(node.input_names) or not any(r in self.parent for r in roots):
                return
            if not all(self.graph.value(i).is_float for i in data):
                return
            for i in data:
                self._need(i, self.scheme)
            for r in roots[1:]:
                self._join(roots[0], r)
            self.marked[self._find(roots[0])].same_levels |= node.op not in ("Add", "Sub")
            if node.op in ("Add", "Sub"):
                self._need(self._end_of(node.output_names[0]), None)
        elif node.op in AVERAGING:
            data = [i for i in node.input_names if i not in self.known]
            if not data or not all(self.root(i) in self.parent for i in data) or (node.op == "Mul" and len(data) < 2):
                return
            for i in data:
                self._need(i, self.scheme)
            self._need(self._end_of(node.output_names[0]), None)

    def root(self, tensor: str) -> str:
        """The tensor whose values this one holds: back through what is transparent."""
        while True:
            node = self.writer.get(tensor)
            if node is None or tensor in self.parent or node.name in self.inside:
                return tensor
            inside = node.op in TRANSPARENT or (node.op == "Pad" and _pads_zeros(node))
            if node.op in ("Concat", "Max", "Min") and all(self.root(i) in self.parent for i in node.input_names):
                inside = True
            if node.op in RECTIFIERS and self.root(node.inputs[0]) in self.parent:
                inside = True
            if not inside or tensor != node.outputs[0] and node.op != "Split":
                return tensor
            tensor = node.inputs[0]

    def _end_of(self, tensor: str) -> str:
        """Where a result is rounded: behind its bias and its rectifier."""
        while True:
            readers = self.readers.get(tensor, [])
            if len(readers) != 1 or tensor in self.graph.outputs:
                return tensor
            (node,) = readers
            clips = node.op == "Relu" or (node.op == "Clip" and all(i in self.known for i in node.input_names[1:]))
            if not clips and not self.is_bias(node):
                return tensor
            tensor = node.output_names[0]

    def is_bias(self, node: Node) -> bool:
        """Does this node add one number per channel to what a MatMul has computed?"""
        if node.op != "Add" or len(node.input_names) != 2:
            return False
        data = [i for i in node.input_names if i not in self.known]
        held = [i for i in node.input_names if i in self.graph.producers]
        if len(data) != 1 or len(held) != 1:
            return False
        layer = self.writer.get(data[0])
        if layer is None or layer.op != "MatMul" or layer.name not in self.layers or len(self.readers[data[0]]) != 1:
            return False
        weight = self.graph.value(layer.inputs[1])
        size = self.graph.producers[held[0]].data.shape
        return layer.inputs[1] in self.graph.producers and weight.rank == 2 and size == (weight.shape or ())[-1:]

    def _need(self, tensor: str, scheme: Scheme | None) -> Site:
        root = self.root(tensor)
        if root not in self.parent:
            self.parent[root] = root
            self.marked[root] = Site([root])
        site = self.marked[self._find(root)]
        if scheme is not None:
            site.wishes.append(scheme)
        return site

    def _find(self, root: str) -> str:
        while self.parent[root] != root:
            root = self.parent[root]
        return root

    def _join(self, a: str, b: str) -> None:
        a, b = self._find(a), self._find(b)
        if a != b:
            self.parent[b] = a
            mine, theirs = self.marked[a], self.marked.pop(b)
            mine.tensors += theirs.tensors
            mine.wishes += theirs.wishes
            mine.same_levels |= theirs.same_levels

    def sites(self) -> list[Site]:
        return list(self.marked.values())

    def never_negative(self, tensor: str) -> bool:
        """Is that so by the operator that writes it?"""
        node = self.writer.get(tensor)
        if node is None or node.name in self.inside:
            return False
        if node.op in NEVER_NEGATIVE:
            return True
        if node.op == "Clip" and len(node.inputs) > 1 and node.inputs[1] is not None:
            low = node.inputs[1]
            low = self.graph.producers[low].data if low in self.graph.producers else low
            return not isinstance(low, str) and float(np.min(low)) >= 0
        if node.op in (*TRANSPARENT, "AveragePool", "GlobalAveragePool", "ReduceMean") or node.name in self.fixed:
            return self.never_negative(node.inputs[0])
        if node.op in ("Concat", "Max", "Add", "Mul"):
            return all(self.never_negative(i) for i in node.input_names)
        return False


def _pads_zeros(node: Node) -> bool:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    return node.attrs.get("mode", "constant") == "constant" and (value is None or value == 0)
