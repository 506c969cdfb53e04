"""Common-subexpression and constant deduplication."""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto, NodeProto, TensorProto

from ...ops import OPERATORS

DEFAULTS = {"pads": {0}, "strides": {1}, "dilations": {1}}  # of windows


def deduplicated(model: ModelProto, kept: Collection[str] = ()) -> None:
    """Let readers of a repeated constant or node read the first of them; change the model in place.

    kept: initializers that stay, because something is to be done with them by name.  Outputs of the model keep their
    nodes; random nodes and those of other domains are left alone.
    """
    body = model.graph
    instead = _equal_constants(body.initializer, kept)
    outputs = {o.name for o in body.output}
    first: dict[tuple, NodeProto] = {}
    nodes = []
    for node in body.node:
        for k, name in enumerate(node.input):
            node.input[k] = instead.get(name, name)
        key = None if outputs.intersection(node.output) else _meaning(node)
        same = None if key is None else first.setdefault(key, node)
        if same is None or same is node:
            nodes.append(node)
        else:
            instead |= _outputs_instead(node, same)
    constants = [t for t in body.initializer if t.name not in instead]
    for field, items in ((body.node, nodes), (body.initializer, constants)):
        del field[:]
        field.extend(items)


def _outputs_instead(node: NodeProto, same: NodeProto) -> dict[str, str]:
    """What to read instead of the node's outputs; what `same` does not say, an output or a default, it says then."""
    named = {a.name for a in same.attribute}
    same.attribute.extend(a for a in node.attribute if a.name not in named)
    same.output.extend([""] * (len(node.output) - len(same.output)))
    instead = {}
    for k, o in enumerate(node.output):
        if o and same.output[k]:
            instead[o] = same.output[k]
        elif o:
            same.output[k] = o
    return instead


def _equal_constants(constants: Collection[TensorProto], kept: Collection[str]) -> dict[str, str]:
    first: dict[tuple, str] = {}
    instead = {}
    for t in constants:
        if t.name not in kept and t.raw_data:
            name = first.setdefault((t.data_type, tuple(t.dims), t.raw_data), t.name)
            if name != t.name:
                instead[t.name] = name
    return instead


def _meaning(node: NodeProto) -> tuple | None:
    """Equal for nodes that compute the same; None where two of them need not."""
    operator = OPERATORS.get(node.op_type)
    if node.domain or operator is None or operator.random:
        return None
    attributes = sorted(
        a.SerializeToString(deterministic=True) for a in node.attribute if set(a.ints) != DEFAULTS.get(a.name)
    )
    return node.op_type, tuple(node.input), tuple(attributes)
