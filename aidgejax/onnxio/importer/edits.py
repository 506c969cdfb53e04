"""What `batch=`, `shapes=`, `values=`, `inputs=`, `outputs=` of `read` changed, in terms of the file that was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto

from ...graph import Graph, Node
from ..source import Edits, Expanded, Retargeted

Ends = tuple[Iterable[str] | None, Iterable[str] | None]


def edits_of(
    model: ModelProto,
    ends: Ends,
    shapes: Mapping[str, Any],
    values: Mapping[str, Any],
    before: Graph,
    after: Graph,
) -> Edits | str:
    """The changes, or why the file cannot say them.

    model: the file, cut at `ends`.  before, after: the graph without and with a batch of any size.
    """
    files = {o: n for n in model.graph.node for o in n.output if o}
    changed = _changed_nodes(before, after, files) if after is not before else []
    if isinstance(changed, str):
        return changed
    freed = [n for n, v in after.inputs.items() if n in before.inputs and v != before.inputs[n]]
    return Edits(
        inputs=_listed(ends[0]),
        outputs=_listed(ends[1]),
        given=dict(shapes),
        values={k: np.asarray(v) for k, v in values.items()},
        sizes=tuple(n for n in after.inputs if n in shapes or n in freed),
        nodes=tuple(changed),
    )


def _listed(names: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if names is None else (names,) if isinstance(names, str) else tuple(names)


def _changed_nodes(before: Graph, after: Graph, files: Mapping[str, NodeProto]) -> list[Retargeted | Expanded] | str:
    was = {n.outputs: n for n in before.nodes}
    new = {o: n for n in after.nodes if n.outputs not in was for o in n.output_names}
    found: list[Retargeted | Expanded] = []
    for node in after.nodes:
        old = was.get(node.outputs)
        if old is None or node is old:
            continue
        output, why = node.output_names[0], f"node {node.name!r} ({node.op}) follows the batch in a form of its own"
        proto = files.get(output)
        same = {k: v for k, v in old.attrs.items() if k != "allowzero"} == node.attrs or old.attrs == node.attrs
        if proto is None or proto.op_type != node.op or not same or len(old.inputs) != len(node.inputs):
            return why
        for k, (a, b) in enumerate(zip(old.inputs, node.inputs, strict=True)):
            if a == b:
                continue
            if k >= len(proto.input):
                return why
            if isinstance(b, tuple):
                found.append(Retargeted(output, k, b))
            elif isinstance(b, str) and b in new and isinstance(a, str):
                found.append(_expanded(output, k, new[b], new))
            else:
                return why
    return found


def _expanded(output: str, position: int, expand: Node, new: Mapping[str, Node]) -> Expanded:
    parts = new[expand.inputs[1]].inputs  # ones, the batch, ones
    at = next(k for k, p in enumerate(parts) if isinstance(p, str))
    size = new[parts[at]]
    ones = [p if isinstance(p, tuple) else () for p in (*parts[:at], *parts[at + 1 :])]
    lead = len(ones[0]) if at else 0
    return Expanded(output, position, lead + 1 + sum(map(len, ones[at:])), lead, size.inputs[0], size.attrs["start"])
