"""The front end's own operator for a node of a model: Conv2DOp, FCOp ..., with Aidge's attributes and methods.

It is taken where it writes just the node that the file has; whether it does is found by letting it write one.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ...dtypes import ONNX_CODES
from ...errors import AidgeJaxError
from ...graph import Graph, Node
from ...ops import lookup
from ..aidge_core.dtypes import of_numpy_dtype
from ..aidge_core.emission import Emission
from ..aidge_core.operator import Operator
from ..aidge_core.operators import CLASSES, TYPES
from ..aidge_core.operators.images import INTERPOLATION

# ONNX's name of an attribute: the argument of the class that makes it
ARGUMENTS = {
    "blocksize": "block_size",
    "coordinate_transformation_mode": "coord_transfo_mode",
    "cubic_coeff_a": "cubic_interpolation_coefficient_a",
    "keep_aspect_ratio_policy": "aspect_ratio",
}
RECURRENT = ("LSTM", "GRU")  # whose weights ONNX packs into one tensor


def own_operator(graph: Graph, node: Node, kind: str, attrs: dict[str, Any]) -> Operator | None:
    """An operator of the class <kind>Op that computes what the node does; None where there is none.

    attrs: the node's attributes under Aidge's names.
    """
    if kind not in CLASSES or kind in (*RECURRENT, "Producer"):
        return None
    values = {**_defaults(node), **node.attrs, **attrs}
    given = {ARGUMENTS.get(k, k): _plain(v) for k, v in values.items()}
    given |= _of_several(kind, node) | _literals(kind, node)
    given["nb_inputs"], given["nb_outputs"] = len(node.inputs), len(node.outputs)
    taken = inspect.signature(CLASSES[kind]).parameters
    chosen = {k: _like(v, taken[k].default) for k, v in given.items() if k in taken and v is not None}
    try:
        op = CLASSES[kind](**chosen)
        return op if _writes(op, graph, node) else None
    except AidgeJaxError:
        return None


def _defaults(node: Node) -> dict[str, Any]:
    return {k: v for k, v in dict(lookup(node.op).attributes).items() if v is not None}


def _of_several(kind: str, node: Node) -> dict[str, Any]:
    """Arguments that are no attribute of ONNX's by another name."""
    if kind == "Cast":
        name = next((n for n, code in ONNX_CODES.items() if code == node.attrs.get("to")), None)
        return {} if name is None else {"target_type": of_numpy_dtype(name)}
    if kind == "Resize":
        settings = {k: v for k, v in {**_defaults(node), **node.attrs}.items() if k in ("mode", "nearest_mode")}
        fits = (k for k, v in INTERPOLATION.items() if all(settings.get(a) == b for a, b in v.items()))
        return {"interpolation_mode": next(fits, "linear")}
    return {}


def _literals(kind: str, node: Node) -> dict[str, Any]:
    """Inputs that the core keeps in the node itself, such as axes: attributes of the same name."""
    names = [name.removesuffix("_input").removesuffix("_empty_tensor") for name, _ in TYPES[kind].inputs]
    return {
        name: list(i) if isinstance(i, tuple) else i
        for name, i in zip(names, node.inputs, strict=False)
        if i is not None and not isinstance(i, str)
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _like(value: Any, default: Any) -> Any:
    return bool(value) if isinstance(default, bool) else value


def _writes(op: Operator, graph: Graph, node: Node) -> bool:
    """Does the operator write this node, and nothing else?"""
    if op.nb_inputs() < len(node.inputs):
        return False
    scratch = Graph("scratch")
    emission = Emission(scratch, {})
    emission.name, emission.outputs = "node", op.nb_outputs()
    tensors: dict[str, Any] = {}
    for name in dict.fromkeys(node.input_names):
        known = graph.value(name)
        tensors[name] = scratch.input(name, known.shape, known.dtype or "float32")
        emission.ranks[name] = None if known.shape is None else len(known.shape)
    inputs = [tensors.get(i) if isinstance(i, str) else None for i in node.inputs]
    inputs += [None] * (op.nb_inputs() - len(inputs))
    op.emit(emission, *inputs)
    if len(scratch.nodes) != 1 or scratch.producers:
        return False
    written = scratch.nodes[0]
    if written.op != node.op or len(written.outputs) < len(node.outputs):
        return False
    return _trimmed(written.inputs) == _trimmed(node.inputs) and _equal(written, node)


def _trimmed(inputs: tuple[Any, ...]) -> list[Any]:
    found = list(inputs)
    while found and found[-1] is None:
        found.pop()
    return found


def _equal(written: Node, node: Node) -> bool:
    mine, theirs = ({**_defaults(n), **n.attrs} for n in (written, node))
    return all(_same(_said(k, mine.get(k)), _said(k, theirs.get(k))) for k in {*mine, *theirs} - IMPLIED)


USUAL = {"strides": 1, "dilations": 1, "pads": 0}  # for every axis, where nothing is said


def _said(key: str, value: Any) -> Any:
    usual = value is not None and key in USUAL and all(v == USUAL[key] for v in value)
    return None if usual else value


IMPLIED = {"num_outputs", "kernel_shape"}  # said by the outputs and by the weight


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float | int) and isinstance(b, float | int):
        return bool(np.float32(a) == np.float32(b))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return (a or None) == (b or None) if not isinstance(a, np.ndarray) else np.array_equal(a, b)
