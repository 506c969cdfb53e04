"""Reading a model with its loss, whose target may have sizes under names of their own.

A target is an input that meets a prediction: in another graph its rows may be called "M" where the prediction's are
"4*N".  They are one size, and are given one name.
"""

from __future__ import annotations

from collections import Counter

from onnx import ModelProto, NodeProto

from ...errors import GraphError
from ...graph import Dim, Graph
from ..importer.reader import read
from ..importer.validate import check_shape

CLASS_LOSSES = ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
ELEMENTWISE = ("Sub", "Add", "Mul", "Div")


def read_with_label_shapes(model: ModelProto) -> Graph:
    """`read`; where sizes do not fit, once more with those of the targets that follow from the predictions."""
    try:
        return read(model)
    except GraphError:
        shapes = _of_targets(model)
        if not shapes:
            raise
        return read(model, shapes=shapes)


def _of_targets(model: ModelProto) -> dict[str, tuple[Dim, ...]]:
    declared = {i.name: check_shape(i, "input") for i in model.graph.input}
    users = Counter(d for shape in declared.values() for d in set(shape or ()) if isinstance(d, str))
    private = {
        name
        for name, shape in declared.items()
        if shape and any(d is None or isinstance(d, str) and users[d] == 1 for d in shape)
    }
    found: dict[str, tuple[Dim, ...]] = {}
    for node in model.graph.node:
        pair = [*node.input, "", ""][:2]
        for target, prediction in (pair, pair[::-1]):
            if target not in private or prediction in declared or target in found:
                continue
            if node.op_type in CLASS_LOSSES and target == pair[1]:
                shape = _shape(model, prediction)
                found |= {target: (shape[0], *shape[2:])} if shape else {}
            elif node.op_type in ELEMENTWISE:
                shape = _shape(model, prediction)
                found |= {target: shape} if shape and len(shape) == len(declared[target] or ()) else {}
    return found


def _shape(model: ModelProto, name: str) -> tuple[Dim, ...] | None:
    """The shape of a tensor as the nodes before it give it."""
    part = ModelProto()
    part.CopyFrom(model)
    needed = {name}
    kept: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.insert(0, node)
            needed.update(i for i in node.input if i)
    inputs = [i for i in model.graph.input if i.name in needed]
    for items, field in ((kept, part.graph.node), (inputs, part.graph.input)):
        del field[:]
        field.extend(items)
    del part.graph.output[:]
    part.graph.output.add().name = name
    try:
        return read(part).value(name).shape
    except GraphError:
        return None
