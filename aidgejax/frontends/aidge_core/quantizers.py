"""Quantizer and Dequantizer: meta-operators that scale, round, shift, clip and cast."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dtypes import dtype
from .graphview import GraphView
from .meta import meta_operator
from .node import Node, Port, Producer
from .operators import FLT_MAX, make_operator
from .tensor import Tensor


def _chain(name: str, steps: list[tuple[str, Node, dict[str, Any]]]) -> GraphView:
    """Nodes one behind the other; each with Producers {name: (input, value)} of its own."""
    previous: Node | None = None
    members: list[Node] = []
    for label, node, constants in steps:
        node.set_name(label)
        for key, (k, value) in constants.items():
            producer = Producer(Tensor(np.asarray(value, np.float32)), key)
            producer.add_child(node, 0, k)
            members.append(producer)
        if previous is not None:
            previous.add_child(node, 0, 0)
        members.append(node)
        previous = node
    graph = GraphView(name)
    graph.add(members)
    graph.set_ordered_inputs([Port(steps[0][1], 0)])
    return graph


def Quantizer(  # noqa: N802
    scaling_factor: float,
    nb_channels: int = 1,
    name: str = "",
    zero_point: float = 0,
    round: bool = False,
    clip_min: float = -FLT_MAX,
    clip_max: float = FLT_MAX,
    to_type: dtype = dtype.any,
    internal_type: dtype = dtype.any,
) -> Node:
    """clip(round(x * scaling_factor) + zero_point, clip_min, clip_max), halves rounded up; then a Cast, if to_type says
    so.  nb_channels: one factor per channel, all alike at first."""
    factors = np.full([nb_channels] if nb_channels > 1 else [1], scaling_factor, np.float32)
    steps: list[tuple[str, Node, dict[str, Any]]] = []
    if internal_type is not dtype.any:
        steps.append(("InternalCast", Node(make_operator("Cast", target_type=internal_type)), {}))
    steps.append(("Mul", Node(make_operator("Mul")), {"ScalingFactor": (1, factors)}))
    if round:
        steps.append(("Round", Node(make_operator("Round", rounding_mode="half_up")), {}))
    steps.append(("Add", Node(make_operator("Add")), {"ZeroPoint": (1, [zero_point])}))
    limits = {"ClipMin": (1, clip_min), "ClipMax": (2, clip_max)}
    steps.append(("Clip", Node(make_operator("Clip")), limits))
    if to_type is not dtype.any:
        steps.append(("Cast", Node(make_operator("Cast", target_type=to_type)), {}))
    return meta_operator("Quantizer", _chain(name, steps), name=name)


def Dequantizer(  # noqa: N802
    scaling_factor: float,
    name: str = "",
    zero_point: float = 0,
    to_type: dtype = dtype.any,
    internal_type: dtype = dtype.any,
) -> Node:
    """(x - zero_point) * scaling_factor."""
    steps: list[tuple[str, Node, dict[str, Any]]] = []
    if internal_type is not dtype.any:
        steps.append(("InternalCast", Node(make_operator("Cast", target_type=internal_type)), {}))
    steps.append(("Sub", Node(make_operator("Sub")), {"ZeroPoint": (1, [zero_point])}))
    steps.append(("Mul", Node(make_operator("Mul")), {"ScalingFactor": (1, [scaling_factor])}))
    if to_type is not dtype.any:
        steps.append(("Cast", Node(make_operator("Cast", target_type=to_type)), {}))
    return meta_operator("Dequantizer", _chain(name, steps), name=name)
