"""When are sums of products the same in every runtime?  When no rounding happens in them, whatever their order.

With steps that are powers of two a product of two levels, times the steps, is a float32 exactly; so is every partial
sum as long as the integers stay below 2^24.  What an optimizing runtime computes in integers is then the same number,
and is rounded once, to the same level.
"""

from __future__ import annotations

import math

import numpy as np

from ..arguments import checked_call
from ..graph import Graph, Node
from .c_moves import left_to_the_host
from .deploy import SAME_GRID, OnGrid
from .reading import grids_of
from .sites import LAYERS

EXACT = 2**24  # integers below it are float32 numbers
ROUNDED = ("QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "Add", "Sub", *LAYERS, *SAME_GRID)
POOLS = ("AveragePool", "GlobalAveragePool", "ReduceMean")


@checked_call
def unproved(integers: Graph) -> list[str]:
    """Why the values of a deployed graph may depend on the runtime; empty where they cannot.

    Each reason names its node: a step that is no power of two, a sum that may leave 2^24, an average over a window
    whose size is no power of two, an operator that is computed in floating point (but behind the last grid: a Softmax
    there is the host's).
    """
    grids = grids_of(integers)
    reasons = []
    host = {n.name for n in left_to_the_host(integers)} if integers.outputs else set()
    for node in integers.nodes:
        if node.name in host:
            continue
        where = f"{node.name} ({node.op})"
        if node.op in ("QuantizeLinear", "DequantizeLinear"):
            step = integers.producers.get(node.inputs[1])
            if step is None or not _powers_of_two(step.data):
                reasons.append(f"{where}: its step is no power of two")
        elif node.op in LAYERS:
            reasons += [f"{where}: {r}" for r in _sum_reasons(integers, node, grids)]
        elif node.op == "Mul" and all(i in grids for i in node.input_names):
            reach = math.prod(_reach(grids[i]) for i in node.input_names)
            if reach >= EXACT:
                reasons.append(f"{where}: its products may reach {reach}, {EXACT} or more")
        elif node.op in POOLS:
            n = _window(integers, node)
            if n is None or n & (n - 1):
                reasons.append(f"{where}: it averages {n or 'a varying number of'} values, no power of two")
        elif node.op not in ROUNDED and any(integers.value(o).is_float for o in node.output_names):
            reasons.append(f"{where}: it is computed in floating point")
    return list(dict.fromkeys(reasons))


@checked_call
def largest_sums(integers: Graph) -> dict[str, int]:
    """{layer: a bound of its 32-bit sums}: sum |weight| times the largest |input|, and |bias|; where all are known."""
    grids = grids_of(integers)
    found = {}
    for node in integers.nodes:
        if node.op in LAYERS:
            bound = _bound(integers, node, grids)
            if bound is not None:
                found[node.name] = bound
    return found


def _sum_reasons(graph: Graph, node: Node, grids: dict[str, OnGrid]) -> list[str]:
    missing = [i for i in node.input_names if i not in grids]
    if missing:
        return [f"{missing[0]!r} is not quantized"]
    bound = _bound(graph, node, grids)
    if bound is None or bound >= EXACT:
        return [f"its sums may reach {bound if bound is not None else 'any size'}, {EXACT} or more"]
    return []


def _bound(graph: Graph, node: Node, grids: dict[str, OnGrid]) -> int | None:
    if not all(i in grids for i in node.input_names):
        return None
    x, w = grids[node.inputs[0]], grids[node.inputs[1]]
    reach = _reach(x)
    if w.integers not in graph.producers:
        inner = (graph.value(node.inputs[0]).shape or (None,))[-1]
        return inner * reach * max(abs(w.low), abs(w.high)) if isinstance(inner, int) else None
    ints = graph.producers[w.integers].data.astype(np.int64)
    zero = w.zero.astype(np.int64)
    ints = np.abs(ints - (zero if zero.ndim in (0, ints.ndim) else zero.reshape(-1, *[1] * (ints.ndim - 1))))
    group = node.attrs.get("group", 1)
    if node.op == "ConvTranspose":
        each = ints.reshape(group, ints.shape[0] // group, ints.shape[1], -1).sum((1, 3)).reshape(-1)
    elif node.op == "Conv" or (node.op == "Gemm" and node.attrs.get("transB", 0)):
        each = ints.reshape(len(ints), -1).sum(1)
    else:
        each = ints.reshape(-1, ints.shape[-2], ints.shape[-1]).sum(1).max(0)
    sums = each * reach
    if len(node.input_names) > 2:
        bias = graph.producers[grids[node.inputs[2]].integers].data.astype(np.int64)
        sums = sums + np.abs(bias.reshape(-1))
    return int(sums.max(initial=0))


def _reach(grid: OnGrid) -> int:
    """The largest |level - zero point|."""
    zeros = int(np.min(grid.zero)), int(np.max(grid.zero))
    return max(abs(grid.low - zeros[1]), abs(grid.high - zeros[0]))


def _window(graph: Graph, node: Node) -> int | None:
    """How many values each mean has; None where that varies or is not known."""
    shape = graph.value(node.inputs[0]).shape
    if shape is None:
        return None
    if node.op == "AveragePool":
        padded = any(node.attrs.get("pads", ())) or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        if node.attrs.get("ceil_mode", 0) or (padded and not node.attrs.get("count_include_pad", 0)):
            return None
        return math.prod(node.attrs["kernel_shape"])
    if node.op == "GlobalAveragePool":
        sizes = shape[2:]
    else:
        axes = node.inputs[1] if len(node.inputs) > 1 else tuple(range(len(shape)))
        if isinstance(axes, str):
            axes = graph.producers[axes].data.tolist() if axes in graph.producers else None
        sizes = shape if axes is None else tuple(shape[a] for a in axes)
    return math.prod(s for s in sizes if isinstance(s, int)) if all(isinstance(s, int) for s in sizes) else None


def _powers_of_two(step: np.ndarray) -> bool:
    fraction, _ = np.frexp(step)
    return bool(np.all(fraction == 0.5))
