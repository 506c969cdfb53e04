"""Integer weights made trainable, and integers again when they are written.

    DequantizeLinear(q)  ->  DequantizeLinear(QuantizeLinear(w))      w: the floats that q stood for

Integers of 32 bits, as biases have them, become floats in the place of what DequantizeLinear wrote: ONNX has no
QuantizeLinear to them.  The metadata say which tensors were made floats, so that `integer_weights` finds them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ..dtypes import DTYPES, ONNX_CODES
from ..errors import GraphError
from ..graph import Graph, Node, Producer, Value
from ..ops import lookup
from .constants import constant_value
from .integer_products import PRODUCTS, scaled_sums
from .rewrite import replace_nodes

BETWEEN_SCALES = ("QLinearConv", "QLinearMatMul")
KEY = "aidgejax.float_weights"  # in the metadata: {float tensor: how to make integers of it}
LEVELS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-(1 << 15), (1 << 15) - 1), "uint16": (0, (1 << 16) - 1),
          "int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3),
          "int32": (-(1 << 31), (1 << 31) - 1)}  # fmt: skip


def float_weights(graph: Graph, names: Iterable[str] = ("*",)) -> Graph:
    """The graph whose integers behind DequantizeLinear are float parameters, rounded to the same grid as they train.

    names: names or patterns of the integer tensors that are meant.  Scales and zero points stay what they are.
    QLinearConv and QLinearMatMul become the operator in floats between DequantizeLinear and QuantizeLinear; the weights
    of MatMulInteger and ConvInteger, as quantize_dynamic writes them, are rounded in front of the product of integers.
    Raises GraphError where there are none.
    """
    graph = replace_nodes(graph, lambda node: lookup(node.op).decompose if node.op in BETWEEN_SCALES else None)
    copy, made = graph.copy(), dict(json.loads(graph.metadata.get(KEY, "{}")))
    copy.nodes, found = [], False
    for node in graph.nodes:
        if node.op in PRODUCTS and (rounded := _multiplied(graph, copy, node, names, made)) is not None:
            copy.nodes += rounded
            found = True
            continue
        q = graph.producers.get(str(node.inputs[0])) if node.op == "DequantizeLinear" and node.inputs else None
        node = node if q is None else _with_scale(graph, copy, node)
        scale, zero = (_constant(copy, node, k) for k in (1, 2))
        wanted = q is not None and any(fnmatchcase(q.name, n) for n in names)
        if q is None or not wanted or q.data.dtype.name not in LEVELS or scale is None:
            copy.nodes.append(node)
            continue
        found = True
        kind, (out,) = q.data.dtype.name, node.output_names
        axis, block = int(node.attrs.get("axis", 1)), int(node.attrs.get("block_size", 0) or 0)
        spread = _spread(scale, q.data.shape, axis, block)
        zeros = 0.0 if zero is None else _spread(zero, q.data.shape, axis, block)
        w = ((q.data.astype(np.float64) - zeros) * spread).astype(scale.dtype)
        note = {"dtype": kind, "scale": node.inputs[1], "zero": node.inputs[2] if zero is not None else None,
                "axis": axis, "block": block}  # fmt: skip
        if kind == "int32":
            del copy.values[out]
            copy.producers.pop(q.name, None)
            made[out] = note | {"name": q.name, "node": node.name}
            copy.producers[out] = Producer(out, w, "parameter", "holds integers when it is written")
            continue
        if q.name not in made:
            levels = copy.fresh(f"{q.name}.levels")
            attrs = {k: v for k, v in node.attrs.items() if k in ("axis", "block_size")}
            if zero is None:
                attrs["output_dtype"] = ONNX_CODES[kind]
            copy.nodes.append(_rounded(copy, q.name, w, node.inputs[1:3], levels, attrs))
            made[q.name] = note | {"levels": levels}
        copy.nodes.append(node.replace(inputs=(made[q.name]["levels"], *node.inputs[1:])))
    if not found:
        odd = [n.name or n.output_names[0] for n in graph.nodes if n.op in PRODUCTS and _scale_behind(graph, n) is None]
        why = (
            f"; what the integers of {', '.join(map(repr, odd[:4]))} stand for is not known, as no Cast and Mul by one "
            f"constant follow"
        )
        raise GraphError(
            f"graph {graph.name!r} has no integers behind DequantizeLinear or in a product of integers "
            f"that are called {', '.join(map(repr, names))}{why if odd else ''}"
        )
    copy.metadata[KEY] = json.dumps(made)
    return copy


def _rounded(copy: Graph, name: str, w: np.ndarray, grid: tuple[Any, ...], levels: str, attrs: dict) -> Node:
    """The node that rounds a weight, which becomes a float parameter, to tensor `levels`."""
    copy.values[levels] = Value(levels, None, None)
    copy.producers[name] = Producer(name, w, "parameter", "is rounded to its grid")
    return Node("QuantizeLinear", (name, *grid), (levels,), attrs, copy.fresh(f"{name}/QuantizeLinear"))


def _multiplied(graph: Graph, copy: Graph, node: Node, names: Iterable[str], made: dict) -> list[Node] | None:
    """A product of integers whose weight is one of `names`, reading what a float is rounded to; None for any other.

    Its scale is the constant that its sums are multiplied by.
    """
    q = graph.producers.get(str(node.inputs[1]))
    if q is None or q.data.dtype.name not in LEVELS or not any(fnmatchcase(q.name, n) for n in names):
        return None
    scale = _scale_behind(graph, node)
    if scale is None:
        return None
    if q.name in made and "levels" in made[q.name]:
        return [node.replace(inputs=(node.inputs[0], made[q.name]["levels"], *node.inputs[2:]))]
    zero = _constant(graph, node, 3)
    axis = 0 if node.op == "ConvInteger" else q.data.ndim - 1
    held = graph.producers[scale]
    copy.producers[scale] = replace(held, role="constant")
    if held.data.size > 1 and held.data.ndim != 1:  # as it broadcasts to the sums
        scale = copy.constant(copy.fresh(f"{scale}.vector"), held.data.reshape(-1)).name
    values = held.data.reshape(-1) if held.data.size > 1 else held.data
    spread = _spread(values, q.data.shape, axis, 0)
    zeros = 0.0 if zero is None else _spread(zero, q.data.shape, axis, 0)
    w = ((q.data.astype(np.float64) - zeros) * spread).astype(held.data.dtype)
    levels, kind = copy.fresh(f"{q.name}.levels"), q.data.dtype.name
    grid: tuple[Any, ...] = (scale,) if zero is None else (scale, node.inputs[3])
    attrs: dict[str, Any] = {"axis": axis} if held.data.size > 1 else {}
    if zero is None:
        attrs["output_dtype"] = ONNX_CODES[kind]
    made[q.name] = {"dtype": kind, "scale": scale, "zero": node.inputs[3] if zero is not None else None,
                    "axis": axis, "block": 0, "levels": levels}  # fmt: skip
    rounded = _rounded(copy, q.name, w, grid, levels, attrs)
    return [rounded, node.replace(inputs=(node.inputs[0], levels, *node.inputs[2:]))]


def _scale_behind(graph: Graph, product: Node) -> str | None:
    """The constant among the factors of what a product of integers is summed to."""
    found = scaled_sums(graph, product)
    held = [i for i in found.factors if i in graph.producers] if found is not None else []
    return held[0] if len(held) == 1 else None


def integer_weights(graph: Graph) -> Graph:
    """The graph as it is written: what `float_weights` made floats of are integers again."""
    if KEY not in graph.metadata:
        return graph
    copy, made = graph.copy(), json.loads(graph.metadata[KEY])
    del copy.metadata[KEY]
    back: dict[str, str] = {}
    for name, note in made.items():
        if name not in copy.producers:
            continue
        p, scale = copy.producers[name], graph.producers[note["scale"]].data
        zero = graph.producers[note["zero"]].data if note["zero"] else None
        spread = _spread(scale, p.data.shape, note["axis"], note["block"])
        zeros = 0.0 if zero is None else _spread(zero, p.data.shape, note["axis"], note["block"])
        low, high = LEVELS[note["dtype"]]
        whole = np.clip(np.rint(p.data.astype(np.float64) / spread) + zeros, low, high)
        q = whole.astype(np.int64).astype(DTYPES[note["dtype"]])
        if "levels" in note:
            back[note["levels"]] = name
            copy.producers[name] = Producer(name, q, "constant")
            continue
        del copy.producers[name]
        copy.producers[note["name"]] = Producer(note["name"], q, "constant")
        inputs = tuple(i for i in (note["name"], note["scale"], note["zero"]) if i)
        attrs = {"axis": note["axis"]} if np.size(scale) > 1 else {}
        copy.nodes.insert(0, Node("DequantizeLinear", inputs, (name,), attrs, note["node"]))
        copy.values[name] = Value(name, tuple(q.shape), scale.dtype.name)
    copy.nodes = [
        n.replace(inputs=tuple(back.get(i, i) if isinstance(i, str) else i for i in n.inputs))
        for n in copy.nodes
        if not (n.op == "QuantizeLinear" and n.outputs[0] in back)
    ]
    return copy


def _with_scale(graph: Graph, copy: Graph, node: Node) -> Node:
    """The node with its scale as a constant, where it is computed from constants, as a bias' is from two others."""
    scale = node.inputs[1]
    if not isinstance(scale, str) or scale in graph.producers or (v := constant_value(graph, scale)) is None:
        return node
    kept = copy.constant(copy.fresh(f"{node.inputs[0]}.scale"), v)
    return node.replace(inputs=(node.inputs[0], kept.name, *node.inputs[2:]))


def _constant(graph: Graph, node: Node, k: int) -> np.ndarray | None:
    i = node.inputs[k] if len(node.inputs) > k else None
    return graph.producers[i].data if isinstance(i, str) and i in graph.producers else None


def _spread(v: np.ndarray, shape: tuple[int, ...], axis: int, block: int) -> np.ndarray:
    """A scale or zero point against the tensor that it belongs to."""
    v = np.asarray(v, np.float64)
    if v.size == 1:
        return v.reshape(())
    axis %= len(shape)
    if block:
        return np.repeat(v, block, axis)[tuple(slice(0, d) for d in shape)]
    return v.reshape([-1 if k == axis else 1 for k in range(len(shape))])
