"""Reading and changing Quantizer nodes: their factor, their limits, their Round and Cast."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..aidge_core.dtypes import dtype
from ..aidge_core.errors import GraphViewError
from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node
from ..aidge_core.operators import make_operator
from ..aidge_core.recipes.surgery import bypass, like
from ..aidge_core.tensor import Tensor
from .graphs import insert


def micro_graph(quantizer: Node) -> GraphView:
    if not isinstance(quantizer, Node) or quantizer.type() not in ("Quantizer", "Dequantizer"):
        raise GraphViewError(f"expected a Quantizer node, got {quantizer!r}")
    graph = quantizer.get_operator().get_micro_graph()
    found: GraphView = getattr(quantizer.get_operator(), "micro_graph", graph)
    return found


def inner(quantizer: Node, kind: str) -> Node | None:
    """The node of this type inside."""
    return next((n for n in micro_graph(quantizer).execution_order() if n.type() == kind), None)


def _factor(quantizer: Node) -> Tensor:
    node = inner(quantizer, "Mul")
    tensor = None if node is None else node.get_operator().get_input(1)
    if tensor is None:
        raise GraphViewError(f"node {quantizer.name()!r} has no factor: its Mul became a BitShift")
    return tensor


def get_scaling_factor(quantizer: Node, index: int = 0) -> float:
    """The factor of a Quantizer (of the channel `index`)."""
    return float(_factor(quantizer).cell.read().reshape(-1)[index])


def set_scaling_factor(quantizer: Node, value: float, index: int = 0) -> None:
    tensor = _factor(quantizer)
    values = tensor.cell.read().copy()
    values.reshape(-1)[index] = value
    tensor.copy_from(Tensor(values))


def multiply_scaling_factor(quantizer: Node, coefficient: float, index: int = 0) -> None:
    set_scaling_factor(quantizer, get_scaling_factor(quantizer, index) * coefficient, index)


def set_clip_range(quantizer: Node, min: float, max: float) -> None:
    """The limits of the Clip."""
    node = inner(quantizer, "Clip")
    if node is None:
        raise GraphViewError(f"node {quantizer.name()!r} clips nothing; call append_round_clip")
    for k, value in ((1, min), (2, max)):
        tensor = node.get_operator().get_input(k)
        if tensor is not None:
            tensor.copy_from(Tensor(np.asarray(value, tensor.cell.dtype)))


def remove_round(quantizer: Node) -> None:
    """Leave the Round out, if there is one."""
    node = inner(quantizer, "Round")
    if node is not None:
        bypass(micro_graph(quantizer), node)


def append_round_clip(quantizer: Node, clip_min: float, clip_max: float) -> None:
    """Round halves up behind the factor, and clip."""
    graph, mul = micro_graph(quantizer), inner(quantizer, "Mul")
    if mul is not None and inner(quantizer, "Round") is None:
        node = Node(make_operator("Round", rounding_mode="half_up"), "Round")
        reader = mul.readers[0][0]
        insert(graph, reader.node, reader.index, node)
    set_clip_range(quantizer, clip_min, clip_max)


def append_cast(quantizer: Node, datatype: dtype) -> None:
    """A Cast behind everything else."""
    graph = micro_graph(quantizer)
    last = graph.get_ordered_outputs()[0]
    node = Node(make_operator("Cast", target_type=datatype), "Cast")
    last.node.add_child(node, last.index, 0)
    like(node, last.node)
    graph.add(node)
    if graph.chosen_outputs is not None:
        graph.chosen_outputs = [type(last)(node, 0)]


def clip_range(quantizer: Node) -> tuple[float, float]:
    node = inner(quantizer, "Clip")
    found: list[Any] = [] if node is None else [node.get_operator().get_input(k) for k in (1, 2)]
    low, high = (float(t.cell.read()) for t in found)
    return low, high
