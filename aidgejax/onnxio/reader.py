"""ONNX model -> Graph.  Names survive; what cannot be read is refused with its name.

Initializers become parameters (training changes them), buffers (BatchNormalization's statistics) or constants, as
roles.py guesses or as the writer noted.  Nodes of older opsets are brought into today's form by versions.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from ..errors import AidgeJaxError, GraphError, ModelFileError
from ..graph import Dim, Graph, Value
from ..ops import lookup
from .batch import with_any_batch
from .checks import (
    check_node,
    check_operators,
    check_shape,
    check_tensor_names,
    check_type,
    check_versions,
    domain_of,
    execution_order,
    node_names,
)
from .claims import check_settings, check_sizes
from .rewrite import with_shapes
from .roles import guess_roles, is_float, noted_roles
from .schemas import registered, schema_of
from .standard import same
from .tensors import attribute_value, check_external, to_array
from .versions import in_todays_form, in_todays_form_by_rank

LARGEST_FILE = (1 << 31) - 1  # what protobuf can hold; larger models keep their data in a second file

Shapes = Mapping[str, Sequence[Dim]]


def read(source: Any, *, constants: Iterable[str] | None = None, shapes: Shapes | None = None,
         batch: str | None = None) -> Graph:
    """Read an ONNX model: a path, a ModelProto, or the bytes of a file.

    constants: names of initializers that training is to leave alone.
    shapes: {input: shape} where the model says less, or something else, than is meant.
    batch: a name, such as "N", for axis 0 of the inputs of a model that was exported with a fixed batch.
    Raises ModelFileError for a file that is no valid model, UnknownOperator listing all the operators that there
    are not, GraphError where shapes do not fit; each message names the tensor or the node.
    """
    where = repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else "the model"
    try:
        return _read(source, tuple(constants or ()), dict(shapes or {}), batch)
    except AidgeJaxError as e:
        raise type(e)(f"cannot read {where}: {e}") from e.__cause__
    except Exception as e:  # a file may be damaged in ways that only protobuf, NumPy or JAX notice
        raise ModelFileError(f"cannot read {where}: it is damaged: {type(e).__name__}: {e}") from e


def _read(source: Any, constants: Sequence[str], shapes: Shapes, batch: str | None) -> Graph:
    model = _load(source)
    opsets = check_versions(model)
    if check_external(model):
        if isinstance(source, ModelProto | bytes):
            raise ModelFileError("it keeps data in other files, which only a model read from a path may do: "
                                 "give the path of the model instead")
        model = _load_with_external_data(source)
    data = {t.name: to_array(t, f"initializer {t.name!r}") for t in model.graph.initializer}
    names = node_names(model.graph.node)
    check_tensor_names(model.graph, names)
    order = execution_order(model.graph.node, names)
    check_operators(model, names)
    for node, name in zip(model.graph.node, names, strict=True):
        check_node(node, name, opsets)
    graph = _build(model, data, names, order, shapes)
    opset = opsets.get("", 0)
    graph = in_todays_form(graph, opset)
    _check_attributes(graph)
    check_settings(graph)
    _assign_roles(graph, model, constants)
    return _with_shapes(graph, model, opset, batch)


# ---- loading ------------------------------------------------------------------------------------------


def _load(source: Any) -> ModelProto:
    """The model as it is stored, without data in other files."""
    if isinstance(source, ModelProto):
        return source
    data = source if isinstance(source, bytes) else _content(source)
    try:
        return onnx.load_model_from_string(data)
    except Exception as e:
        raise ModelFileError(f"its {len(data)} bytes are not an ONNX model ({e})") from None


def _content(source: Any) -> bytes:
    if not isinstance(source, str | os.PathLike):
        raise ModelFileError(f"expected a path, a ModelProto or bytes, got {type(source).__name__}")
    path = Path(source)
    try:
        if not path.exists():
            raise ModelFileError("there is no such file")
        if not path.is_file():
            raise ModelFileError("it is not a file")
        if path.stat().st_size > LARGEST_FILE:
            raise ModelFileError(f"the file has {path.stat().st_size} bytes; an ONNX file has at most {LARGEST_FILE}, "
                                 f"and keeps the data of larger models beside it")
        return path.read_bytes()
    except (OSError, ValueError) as e:
        if isinstance(e, AidgeJaxError):
            raise
        raise ModelFileError(f"the file cannot be opened: {e}") from None


def _load_with_external_data(source: Any) -> ModelProto:
    try:
        return onnx.load(os.fspath(source), format="protobuf")
    except Exception as e:  # onnx refuses paths that lead out of the folder, links, and what is too short
        raise ModelFileError(f"its external data cannot be read: {e}") from None


# ---- building -----------------------------------------------------------------------------------------


def _build(model: ModelProto, data: Mapping[str, np.ndarray], names: Sequence[str], order: Sequence[int],
           shapes: Shapes) -> Graph:
    """The graph as the model says it, still in the forms of the model's opset."""
    body = model.graph
    graph = Graph(body.name or "graph")
    graph.metadata |= {p.key: p.value for p in model.metadata_props}
    for name, array in data.items():
        graph.constant(name, array)
    wrong = [s for s in shapes if s not in {i.name for i in body.input}]
    if wrong:
        raise GraphError(f"`shapes` names {', '.join(map(repr, wrong))}, but the inputs are "
                         f"{', '.join(repr(i.name) for i in body.input) or 'none'}")
    for info in body.input:
        dtype, shape = check_type(info, "input"), check_shape(info, "input")
        if info.name in data:
            _check_default(Value(info.name, shape, dtype), data[info.name])
        else:
            graph.input(info.name, shapes.get(info.name, shape), dtype)
    for k in order:
        node = body.node[k]
        if node.op_type == "Constant" and domain_of(node.domain) == "":
            graph.constant(node.output[0], _constant(node, names[k]))
            continue
        domain = domain_of(node.domain)
        attrs = {a.name: attribute_value(a, f"attribute {a.name!r} of node {names[k]!r} ({node.op_type})")
                 for a in node.attribute}
        graph.add(registered(domain, node.op_type) or node.op_type, [i or None for i in node.input], attrs,
                  names=[o or None for o in node.output], name=names[k], domain=domain)
    for info in body.output:
        graph.output(info.name)
    return graph


