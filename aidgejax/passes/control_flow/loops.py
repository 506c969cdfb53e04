"""If, Loop, Scan and SequenceMap: nodes with subgraphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...graph import Graph, Node, Value
from ..mode import normalized
from .conditional import CONDITIONAL, branch_graph
from .unroller import DataDependent, Item, Unroller, unrolls


def captured_by(node: Node, inputs: list) -> tuple[list, dict[str, Item]]:
    """(ONNX's own inputs, {name inside: what is captured})"""
    inside = node.attrs.get("captures", ())
    own = len(inputs) - len(inside)
    return inputs[:own], dict(zip(inside, inputs[own:], strict=True))


def check_outputs(flat: Unroller, node: Node, body: Graph, least: int) -> None:
    if len(body.outputs) < least:
        raise flat.error(node, f"its subgraph {body.name!r} has {len(body.outputs)} outputs; expected at least {least}")


@unrolls("If")
def if_(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    (condition,), captured = captured_by(node, inputs)
    try:
        branch = node.attrs["then_branch" if flat.number(condition, node, "its condition") else "else_branch"]
    except DataDependent:
        return _both_branches(flat, node, condition, captured, prefix)
    check_outputs(flat, node, branch, len(node.outputs))
    written = {n for b in branch.nodes for n in b.output_names}
    names = {
        b: o
        for b, o in zip(branch.outputs, node.outputs, strict=False)
        if o is not None and not prefix and b in written and branch.outputs.count(b) == 1
    }
    return flat.call(
        node, branch, [], {k: v for k, v in captured.items() if k in branch.inputs}, f"{prefix}{node.name}/", names
    )


def _both_branches(
    flat: Unroller, node: Node, condition: Item, captured: Mapping[str, Item], prefix: str
) -> list[Item]:
    """One node that holds both branches; DataDependent where they hand on what is no tensor."""
    found = []
    for attribute in ("then_branch", "else_branch"):
        body, start = node.attrs[attribute], len(flat.graph.nodes)
        check_outputs(flat, node, body, len(node.outputs))
        inside = {k: v for k, v in captured.items() if k in body.inputs}
        outputs = flat.call(node, body, [], inside, f"{prefix}{node.name}/{attribute}/")
        if not all(isinstance(o, str) for o in outputs):
            raise flat.error(node, "its condition depends on the data, and what it gives is no tensor", DataDependent)
        nodes = flat.taken_back(start)
        name = f"{prefix}{node.name}/{attribute}"
        branch = branch_graph(flat.graph, nodes, outputs[: len(node.outputs)], name, flat.free)
        found.append(normalized(branch, training=False))
    read = {**found[0].inputs, **found[1].inputs}
    for branch in found:
        branch.inputs = dict(read)
    names = [o if o is None or not prefix else flat.free(prefix + o) for o in node.outputs]
    branches = dict(zip(("then_branch", "else_branch"), found, strict=True))
    return flat.written(node, CONDITIONAL, [condition, *read], branches, names, f"{prefix}{node.name}")


@unrolls("Loop")
def loop(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    (trips, condition, *states), captured = captured_by(node, inputs)
    body = node.attrs["body"]
    check_outputs(flat, node, body, 1 + len(states))
    most = None if trips is None else flat.number(trips, node, "its trip count")
    go = condition is None or bool(flat.number(condition, node, "its condition"))
    if condition is None:
        condition = flat.constant(node, prefix, "go", np.asarray(True))
    collected: list[list[Item]] = [[] for _ in body.outputs[1 + len(states) :]]
    k = 0
    while go and (most is None or k < most):
        flat.spend(node)
        count = flat.constant(node, prefix, f"{k}/count", np.asarray(k, np.int64))
        condition, *results = flat.call(node, body, [count, condition, *states], captured, f"{prefix}{node.name}/{k}/")
        states = results[: len(states)]
        for found, r in zip(collected, results[len(states) :], strict=True):
            found.append(r)
        k += 1
        if most is None or k < most:
            go = bool(flat.number(condition, node, f"whether it goes on after {k} rounds"))
    declared = body.metadata["outputs"][1 + len(states) :]
    return [
        *states,
        *(stacked(flat, node, prefix, found, 0, like) for found, like in zip(collected, declared, strict=True)),
    ]


@unrolls("Scan")
def scan(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    own, captured = captured_by(node, inputs)
    count = node.attrs["num_scan_inputs"]
    if not 0 < count <= len(own):
        raise flat.error(node, f"num_scan_inputs is {count}, and it has {len(own)} inputs")
    if not node.attrs.get("batched"):
        return _scan_once(flat, node, own, captured, prefix)
    rows = flat.length(own[-1], 0, node)  # of opset 8, where axis 0 is a batch
    columns = [cut(flat, node, prefix, x, 0, rows) for x in own]
    found = [_scan_once(flat, node, [c[k] for c in columns], captured, f"{prefix}{k}/") for k in range(rows)]
    return [stacked(flat, node, prefix, column, 0, Value("")) for column in zip(*found, strict=True)]


def _scan_once(flat: Unroller, node: Node, own: list, captured: Mapping[str, Item], prefix: str) -> list[Item]:
    body, count = node.attrs["body"], node.attrs["num_scan_inputs"]
    states, scanned = own[: len(own) - count], own[len(own) - count :]
    check_outputs(flat, node, body, len(states))
    outputs = len(body.outputs) - len(states)
    axes, backwards = (_settings(flat, node, f"scan_input_{what}", count) for what in ("axes", "directions"))
    lengths = {flat.length(x, axis, node) for x, axis in zip(scanned, axes, strict=True)}
    if len(lengths) != 1:
        raise flat.error(node, f"what it scans has the lengths {sorted(lengths)}; expected one length")
    length = lengths.pop()
    pieces = [
        cut(flat, node, prefix, x, axis, length)[:: -1 if back else 1]
        for x, axis, back in zip(scanned, axes, backwards, strict=True)
    ]
    collected: list[list[Item]] = [[] for _ in range(outputs)]
    for k in range(length):
        flat.spend(node)
        results = flat.call(node, body, [*states, *(p[k] for p in pieces)], captured, f"{prefix}{node.name}/{k}/")
        states = results[: len(states)]
        for found, r in zip(collected, results[len(states) :], strict=True):
            found.append(r)
    axes, backwards = (_settings(flat, node, f"scan_output_{what}", outputs) for what in ("axes", "directions"))
    declared = body.metadata["outputs"][len(states) :]
    return [
        *states,
        *(
            stacked(flat, node, prefix, found[:: -1 if back else 1], axis, like)
            for found, axis, back, like in zip(collected, axes, backwards, declared, strict=True)
        ),
    ]


def _settings(flat: Unroller, node: Node, name: str, count: int) -> Sequence[int]:
    given = node.attrs.get(name) or (0,) * count
    if len(given) != count:
        raise flat.error(node, f"{name} is {list(given)}; expected {count} numbers")
    return given


@unrolls("SequenceMap")
def sequence_map(flat: Unroller, node: Node, inputs: list, prefix: str) -> list[Item]:
    own, captured = captured_by(node, inputs)
    body = node.attrs["body"]
    check_outputs(flat, node, body, len(node.outputs))
    lengths = {len(i) for i in own if isinstance(i, list)}
    if len(lengths) != 1 or not isinstance(own[0], list):
        raise flat.error(node, f"its sequences have the lengths {sorted(lengths)}; expected sequences of one length")
    rounds = []
    for k in range(lengths.pop()):
        flat.spend(node)
        items = [i[k] if isinstance(i, list) else i for i in own]
        rounds.append(flat.call(node, body, items, captured, f"{prefix}{node.name}/{k}/"))
    return [[r[o] for r in rounds] for o in range(len(body.outputs))]


# ---- tensors into slices and back ---------------------------------------------------------------------


def cut(flat: Unroller, node: Node, prefix: str, x: str, axis: int, length: int, *, squeeze: bool = True) -> list[str]:
    """x in slices of size 1 along an axis, which goes away."""
    if length == 0:
        return []
    flat.spend(node, length)
    found = [x] if length == 1 else flat.emit(node, prefix, "Split", x, axis=axis, num_outputs=length, outputs=length)
    return [flat.emit(node, prefix, "Squeeze", c, (axis,))[0] for c in found] if squeeze else found


def stacked(flat: Unroller, node: Node, prefix: str, found: Sequence[Item], axis: int, like: Value) -> str:
    """Tensors one after another along a new axis.  like: what one of them is, for the case that there is none."""
    if not all(isinstance(item, str) for item in found):
        raise flat.error(node, "what it collects are sequences; expected tensors")
    if found:
        parts = [flat.emit(node, prefix, "Unsqueeze", item, (axis,))[0] for item in found]
        return parts[0] if len(parts) == 1 else flat.emit(node, prefix, "Concat", *parts, axis=axis)[0]
    if like.shape is None:
        raise flat.error(node, f"it never runs, and its subgraph does not say the shape of {like.name!r}")
    shape = [d if isinstance(d, int) else 0 for d in like.shape]
    if not -len(shape) - 1 <= axis <= len(shape):
        raise flat.error(node, f"axis {axis} is outside a tensor of rank {len(shape) + 1}")
    shape.insert(axis % (len(shape) + 1), 0)
    return flat.constant(node, prefix, "empty", np.zeros(shape, like.dtype))
