"""Fewer bytes for the same numbers, in a packed file: what follows from something else is not stored.

The scale of a bias is that of the data times that of the weight, a Mul; scales that 16 bits hold exactly, as they do
powers of two, are stored so, behind a Cast, and so are biases that 16 bits hold; a number is stored once; attributes
that say what holds without them are left out; a Relu in front of levels that begin at 0 is what these cut off anyway.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..dtypes import ONNX_CODES
from ..graph import Graph, Node, Value
from .sites import LAYERS

# Numbers, from which on a node costs fewer bytes than they do: a Mul in place of 4 each, a Cast in place of 2 each.
FEWEST_COMPUTED, FEWEST_CAST = 4, 16
# What a Conv and a MaxPool do by default.
DEFAULTS = {"strides": 1, "dilations": 1, "pads": 0, "group": 1, "auto_pad": "NOTSET", "ceil_mode": 0}


def compact(graph: Graph) -> Graph:
    """The deployed graph (form "qdq") computing what takes more bytes to store; no value changes."""
    copy = graph.copy()
    _bias_scales(copy)
    _half_scales(copy)
    _half_biases(copy)
    copy = _without_rectifiers(copy)
    _numbers_once(copy)
    copy.nodes = [_without_defaults(n) for n in copy.nodes]
    return copy.check()


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
        if of_data is None or of_weight is None or of_bias is None or of_bias.size < FEWEST_COMPUTED:
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
        if not scale or p.data.dtype != np.float32 or p.data.size < FEWEST_CAST:
            continue
        half = p.data.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), p.data):
            continue
        _cast(graph, name, half)


def _half_biases(graph: Graph) -> None:
    readers = graph.readers()
    for name, p in list(graph.producers.items()):
        uses = readers.get(name, [])
        if p.data.dtype != np.int32 or p.data.size < FEWEST_CAST or any(n.op != "DequantizeLinear" for n in uses):
            continue
        half = p.data.astype(np.int16)
        if uses and np.array_equal(half, p.data):
            _cast(graph, name, half)


def _cast(graph: Graph, name: str, half: np.ndarray) -> None:
    """Store a producer in 16 bits, and put a Cast in front of what reads it."""
    held = graph.producers[name]
    wide = graph.fresh(f"{name}.wide")
    graph.values[wide] = Value(wide, tuple(held.data.shape), held.data.dtype.name)
    graph.producers[name] = replace(held, data=half)
    first = next(k for k, n in enumerate(graph.nodes) if name in n.input_names)
    graph.nodes = [_reading(n, {name: wide}) for n in graph.nodes]
    code = ONNX_CODES[held.data.dtype.name]
    graph.nodes.insert(first, Node("Cast", (name,), (wide,), {"to": code}, graph.fresh(f"{name}/cast")))


def _reading(node: Node, instead: dict[str, str]) -> Node:
    return node.replace(inputs=tuple(instead.get(i, i) if isinstance(i, str) else i for i in node.inputs))


def _numbers_once(graph: Graph) -> None:
    """Equal single numbers become one constant, those that stand in a Clip too."""
    for k, node in enumerate(graph.nodes):
        if node.op == "Clip":
            ends = (i if isinstance(i, str | None) else _number(graph, np.float32(i)) for i in node.inputs[1:])
            graph.nodes[k] = node.replace(inputs=(node.inputs[0], *ends))
    first: dict[Any, str] = {}
    same: dict[str, str] = {}
    for name, p in list(graph.producers.items()):
        if p.data.ndim == 0 and p.role == "constant" and name not in graph.outputs:
            kept = first.setdefault((p.data.dtype.name, p.data.tobytes()), name)
            if kept != name:
                same[name] = kept
                del graph.producers[name]
    graph.nodes = [_reading(n, same) for n in graph.nodes]


def _number(graph: Graph, value: Any) -> str:
    return graph.constant(graph.fresh("number"), value).name


def _without_defaults(node: Node) -> Node:
    if node.op not in ("Conv", "MaxPool"):
        return node
    kept = {k: v for k, v in node.attrs.items() if k not in DEFAULTS or np.any(np.asarray(v) != DEFAULTS[k])}
    return node.replace(attrs=kept)


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
    copy.nodes = [_reading(n, bypass) for n in copy.nodes]
    return copy


def _cuts(graph: Graph, node: Node, readers: dict[str, list[Node]]) -> bool:
    """Does what reads a tensor give 0 for whatever is below 0?"""
    if node.op == "Clip":
        low = node.inputs[1] if len(node.inputs) > 1 else None
        low = graph.producers[low].data if isinstance(low, str) and low in graph.producers else low
        return low is not None and not isinstance(low, str) and float(np.max(low)) == 0.0
    zero = graph.producers.get(str(node.inputs[2])) if node.op == "QuantizeLinear" and len(node.inputs) > 2 else None
    return zero is not None and zero.data.dtype == np.uint8 and not np.any(zero.data)
