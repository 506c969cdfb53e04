"""What a scheduler says of its order: lists of SchedulingElement."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from .node import Node


class SchedulingPolicy(enum.Enum):
    """Orders that Aidge chooses from."""

    Default = 0
    AsSoonAsPossible = 1
    AsLateAsPossible = 2
    ShortestBranchFirst = 3
    LonguestBranchFirst = 4
    LowestMemoryFirst = 5
    ReduceForkMemory = 6


@dataclass(frozen=True)
class SchedulingElement:
    """A node that ran; start and end in microseconds since the pass began.

    A compiled program runs all nodes at once: its elements share its time in equal parts.  `step` numbers of a static
    scheduling count nodes.
    """

    node: Node
    start: float
    end: float


def in_order(nodes: Sequence[Node]) -> list[SchedulingElement]:
    """One node per unit of time."""
    return [SchedulingElement(n, float(k), float(k + 1)) for k, n in enumerate(nodes)]


def sharing(nodes: Sequence[Node], seconds: float) -> list[SchedulingElement]:
    """The time of one program, shared equally."""
    each = 1e6 * seconds / max(len(nodes), 1)
    return [SchedulingElement(n, k * each, (k + 1) * each) for k, n in enumerate(nodes)]


def shown(elements: Sequence[SchedulingElement], ignore_producers: bool) -> list[SchedulingElement]:
    """What a diagram shows."""
    return [e for e in elements if not (ignore_producers and e.node.type() == "Producer")]
