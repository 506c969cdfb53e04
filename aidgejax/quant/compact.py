"""Fewer bytes for the same numbers, in a packed file: what follows from something else is not stored.

The scale of a bias is that of the data times that of the weight, a Mul; scales that 16 bits hold exactly, as they do
powers of two, are stored so, behind a Cast; a Relu in front of levels that begin at 0 is what these cut off anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import ONNX_CODES
from ..graph import Graph, Node, Value
from .sites import LAYERS

FEWEST = 16  # numbers, from which on a node costs less than they do


def compact(graph: Graph) -> Graph:
    """The deployed graph (form "qdq") computing what takes more bytes to store; no value changes."""
    copy = graph.copy()
    _bias_scales(copy)
    _half_scales(copy)
    return _without_rectifiers(copy)


def _bias_scales(graph: Graph) -> None:
    writer = graph.writer()
    for node in list(graph.nodes):
        if node.op not in LAYERS or len(node.inputs) < 3:
            continue
        above = [writer.get(str(i)) for i in node.inputs[:3]]
        if any(n is None or n.op != "DequantizeLinear" for n in above):
            continue
        names = [str(n.inputs[1]) for n in above if n is not None]
        of_data, of_weight, of_bias = (graph.producers[n].data if n in graph.producers else None for n in names)
        if of_data is None or of_weight is None or of_bias is None or of_bias.size < FEWEST:
            continue
        if of_data.shape != () or not np.array_equal(np.float32(of_data) * of_weight, of_bias):
            continue
        _in_front(
            graph, above[2], Node("Mul", (names[0], names[1]), (names[2],), {}, graph.fresh(f"{names[2]}/product"))
        )


def _half_scales(graph: Graph) -> None:
    readers = graph.readers()
    for name, p in list(graph.producers.items()):
        uses = readers.get(name, [])
        scale = bool(uses) and all(n.op == "DequantizeLinear" and n.inputs[1] == name or n.op == "Mul" for n in uses)
        if not scale or p.data.dtype != np.float32 or p.data.size < FEWEST:
            continue
        half = p.data.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), p.data):
            continue
        first = next(n for n in graph.nodes if name in n.input_names)
        stored = graph.constant(graph.fresh(f"{name}.half"), half).name
        cast = Node("Cast", (stored,), (name,), {"to": ONNX_CODES["float32"]}, graph.fresh(f"{name}/cast"))
        _in_front(graph, first, cast)


def _in_front(graph: Graph, node: Any, made: Node) -> None:
    """Write what a producer held by a node, in front of the one that reads it."""
    name = made.output_names[0]
    held = graph.producers.pop(name)
    graph.values[name] = Value(name, tuple(held.data.shape), held.data.dtype.name)
    graph.nodes.insert(next(k for k, n in enumerate(graph.nodes) if n is node), made)


def _without_rectifiers(graph: Graph) -> Graph:
    readers = graph.readers()
    bypass: dict[str, str] = {}
    for node in graph.nodes:
        (out,) = node.output_names[:1]
        if (
            node.op == "Relu"
            and out not in graph.outputs
            and all(_cuts(graph, n, readers) for n in readers.get(out, []))
        ):
            bypass[out] = str(node.inputs[0])
    copy = graph.map_nodes(lambda n: None if n.op == "Relu" and n.output_names[0] in bypass else n)
    copy.nodes = [
        n.replace(inputs=tuple(bypass.get(i, i) if isinstance(i, str) else i for i in n.inputs)) for n in copy.nodes
    ]
    return copy


def _cuts(graph: Graph, node: Node, readers: dict[str, list[Node]]) -> bool:
    """Does what reads a tensor give 0 for whatever is below 0?"""
    if node.op == "Clip":
        low = node.inputs[1] if len(node.inputs) > 1 else None
        low = graph.producers[low].data if isinstance(low, str) and low in graph.producers else low
        return low is not None and not isinstance(low, str) and float(np.max(low)) == 0.0
    zero = graph.producers.get(str(node.inputs[2])) if node.op == "QuantizeLinear" and len(node.inputs) > 2 else None
    return zero is not None and zero.data.dtype == np.uint8 and not np.any(zero.data)
