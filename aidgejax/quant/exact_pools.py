"""Average pools that integers can compute: a mean over a window whose size is no power of two, with steps that are.

A sum of 9 integers divided by 9 is no dyadic number; two runtimes that divide differently round its halves apart.  A
depthwise convolution by m / 2^k, m from 64 to 127, is within 0.8 % of the mean and exact in every runtime.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..graph import Graph, Node
from ..interpreter.shape_inference import infer_shapes
from .scheme import Grid, Scheme


def with_exact_pools(graph: Graph, scheme: Scheme) -> tuple[Graph, dict[str, Scheme]]:
    """(graph, {node that replaces a pool: the scheme of its weight}).  Pools whose border is averaged over fewer
    elements, and those of unknown size, stay."""
    copy, found = graph.copy(), {}
    copy.nodes = []
    own = replace(scheme, weights=Grid(8), step="fixed_point", method="lsq")
    for node in graph.nodes:
        window = _window(graph, node)
        if window is None:
            copy.nodes.append(node)
            continue
        channels, kernel, attrs = window
        exponent = 6 + math.floor(math.log2(math.prod(kernel)))
        value = round(2.0**exponent / math.prod(kernel)) / 2.0**exponent
        weight = copy.constant(copy.fresh(f"{node.name}.weight"), np.full((channels, 1, *kernel), value, np.float32))
        attrs = {**attrs, "group": channels, "kernel_shape": kernel}
        copy.nodes.append(Node("Conv", (node.inputs[0], weight.name), node.outputs[:1], attrs, node.name))
        found[node.name] = own
    return (infer_shapes(copy.check()) if found else graph), found


def _window(graph: Graph, node: Node) -> tuple[int, tuple[int, ...], dict] | None:
    """(channels, window, the attributes of the convolution) of a pool that is to be replaced."""
    shape = graph.value(node.inputs[0]).shape if node.input_names else None
    if node.op not in ("AveragePool", "GlobalAveragePool") or shape is None or not isinstance(shape[1], int):
        return None
    if node.op == "GlobalAveragePool":
        sizes, attrs = shape[2:], {}
    else:
        sizes = tuple(node.attrs["kernel_shape"])
        attrs = {k: v for k, v in node.attrs.items() if k in ("strides", "pads", "dilations", "auto_pad")}
        padded = any(node.attrs.get("pads", ())) or node.attrs.get("auto_pad", "NOTSET") != "NOTSET"
        if node.attrs.get("ceil_mode", 0) or (padded and not node.attrs.get("count_include_pad", 0)):
            return None
    kernel = tuple(k for k in sizes if isinstance(k, int))
    n = math.prod(kernel)
    return None if n & (n - 1) == 0 or len(kernel) < len(sizes) else (shape[1], kernel, attrs)
