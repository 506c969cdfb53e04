"""A graph as a table by layer: outputs, parameters, multiply-accumulates, bytes of activations and of training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..arguments import takes_graph
from ..drawing.html import table
from ..dtypes import DTYPES, bits
from ..errors import NoGradientRule
from ..execution.program import Program, make_program
from ..graph import Graph, Node, Value
from ..ops import lookup
from .inspect import flops, number_at, symbols_at

LONGEST = 60  # rows; a longer table joins layers whose names share a prefix


@dataclass(frozen=True)
class Layer:
    """One row.  output: the type of what it writes; the rest are counts of elements, operations and bytes.

    saved: bytes of the tensors that the gradient reads back.  training: `saved`, and its parameters' values,
    gradients and optimizer state.
    """

    name: str
    op: str
    output: str
    parameters: int
    macs: int
    activations: int
    saved: int
    training: int


@dataclass(frozen=True)
class Summary:
    """The rows, in order of execution.  at: what symbolic sizes were taken to be.  feeds: bytes of the inputs."""

    graph: str
    layers: tuple[Layer, ...]
    at: Mapping[str, int]
    feeds: int

    def total(self, column: str) -> int:
        return sum(getattr(row, column) for row in self.layers)

    @property
    def training_bytes(self) -> int:
        """What a training step holds at least when the gradient begins: inputs, and every layer's `training`."""
        return self.feeds + self.total("training")

    def cells(self) -> list[list[str]]:
        """The table as text, its head first and its sums last."""
        numbers = ("parameters", "macs", "activations", "saved", "training")
        rows = [[r.name, r.op, r.output, *(f"{getattr(r, k):,}" for k in numbers)] for r in self.layers]
        head = [
            "layer",
            "operator",
            "output",
            "parameters",
            "MACs",
            "activation bytes",
            "saved bytes",
            "training bytes",
        ]
        return [head, *rows, ["total", "", "", *(f"{self.total(k):,}" for k in numbers)]]

    def __str__(self) -> str:
        cells = self.cells()
        wide = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
        lines = [
            "  ".join(
                c.ljust(w) if k < 3 else c.rjust(w) for k, (c, w) in enumerate(zip(row, wide, strict=True))
            ).rstrip()
            for row in cells
        ]
        rule = "-" * max(map(len, lines))
        sizes = f" at {', '.join(f'{s}={n}' for s, n in self.at.items())}" if self.at else ""
        return "\n".join([f"{self.graph}{sizes}", lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def _repr_html_(self) -> str:
        return table(self.cells(), left=3)


@takes_graph
def summary(
    graph: Graph, *, sizes: Mapping[str, int] | None = None, moments: int = 2, longest: int = LONGEST
) -> Summary:
    """The graph by layers: what each writes, holds, computes, and needs to be trained.

    sizes: numbers for symbolic sizes; default 1 each.  moments: arrays that the optimizer keeps per parameter: 2 for
    Adam, 1 for momentum, 0 for plain SGD.  A layer is a node; of a longer graph, the nodes whose names share a prefix.
    """
    program = make_program(graph)
    graph = program.graph
    at = symbols_at(graph, sizes)
    saved = saved_for_gradient(program)
    owned = owners(graph)
    label = layer_names(graph, longest)
    rows: dict[str, Layer] = {}
    for n in graph.nodes:
        mine = [graph.producers[p] for p in owned.get(n.name, ())]
        held = sum(p.data.nbytes * (2 + moments if p.name in program.wrt else 1) for p in mine)
        kept = sum(bytes_of(graph.value(o), at) for o in n.output_names if o in saved)
        before = rows.get(label[n.name], Layer(label[n.name], "", "", 0, 0, 0, 0, 0))
        count = int(before.op.split()[0]) if before.op.endswith(" nodes") else 1 if before.op else 0
        rows[before.name] = Layer(
            before.name,
            f"{count + 1} nodes" if count else n.op,
            str(graph.value(n.output_names[0])).rsplit(":", 1)[1] if n.output_names else before.output,
            before.parameters + sum(p.data.size for p in mine if p.role == "parameter"),
            before.macs + multiply_accumulates(graph, n, at),
            before.activations + sum(bytes_of(graph.value(o), at) for o in n.output_names),
            before.saved + kept,
            before.training + kept + held,
        )
    feeds = sum(bytes_of(v, at) for v in graph.inputs.values())
    return Summary(graph.name, tuple(rows.values()), at, feeds)


def saved_for_gradient(program: Program) -> frozenset[str]:
    """The tensors that the gradient reads back; none where there is no gradient."""
    if not program.wrt or not program.seeds:
        return frozenset()
    try:
        return frozenset(program.saves)
    except NoGradientRule:
        return frozenset()


def multiply_accumulates(graph: Graph, node: Node, at: Mapping[str, int]) -> int:
    """Of convolutions, matrix products and attention; 0 of every other node."""
    return int(flops(graph, node, at) // 2) if lookup(node.op).flops else 0


def bytes_of(value: Value, at: Mapping[str, int]) -> int:
    """Bytes of a tensor; 0 where its shape is not known."""
    if value.shape is None or value.dtype not in DTYPES:
        return 0
    return math.prod(number_at(d, at) for d in value.shape) * bits(value.dtype) // 8


def owners(graph: Graph) -> dict[str, list[str]]:
    """{node: the parameters and buffers whose first reader it is}, so that what is shared counts once."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for n in graph.nodes:
        for i in n.input_names:
            if i in graph.producers and graph.producers[i].role != "constant" and i not in seen:
                seen.add(i)
                found.setdefault(n.name, []).append(i)
    return found


def layer_names(graph: Graph, longest: int = LONGEST) -> dict[str, str]:
    """{node: its layer}: its own name, or of a graph of more than `longest` nodes, the prefix that it shares."""
    parts = {n.name: n.name.replace(".", "/").strip("/").split("/") for n in graph.nodes}
    for depth in range(max(map(len, parts.values()), default=1), 0, -1):
        label = {name: "/".join(p[:depth]) for name, p in parts.items()}
        if len(set(label.values())) <= longest:
            break
    return label if parts and len(parts) > longest else {name: name for name in parts}
