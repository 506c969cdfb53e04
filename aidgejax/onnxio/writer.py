"""Graph -> ONNX model.  Names survive; every file is checked before it is written, and appears whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import ModelFileError
from ..graph import Graph, Node, Value
from ..ops import Operator, check_known, lookup
from ..walk import infer_shapes
from .standard import in_standard_operators

OLDEST_OPSET = 13
# The oldest IR version that may carry an opset: what a runtime that knows the opset reads.
IR_OF_OPSET = ((14, 7), (18, 8), (20, 9), (22, 10), (23, 11), (24, 12), (10**9, 13))
CONSTANTS = "aidgejax.constants"


def write(graph: Graph, path: Any, params: Mapping[str, Any] | None = None,
          buffers: Mapping[str, Any] | None = None, *, opset: int | None = None) -> None:
    """Write a graph to an ONNX file; `params` and `buffers` replace the graph's own arrays.

    The model passes onnx's full checker, or ModelFileError is raised and nothing is written; a file of that name
    is replaced only by a complete one.
    """
    model = to_model(graph, params, buffers, opset=opset)
    path = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ModelFileError(f"cannot write {path!r}: there is no folder {folder!r}")
    handle, temporary = tempfile.mkstemp(prefix=".aidgejax-", suffix=".onnx", dir=folder)
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(model.SerializeToString())
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def to_model(graph: Graph, params: Mapping[str, Any] | None = None, buffers: Mapping[str, Any] | None = None, *,
             opset: int | None = None) -> onnx.ModelProto:
    """The ModelProto that `write` writes.

    opset: of the default domain; default: the lowest that has every operator in the form used here.
    """
    check_known(graph.nodes, f"graph {graph.name!r}")
    graph = graph.with_params(dict(params or {}), dict(buffers or {})) if params or buffers else graph
    graph = in_standard_operators(infer_shapes(graph.check()), _schema_attributes)
    needed = max([OLDEST_OPSET, *(lookup(n.op).onnx[1] for n in graph.nodes if lookup(n.op).onnx[0] == "")])
    if opset is not None and opset < needed:
        worst = max((n for n in graph.nodes if lookup(n.op).onnx[0] == ""), key=lambda n: lookup(n.op).onnx[1])
        raise ModelFileError(f"graph {graph.name!r} cannot be written in opset {opset}: {worst.op} "
                             f"(node {worst.name!r}) needs {needed}")
    opset = opset or needed
    initializers = [numpy_helper.from_array(np.ascontiguousarray(p.data), p.name) for p in graph.producers.values()]
    nodes = []
    for n in graph.nodes:
        proto, constants = _node(graph, n)
        nodes.append(proto)
        initializers += constants
    body = helper.make_graph(
        nodes, graph.name or "graph",
        [_info(v) for v in graph.inputs.values()], [_info(graph.value(o)) for o in graph.outputs],
        initializer=initializers)
    domains = {"": opset} | {lookup(n.op).onnx[0]: 1 for n in graph.nodes if lookup(n.op).onnx[0]}
    model = helper.make_model(body, opset_imports=[helper.make_opsetid(d, v) for d, v in domains.items()],
                              ir_version=next(ir for top, ir in IR_OF_OPSET if opset <= top),
                              producer_name="aidgejax")
    fixed = [p.name for p in graph.producers.values() if p.role == "constant" and p.data.dtype.kind == "f"]
    if fixed:
        helper.set_model_props(model, {CONSTANTS: json.dumps(fixed)})
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as e:  # the checker raises several kinds, some of them plain RuntimeErrors
        raise ModelFileError(f"graph {graph.name!r} makes no valid ONNX model: {e}") from None
    return model


def _schema(operator: Operator) -> onnx.defs.OpSchema | None:
    domain, version = operator.onnx
    name = operator.name.rsplit(".", 1)[-1]
    return onnx.defs.get_schema(name, version, domain) if onnx.defs.has(name, domain) else None


def _schema_attributes(operator: Operator) -> set[str]:
    schema = _schema(operator) if operator.onnx else None
    return set(schema.attributes) if schema else set(operator.attributes)


def _node(graph: Graph, node: Node) -> tuple[onnx.NodeProto, list[TensorProto]]:
    operator = lookup(node.op)
    known, schema = _schema_attributes(operator), _schema(operator)
    names, constants = [], []
    for n, i in enumerate(node.inputs):
        if i is None or isinstance(i, str):
            names.append(i or "")
            continue
        name = f"{node.name}.{operator.inputs[n] if n < len(operator.inputs) else n}"
        constants.append(numpy_helper.from_array(np.asarray(i, _literal_dtype(graph, node, n, i, schema)), name))
        names.append(name)
    while names and not names[-1]:
        names.pop()
    proto = helper.make_node(operator.name.rsplit(".", 1)[-1], names, [o or "" for o in node.outputs], name=node.name,
                             domain=operator.onnx[0])
    for key, value in node.attrs.items():
        if key in known and value is not None:
            proto.attribute.append(_attribute(key, value, schema))
    return proto, constants


def _attribute(key: str, value: Any, schema: Any) -> onnx.AttributeProto:
    if isinstance(value, np.ndarray):
        value = numpy_helper.from_array(value)
    elif isinstance(value, bool):
        value = int(value)
    kind = schema.attributes[key].type if schema else None
    kind = None if kind is None else onnx.AttributeProto.AttributeType.Value(str(kind).rsplit(".", 1)[-1])
    if kind == onnx.AttributeProto.FLOAT:
        value = float(value)
    return helper.make_attribute(key, list(value) if isinstance(value, tuple) else value, attr_type=kind)


def _literal_dtype(graph: Graph, node: Node, at: int, literal: Any, schema: Any) -> Any:
    """The dtype of the neighbours: of an input, or else of an output, that shares its type in the schema."""
    if isinstance(literal, tuple):
        return np.int64
    if schema is None:
        return np.float32 if isinstance(literal, float) else type(literal)
    formal = lambda k: schema.inputs[min(k, len(schema.inputs) - 1)].type_str  # noqa: E731
    mine = formal(at)
    for k, i in enumerate(node.inputs):
        if isinstance(i, str) and formal(k) == mine:
            return _numpy_dtype(graph.value(i))
    for k, o in enumerate(node.outputs):
        if o and schema.outputs[min(k, len(schema.outputs) - 1)].type_str == mine:
            return _numpy_dtype(graph.value(o))
    if isinstance(literal, bool):
        return np.bool_
    if "int64" in mine or "(int64)" in str(schema.inputs[at].types):
        return np.int64
    return np.float32 if isinstance(literal, float) else np.int64


def _numpy_dtype(value: Value) -> Any:
    import ml_dtypes

    return getattr(ml_dtypes, value.dtype) if hasattr(ml_dtypes, value.dtype) else np.dtype(value.dtype)


def _info(value: Value) -> onnx.ValueInfoProto:
    shape = None if value.shape is None else [None if isinstance(d, str) and d.startswith("?") else d
                                              for d in value.shape]
    return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(np.dtype(_numpy_dtype(value))),
                                         shape)