def _check_default(declared: Value, data: np.ndarray) -> None:
    """An initializer that is declared as an input too (always, before IR version 4) must be what is declared."""
    fits = declared.shape is None or (len(declared.shape) == data.ndim and
                                      all(not isinstance(d, int) or d == n
                                          for d, n in zip(declared.shape, data.shape, strict=True)))
    if not fits or declared.dtype != data.dtype.name:
        raise ModelFileError(f"initializer {declared.name!r} is {data.dtype.name}{list(data.shape)}, but is declared "
                             f"as the input {declared}")


def _constant(node: NodeProto, name: str) -> np.ndarray:
    where = f"node {name!r} (Constant)"
    if len(node.attribute) != 1:
        raise ModelFileError(f"{where} has {len(node.attribute)} values; expected one")
    a = node.attribute[0]
    if a.name.startswith("value_string"):
        raise ModelFileError(f"{where} holds strings, which aidgejax does not compute with")
    value = attribute_value(a, f"attribute {a.name!r} of {where}")
    if a.name == "value":
        return value
    return np.asarray(value, np.int64 if a.name.startswith("value_int") else np.float32)


def _check_attributes(graph: Graph) -> None:
    """Attributes that ONNX has and our operator has not must be at ONNX's default; they are left off."""
    for k, node in enumerate(graph.nodes):
        operator = lookup(node.op)
        foreign = [a for a in node.attrs if a not in operator.attributes]
        if foreign:
            defaults = _defaults(operator)
            set_ = [f"{a}={node.attrs[a]}" for a in foreign if not same(node.attrs[a], defaults.get(a))]
            if set_:
                raise ModelFileError(f"node {node.name!r} ({node.op}) has {', '.join(set_)}, which aidgejax does not "
                                     f"have; its attributes are {', '.join(operator.attributes) or 'none'}")
            attrs = {a: v for a, v in node.attrs.items() if a not in foreign}
            graph.nodes[k] = type(node)(node.op, node.inputs, node.outputs, attrs, node.name, node.domain)
        if not operator.variadic and len(node.inputs) > len(operator.inputs):
            raise ModelFileError(f"node {node.name!r} ({node.op}) has {len(node.inputs)} inputs; expected at most "
                                 f"{len(operator.inputs)} ({', '.join(operator.inputs)})")


def _defaults(operator: Any) -> dict[str, Any]:
    schema = schema_of(operator)
    if schema is None:
        return {}
    return {k: attribute_value(a.default_value, k) for k, a in schema.attributes.items() if a.default_value.name}


def _assign_roles(graph: Graph, model: ModelProto, constants: Sequence[str]) -> None:
    stored = {t.name for t in model.graph.initializer}
    missing = [c for c in constants if c not in stored]
    if missing:
        raise GraphError(f"`constants` names {', '.join(map(repr, missing))}, but the initializers are "
                         f"{', '.join(map(repr, sorted(stored))) or 'none'}")
    noted = noted_roles(graph.metadata)
    guessed = guess_roles(graph)
    for name, producer in graph.producers.items():
        role = guessed[name] if name in stored else "constant"
        role = noted.get(name, role) if is_float(producer.data) else role
        producer.role = "constant" if name in constants else role


# ---- shapes -------------------------------------------------------------------------------------------


def _with_shapes(graph: Graph, model: ModelProto, opset: int, batch: str | None) -> Graph:
    declared = {o.name: Value(o.name, check_shape(o, "output"), check_type(o, "output"))
                for o in model.graph.output if o.type.WhichOneof("value")}
    graph = _inferred(graph)
    ranked = in_todays_form_by_rank(graph, opset)
    graph = graph if ranked is graph else with_shapes(ranked)
    check_sizes(graph)
    for name, value in declared.items():
        found = graph.value(name).dtype
        if found is None:
            graph.values[name] = value
        elif found != value.dtype:
            raise ModelFileError(f"output {name!r} is declared as {value.dtype}, but is computed as {found}")
    return graph if batch is None else with_any_batch(graph, batch)


def _inferred(graph: Graph) -> Graph:
    """Shapes, after sizes that the model leaves open have got names: each its own, or if that does not work, one
    for each axis."""
    opened = [(v.name, k) for v in graph.inputs.values() for k, d in enumerate(v.shape or ()) if d is None]
    own = {(name, k): f"{name}_{k}" for name, k in opened}
    common = {(name, k): "N" if k == 0 else f"size_{k}" for name, k in opened}
    try:
        return with_shapes(_with_sizes(graph, own))
    except GraphError:
        if len(opened) < 2:
            raise
    return with_shapes(_with_sizes(graph, common))


def _with_sizes(graph: Graph, sizes: Mapping[tuple[str, int], str]) -> Graph:
    twin = graph.copy()
    for name, v in graph.inputs.items():
        if v.shape is not None:
            shape = tuple(sizes.get((name, k), d) for k, d in enumerate(v.shape))
            twin.inputs[name] = Value(name, shape, v.dtype)
    return twin
