"""Reading a deployed graph: which tensors are on a grid, by its QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from ..graph import Graph
from .deploy import SAME_GRID, OnGrid


def grids_of(graph: Graph) -> dict[str, OnGrid]:
    """{tensor that a DequantizeLinear writes: its grid}.

    Fewer levels than the container has are recognised by the Clip in front, or in a constant by what it holds.
    """
    writer = graph.writer()
    found: dict[str, OnGrid] = {}
    for node in graph.nodes:
        if node.op != "DequantizeLinear" or node.inputs[1] not in graph.producers:
            continue
        ints = node.inputs[0]
        step = graph.producers[node.inputs[1]].data
        zero = np.zeros(step.shape, np.int32)
        if len(node.inputs) > 2 and node.inputs[2] in graph.producers:
            zero = graph.producers[node.inputs[2]].data.astype(np.int32)
        if ints in graph.producers:
            data = graph.producers[ints].data
            low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
            if step.ndim == 1 and data.ndim > 1:
                axis = node.attrs.get("axis", 1) % data.ndim
                step, zero = (a.reshape([-1 if k == axis else 1 for k in range(data.ndim)]) for a in (step, zero))
            found[node.output_names[0]] = OnGrid(ints, step, zero, low, high)
            continue
        info = ml_dtypes.iinfo(graph.value(ints).dtype or "int8")
        low, high = int(info.min), int(info.max)
        quantize = writer.get(ints)
        if quantize is not None and quantize.op == "QuantizeLinear" and step.size == 1:
            known = found.get(quantize.output_names[0])
            source = writer.get(quantize.inputs[0]) if isinstance(quantize.inputs[0], str) else None
            if known is None and source is not None and source.op == "Clip":
                ends = [_number(graph, i) for i in source.inputs[1:3]]
                if len(ends) == 2:
                    at = [
                        None if e is None else int(np.rint(np.float32(e) / step.reshape(()))) + int(zero.reshape(()))
                        for e in ends
                    ]
                    low = low if at[0] is None else max(low, at[0])
                    high = high if at[1] is None else min(high, at[1])
            elif source is not None and source.op in SAME_GRID and all(i in found for i in source.input_names[:1]):
                before = [found[i] for i in source.input_names if i in found]
                if all(g.step.tobytes() == step.tobytes() for g in before):  # what goes in comes out
                    low, high = max(low, min(g.low for g in before)), min(high, max(g.high for g in before))
        found[node.output_names[0]] = OnGrid(ints, step.reshape(()) if step.size == 1 else step, zero, low, high)
    return found


def _number(graph: Graph, i: object) -> float | None:
    if isinstance(i, bool | int | float):
        return float(i)
    data = graph.producers[i].data if isinstance(i, str) and i in graph.producers else None
    return float(data.reshape(())) if data is not None and data.size == 1 else None
