"""Operators that are not computed but unrolled: control flow, sequences and optional values.

What they do is decided by a few values: a condition, a trip count, the length of a sequence.  Once those are known a
graph needs none of them, see
passes/control_flow; a node that is left has no forward.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import GraphError

# {operator: what has to be known}
CONTROL_FLOW = {
    "If": "its condition", "Loop": "how often it runs", "Scan": "the length of what it scans",
    "SequenceMap": "the length of its sequences", "SequenceConstruct": "its sequence", "SequenceEmpty": "its sequence",
    "SequenceAt": "its sequence and the position", "SequenceInsert": "its sequence and the position",
    "SequenceErase": "its sequence and the position", "SequenceLength": "the length of its sequence",
    "ConcatFromSequence": "the length of its sequence", "SplitToSequence": "the lengths of the pieces",
    "Optional": "whether there is a value", "OptionalGetElement": "whether there is a value",
    "OptionalHasElement": "whether there is a value",
}  # fmt: skip


def is_control_flow(node: Any) -> bool:
    return node.op in CONTROL_FLOW and not node.domain


def check_unrolled(nodes: Iterable[Any], where: str) -> None:
    """Raise GraphError naming a node that is still to be unrolled."""
    for n in nodes:
        if is_control_flow(n):
            alike = " (an If trains where both branches write tensors of the same shapes)" if n.op == "If" else ""
            raise GraphError(
                f"{where}: node {n.name!r} ({n.op}) cannot be compiled: {CONTROL_FLOW[n.op]} depends on the "
                f"data{alike}. `aidgejax.run`, which is given the data, executes it; to train, make it static: pass "
                f"`values=` or `shapes=` to onnxio.read"
            )
