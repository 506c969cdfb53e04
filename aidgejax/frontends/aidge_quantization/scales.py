"""What the integers of a quantized graph stand for: real value = integer * scale, at every output of every node."""

from __future__ import annotations

import numpy as np

from ..aidge_core.errors import GraphViewError
from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node, Port
from .ptq_ranges import bits, factors
from .tags import MERGING, TRANSPARENT

REAL = np.ones(1)


def positive_levels(bits: int) -> int:
    """The largest integer of this many bits, symmetric."""
    return 2 ** (bits - 1) - 1


def dequantizer_factor(node: Node) -> np.ndarray:
    return factors(node).reshape(-1)


def one(scale: np.ndarray, node: Node) -> np.ndarray:
    """The scale of all channels.  Raises GraphViewError where they differ."""
    flat = scale.reshape(-1)
    if not np.allclose(flat, flat[0], rtol=1e-4):
        raise GraphViewError(f"node {node.name()!r}: its channels stand on different scales, from {flat.min():g} on")
    return flat[:1]


def integer_scales(graph: GraphView) -> dict[Port, np.ndarray]:
    """{output: scale, one or one per channel}.  Inputs of the graph are integers of [-1, 1] but for a Quantizer."""
    found: dict[Port, np.ndarray] = {}
    for node in graph.execution_order():
        scale = _scale_of(node, found)
        for k in range(node.get_nb_outputs()):
            found[Port(node, k)] = scale
    return found


def scale_before(node: Node, k: int, found: dict[Port, np.ndarray]) -> np.ndarray:
    """The scale of what input k reads."""
    source = node.sources[k]
    if source is not None:
        return found[source]
    return REAL if node.type() == "Quantizer" else np.asarray([1 / positive_levels(bits(node))])


def _scale_of(node: Node, found: dict[Port, np.ndarray]) -> np.ndarray:
    kind = node.type()
    if kind == "Producer":
        return REAL
    if kind == "Dequantizer":
        return scale_before(node, 0, found) / dequantizer_factor(node)
    if kind == "Quantizer":
        before, factor = scale_before(node, 0, found).reshape(-1), factors(node).reshape(-1)
        scale = before / factor
        source = node.sources[0]
        weight = source is not None and source.node.type() == "Producer"
        return scale if weight or len(scale) == 1 else one(scale, node)
    if kind in MERGING:
        return scale_before(node, 0, found)
    if kind in TRANSPARENT:
        return scale_before(node, 0, found)
    return scale_before(node, 0, found) * scale_before(node, 1, found).reshape(-1)
