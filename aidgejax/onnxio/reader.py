"""ONNX model -> Graph.  Names survive; what cannot be read is refused with its name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import ModelFileError
from ..graph import Graph
from ..ops import OPERATORS, check_known
from .writer import CONSTANTS


def read(source: Any, *, constants: Iterable[str] | None = None) -> Graph:
    """Read an ONNX model: a path, a ModelProto, or the bytes of a file.

    Floating initializers become parameters, except scalars, BatchNormalization's statistics (buffers), what the
    model itself marks as constant and what `constants` names; all other initializers become constants.
    Raises ModelFileError for a file that is no valid model, UnknownOperator listing all operators there are not.
    """
    model = _load(source)
    fixed = set(constants or ())
    for prop in model.metadata_props:
        if prop.key == CONSTANTS:
            fixed.update(json.loads(prop.value))
    body = model.graph
    graph = Graph(body.name or "graph")
    for tensor in body.initializer:
        data = numpy_helper.to_array(tensor)
        graph.producer(tensor.name, data, _role(body, tensor.name, data, fixed))
    for info in body.input:
        if info.name not in graph.producers:
            kind = info.type.tensor_type
            shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
            graph.input(info.name, shape if kind.HasField("shape") else None,
                        helper.tensor_dtype_to_np_dtype(kind.elem_type).name)
    for k, node in enumerate(body.node):
        name = node.name or f"{node.op_type}_{k}"
        if node.op_type == "Constant" and not node.domain:
            graph.constant(node.output[0], numpy_helper.to_array(helper.get_node_attr_value(node, "value")))
            continue
        attrs = {a.name: _attribute(a) for a in node.attribute}
        graph.add(node.op_type, [i or None for i in node.input], attrs, names=[o or None for o in node.output],
                  name=name, domain=node.domain)
    check_known(graph.nodes, f"model {graph.name!r}")
    for info in body.output:
        graph.output(info.name)
    return graph.check()


def _load(source: Any) -> onnx.ModelProto:
    if isinstance(source, onnx.ModelProto):
        return source
    try:
        if isinstance(source, bytes):
            return onnx.load_from_string(source)
        if not os.path.exists(source):
            raise ModelFileError(f"there is no file {os.fspath(source)!r}")
        return onnx.load(source)
    except ModelFileError:
        raise
    except Exception as e:
        raise ModelFileError(f"{source!r} is not an ONNX model: {e}") from None


def _role(body: onnx.GraphProto, name: str, data: np.ndarray, fixed: set[str]) -> str:
    if name in fixed or data.dtype.kind != "f" and data.dtype.name != "bfloat16":
        return "constant"
    for node in body.node:
        operator = OPERATORS.get(node.op_type)
        if operator and any(k < len(node.input) and node.input[k] == name for k in operator.updates):
            return "buffer"
    return "parameter" if data.ndim else "constant"


def _attribute(a: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(a)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if not isinstance(value, int | float | str):
        return tuple(v.decode() if isinstance(v, bytes) else v for v in value)
    return value
