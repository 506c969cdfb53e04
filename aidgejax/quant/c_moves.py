"""What a row's elements are made of: where each comes from, by the NumPy backend on the positions themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .. import reference
from ..errors import GraphError
from ..graph import Graph, Node

MOVES = ("Transpose", "Pad", "Split", "Slice", "DepthToSpace", "SpaceToDepth", "Expand")
HOST = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "Tanh", "Exp", "Identity")


def order_of(graph: Graph, node: Node, output: str, row: tuple[int, ...]) -> np.ndarray:
    """i[*row of the output]: the position in the input's row, -1 where a zero is put in.

    row: the input's sizes without the first axis.  Raises GraphError for what moves elements between rows.
    """
    side = Graph("order")
    side.input("x", (1, *row))
    side.nodes = [replace(node, inputs=("x", *node.inputs[1:]))]
    side.producers = {i: graph.producers[i] for i in node.input_names[1:] if i in graph.producers}
    count = int(np.prod(row, dtype=int))
    try:
        found = np.asarray(reference.execute(side, {"x": np.arange(1.0, count + 1).reshape(1, *row)})[output])
    except (ValueError, IndexError, KeyError):
        found = np.zeros(0)
    if found.ndim < 2 or found.shape[0] != 1:
        raise GraphError(f"node {node.name!r} ({node.op}) moves the rows: form 'c' computes one")
    return np.rint(found[0]).astype(np.int64) - 1


def left_to_the_host(graph: Graph) -> list[Node]:
    """The operators in floating point behind the last quantized tensor, in order: what a program in integers ends
    before."""
    writer, found = graph.writer(), []
    node = writer.get(graph.outputs[0])
    while node is not None and node.op in HOST:
        found.append(node)
        node = writer.get(node.input_names[0])
    return found[::-1]
