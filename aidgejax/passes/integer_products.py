"""Products of integers, and the scales that make floats of their sums.

    sums -> (Add: bias in 32 bits) -> Cast -> Mul (scale, or scale of data times scale of weight)

This is how quantize_dynamic and hand-made converters write a layer in integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Graph, Node

PRODUCTS = ("MatMulInteger", "ConvInteger")


@dataclass(frozen=True)
class ScaledSums:
    """bias: integers added to the sums, or None; result: the node whose output is the floats; scale: its other input;
    factors: the tensors whose product the scale is."""

    bias: str | None
    result: Node
    scale: str
    factors: tuple[str, ...]


def scaled_sums(graph: Graph, product: Node) -> ScaledSums | None:
    """What is done to a product's sums until they are floats; None where it is anything else, or done twice."""
    readers, writer = graph.readers(), graph.writer()
    sums, bias = product.output_names[0], None
    found = readers.get(sums, [])
    if len(found) == 1 and found[0].op == "Add":
        others = [i for i in found[0].input_names if i != sums]
        held = graph.producers.get(others[0]) if len(others) == 1 else None
        if held is not None and held.data.dtype == np.int32:
            bias, sums = held.name, found[0].output_names[0]
            found = readers.get(sums, [])
    casts = [n for n in found if n.op == "Cast"]
    scaled = [n for c in casts for n in readers.get(c.output_names[0], []) if n.op == "Mul"]
    if len(casts) != 1 or len(scaled) != 1:
        return None
    others = [i for i in scaled[0].input_names if i != casts[0].output_names[0]]
    if len(others) != 1:
        return None
    inner = writer.get(others[0])
    return ScaledSums(
        bias, scaled[0], others[0], inner.input_names if inner is not None and inner.op == "Mul" else (others[0],)
    )
