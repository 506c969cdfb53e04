"""What an output ends in: the softmax or sigmoid that a loss may begin with, past what only hands it on."""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import Graph, Node

HANDED_ON = ("Identity", "Cast", "Reshape", "Squeeze", "Flatten")
ACTIVATIONS = ("Softmax", "LogSoftmax", "Sigmoid")


def last_node(graph: Graph, tensor: str) -> Node | None:
    """The node that computes a tensor, past what only hands on; a Softmax that is written out as one node.

    A reshape is gone past where it only drops axes of 1 behind the last activation.
    """
    writer = graph.writer()
    node, shape = writer.get(tensor), graph.value(tensor).shape
    while node is not None and node.op in HANDED_ON:
        before = graph.value(node.inputs[0]).shape
        if before != shape and (shape is None or before is None or not same_but_ones(before, shape)):
            return node
        node = writer.get(node.inputs[0])
    node = _softmax(writer, node)
    same = node is None or node.op in ACTIVATIONS or graph.value(str(node.outputs[0])).shape == shape
    return node if same else writer.get(tensor)


def _softmax(writer: Mapping[str, Node], node: Node | None) -> Node | None:
    """exp(z) / sum(exp(z)) as the Softmax of z that it is; any other node as it is."""
    if node is None or node.op != "Div":
        return node
    exp, total = (writer.get(str(i)) for i in node.inputs)
    if exp is None or total is None or exp.op != "Exp" or total.op != "ReduceSum" or total.inputs[0] != exp.outputs[0]:
        return node
    scores = exp.inputs[0]
    less = writer.get(str(scores))
    most = writer.get(str(less.inputs[1])) if less is not None and less.op == "Sub" else None
    if less is not None and most is not None and most.op == "ReduceMax" and most.inputs[0] == less.inputs[0]:
        scores = less.inputs[0]
    return node.replace(op="Softmax", inputs=(scores,), attrs={})


def without_ones(sizes: tuple) -> tuple:
    """The sizes that are not 1."""
    return tuple(n for n in sizes if n != 1)


def same_but_ones(sizes: tuple, shape: tuple) -> bool:
    """Whether shapes are equal but for axes of 1 behind the first, and for sizes that are not numbers."""
    return fits(without_ones(sizes[1:]), without_ones(shape[1:]))


def fits(sizes: tuple, wanted: tuple) -> bool:
    """Whether the sizes are those that are wanted, where these are numbers."""
    return len(sizes) == len(wanted) and all(
        not isinstance(d, int) or d == n for d, n in zip(wanted, sizes, strict=True)
    )
