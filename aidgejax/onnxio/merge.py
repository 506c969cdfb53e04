"""What a model says twice, said once: equal constants, and nodes that compute the same from the same."""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto, NodeProto, TensorProto

from ..ops import OPERATORS


def merge_equals(model: ModelProto, kept: Collection[str] = ()) -> None:
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
            instead |= {o: s for o, s in zip(node.output, same.output, strict=True) if o}
    constants = [t for t in body.initializer if t.name not in instead]
    for field, items in ((body.node, nodes), (body.initializer, constants)):
        del field[:]
        field.extend(items)


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
    attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
    return node.op_type, tuple(node.input), tuple(map(bool, node.output)), tuple(attributes)
