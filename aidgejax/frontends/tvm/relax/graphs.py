"""Changing the explicit graphs of functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ....graph import Graph, Node, Producer
from ....interpreter.shape_inference import infer_shapes
from ....passes.edit import with_renamed_tensors
from ....passes.mode import normalized
from .function import Function


def in_mode(function: Function, training: bool) -> Function:
    """The function with BatchNormalization and Dropout in training or in inference form."""
    changed = function.copy()
    graph = normalized(changed.graph, training)
    if not training:
        graph.nodes = [n for node in graph.nodes for n in _handed_on(node)]
    changed.graph = infer_shapes(graph)
    return changed


def _handed_on(node: Node) -> list[Node]:
    """BatchNormalization in inference form has one output in ONNX: the statistics that it hands on are Identities."""
    if node.op != "BatchNormalization":
        return [node]
    rest = [
        Node("Identity", (node.inputs[k + 2],), (o,), name=o) for k, o in enumerate(node.outputs) if k and o is not None
    ]
    return [node.replace(outputs=node.outputs[:1]), *rest]


def with_producers(
    function: Function, params: Mapping[str, Any], buffers: Mapping[str, Any], outputs: Mapping[str, str]
) -> Graph:
    """The function as a graph that brings these arrays along, for the rest of aidgejax.

    outputs: {name it is to have: tensor}, what it returns.
    """
    graph = function.graph.copy()
    for role, arrays in (("parameter", params), ("buffer", buffers)):
        for name, data in arrays.items():
            del graph.inputs[name]
            graph.producers[name] = Producer(name, np.asarray(data), role)
    names = {t: wanted for wanted, t in outputs.items() if t in graph.values and not graph.has(wanted)}
    graph = with_renamed_tensors(graph, names)
    graph.outputs = [names.get(t, t) for t in outputs.values()]
    graph.prune()
    return graph
