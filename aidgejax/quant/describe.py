"""What quantization does to each tensor of a network: bits, ranges, what is clipped, signal to noise, cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import checked_call
from ..drawing.html import page, table
from ..errors import GraphError
from ..execution.program import make_program
from ..graph import Graph, Node
from ..interpreter.shape_inference import infer_shapes
from ..ops import lookup
from .batches import Batches, each_batch
from .convert import layers
from .notes import restored

LEGEND = (
    "step: the value of one integer; range: the smallest and the largest value that the bits hold; clipped: the share "
    "of values that are cut off there; SQNR: power of the values over that of their error; bytes: of a weight; MACs: "
    "of its layer, per row. Below: how many values differ between what was trained and each runtime."
)
STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2em;max-width:80em;color:#222;background:#fff}"
    "td,th{padding:2px 12px;border-bottom:1px solid #ddd}.left{text-align:left}.right{text-align:right}"
)


@dataclass(frozen=True)
class Line:
    """One quantized tensor.  low, high: its range; clipped: the share of values beyond it; sqnr: signal to quantization
    noise in dB, infinite where every value is exact; bytes: of a weight, packed; macs: multiply-accumulates of its
    layer for one row; layer: that layer."""

    tensor: str
    layer: str
    bits: int
    step: float
    low: float
    high: float
    clipped: float
    sqnr: float
    bytes: int
    macs: int


@dataclass(frozen=True)
class Description:
    """The lines of all quantized tensors, in the order of the graph."""

    lines: tuple[Line, ...]

    @property
    def bytes(self) -> int:
        """Of all weights, each with its own number of bits."""
        return sum(line.bytes for line in self.lines)

    @property
    def bit_operations(self) -> int:
        """Multiply-accumulates times the bits of weight and input, summed over the layers; for one row."""
        by_layer: dict[str, list[Line]] = {}
        for line in self.lines:
            if line.layer:
                by_layer.setdefault(line.layer, []).append(line)
        return sum(max(x.macs for x in ls) * math.prod(x.bits for x in ls[:2]) for ls in by_layer.values())

    def table(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [
            ("tensor", "layer", "bits", "step", "range", "clipped", "SQNR dB", "bytes", "MACs")
        ]
        for x in self.lines:
            reach = f"{x.low:.3g} to {x.high:.3g}"
            sqnr = "exact" if math.isinf(x.sqnr) else f"{x.sqnr:.1f}"
            rows.append(
                (x.tensor, x.layer, str(x.bits), f"{x.step:.4g}", reach, f"{x.clipped:.2%}", sqnr,
                 str(x.bytes or ""), str(x.macs or ""))
            )  # fmt: skip
        return rows

    def __str__(self) -> str:
        rows = self.table()
        wide = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(r, wide, strict=True)).rstrip() for r in rows]
        return "\n".join([*lines, f"weights {self.bytes} bytes; {self.bit_operations} MACs x bits per row"])

    def page(self, title: str, text: str = "") -> str:
        """The same as a page of HTML, with more text (a verify report) below."""
        body = (
            f"<h1>{escape(title)}</h1>{table(self.table(), left=2)}"
            f"<p>weights {self.bytes} bytes, {self.bit_operations} MACs x bits per row</p><p>{LEGEND}</p>"
            f"<pre>{escape(text)}</pre>"
        )
        return page(title, body, style=STYLE)


@checked_call
def describe(graph: Graph, data: Batches) -> Description:
    """Of a converted graph, on data ({input: array}, a Dataset, or batches)."""
    graph = infer_shapes(restored(graph))
    quantizers = [n for n in graph.nodes if n.op == "FakeQuantize"]
    if not quantizers:
        raise GraphError(f"graph {graph.name!r} has no quantizer: convert it first")
    watch = graph.copy()
    watch.metadata = {}
    wanted = {i for n in quantizers for i in (*n.inputs[:3], n.output_names[0]) if isinstance(i, str)}
    held = {t for t in wanted if t not in graph.producers}
    watch.outputs = list(dict.fromkeys([*graph.outputs, *held]))
    program = make_program(watch, wrt=[], training=False)

    def look(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        seen, _, _ = program.forward(watch.params, watch.buffers, batch, jax.random.key(0), save=False)
        found = {}
        for n in quantizers:
            x, step, zero = (
                seen.get(i, watch.producers[i].data if i in watch.producers else 0.0) for i in n.inputs[:3]
            )
            y, low, high = seen[n.output_names[0]], n.inputs[3], n.inputs[4]
            z = jnp.round(zero)
            ends = (low - z) * step, (high - z) * step
            if jnp.ndim(step) and any(a not in (1, b) for a, b in zip(jnp.shape(step), jnp.shape(x), strict=True)):
                out = jnp.zeros((), bool)  # of blocks nobody asks
            else:
                out = (x < ends[0] - step / 2) | (x > ends[1] + step / 2)
            found[n.name] = jnp.stack(
                [
                    jnp.mean(out),
                    jnp.sum(x * x),
                    jnp.sum((x - y) ** 2),
                    jnp.mean(step),
                    jnp.min(ends[0]),
                    jnp.max(ends[1]),
                ]
            )
        return found

    call = jax.jit(look)
    sums: dict[str, list[np.ndarray]] = {}
    for batch in each_batch(graph, data):
        for k, v in jax.device_get(call(batch)).items():
            sums.setdefault(k, []).append(np.asarray(v))
    by_weight = {layer.weight.name: layer.node for layer in layers(graph)}
    by_input: dict[str, str] = {}
    for layer in layers(graph):
        if layer.input is not None:
            by_input.setdefault(layer.input.name, layer.name)
    return Description(tuple(_line(graph, n, np.stack(sums[n.name]), by_weight, by_input) for n in quantizers))


def _line(graph: Graph, n: Node, seen: np.ndarray, by_weight: dict[str, Node], by_input: dict[str, str]) -> Line:
    clipped, signal, noise, step, low, high = seen.mean(0)
    bits = int(n.inputs[4] - n.inputs[3]).bit_length()
    sqnr = 10 * math.log10(max(signal, 1e-30) / noise) if noise > 0 else math.inf
    layer = by_weight.get(n.name)
    size = macs = 0
    if layer is not None:
        size = -(-math.prod(d for d in graph.value(n.output_names[0]).shape or () if isinstance(d, int)) * bits // 8)
        macs = macs_of(graph, layer)
    name = layer.name if layer is not None else by_input.get(n.name, "")
    return Line(n.output_names[0].removesuffix(".quant"), name, bits, float(step), float(low), float(high),
                float(clipped), sqnr, size, macs)  # fmt: skip


def macs_of(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of a layer for one row; 0 where a size is not known."""
    flops = lookup(node.op).flops
    shapes = [
        [d if k else 1 for k, d in enumerate(graph.value(t).shape or ())] for t in (node.inputs[0], *node.output_names)
    ]
    weight = graph.value(node.inputs[1]).shape
    if flops is None or weight is None or not all(isinstance(d, int) for s in (*shapes, weight) for d in s):
        return 0
    attributes = {**lookup(node.op).attributes, **node.attrs}
    return int(flops([tuple(shapes[0]), tuple(weight)], [tuple(shapes[1])], attributes) // 2)
