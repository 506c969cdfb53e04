"""Graph -> ONNX model.  Names survive; every file is checked before it is written, and appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from ..errors import ModelFileError
from ..graph import Graph, Node, Value
from ..ops import check_known, lookup
from .rewrite import with_shapes
from .roles import KEY, note_roles
from .schemas import NEWEST_OPSET, attribute_type, onnx_name, same, schema_for, schema_of
from .standard import in_standard_operators
from .tensors import attribute_value

OLDEST_OPSET = 13
RECURRENT = ("RNN", "GRU", "LSTM")
# The oldest IR version that may carry an opset: what a runtime that knows the opset reads.
IR_OF_OPSET = ((14, 7), (18, 8), (20, 9), (22, 10), (23, 11), (24, 12), (27, 13), (NEWEST_OPSET, int(onnx.IR_VERSION)))
# Protobuf cannot hold 2 GiB; what is larger keeps its initializers in a second file.
LARGEST_MODEL = (1 << 31) - (1 << 20)


def write(
    graph: Graph,
    params: Mapping[str, Any] | None,
    path: Any,
    *,
    buffers: Mapping[str, Any] | None = None,
    opset: int | None = None,
) -> None:
    """Write a graph to an ONNX file; `params` and `buffers` replace the graph's own arrays.

    A model over 2 GiB keeps its data beside it in `<path>.data`.  The model passes onnx's full checker, or
    ModelFileError is raised and nothing is written; a file of that name is replaced only by a complete one.
    """
    model = _model(graph, params, buffers, opset)
    path = os.path.abspath(os.fspath(path))
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise ModelFileError(f"cannot write {path!r}: there is no folder {folder!r}")
    if os.path.isdir(path):
        raise ModelFileError(f"cannot write {path!r}: it is a folder")
    try:
        if _size(model) > LARGEST_MODEL:
            _write_in_two_files(graph, model, path)
        else:
            _check(graph, model)
            write_atomically(model.SerializeToString(), path)
    except OSError as e:
        raise ModelFileError(f"cannot write {path!r}: {e}") from e


def to_model(
    graph: Graph,
    params: Mapping[str, Any] | None = None,
    buffers: Mapping[str, Any] | None = None,
    *,
    opset: int | None = None,
) -> onnx.ModelProto:
    """The ModelProto that `write` writes.

    opset: of the default domain; default: the lowest that has every operator in the form used here.
    """
    model = _model(graph, params, buffers, opset)
    if _size(model) > LARGEST_MODEL:
        raise ModelFileError(
            f"graph {graph.name!r} holds {_size(model)} bytes, more than a ModelProto can; `write` "
            f"puts them into a second file"
        )
    _check(graph, model)
    return model


def _check(graph: Graph, model: onnx.ModelProto | str) -> None:
    """onnx's full checker, on a model or on a file; one of ours holds nothing that could harm it."""
    try:
        try:
            onnx.checker.check_model(model, full_check=True)
        except onnx.shape_inference.InferenceError as e:
            if "existing shape differ" not in str(e) or isinstance(model, str):
                raise
            # onnx infers one size too many for some pools with ceil_mode; the runtimes agree with us.
            for output in model.graph.output:
                for d in output.type.tensor_type.shape.dim:
                    d.Clear()
            onnx.checker.check_model(model, full_check=True)
    except Exception as e:  # the checker raises several kinds, some of them plain RuntimeErrors
        raise ModelFileError(f"graph {graph.name!r} makes no valid ONNX model: {e}") from None


# ---- files --------------------------------------------------------------------------------------------


def write_atomically(data: bytes, path: str) -> None:
    with whole_file(path) as f:
        f.write(data)


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name when all has been written."""
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "xb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _write_in_two_files(graph: Graph, model: onnx.ModelProto, path: str) -> None:
    """The data first, then the model that names it; an existing data file may belong to another model."""
    data = f"{path}.data"
    if os.path.lexists(data):
        raise ModelFileError(
            f"cannot write {path!r}: it is larger than 2 GiB and needs the file {data!r} for its "
            f"data, which exists; remove it, or choose another name"
        )
    folder = f"{path}.{secrets.token_hex(4)}.tmp"
    os.mkdir(folder)
    try:
        written = os.path.join(folder, os.path.basename(path))
        onnx.save_model(model, written, format="protobuf", save_as_external_data=True, location=os.path.basename(data))
        _check(graph, written)
        os.rename(f"{written}.data", data)
        try:
            os.replace(written, path)
        except BaseException:
            os.unlink(data)
            raise
    finally:
        shutil.rmtree(folder)


# ---- the model ----------------------------------------------------------------------------------------


def _model(
    graph: Graph, params: Mapping[str, Any] | None, buffers: Mapping[str, Any] | None, opset: int | None
) -> onnx.ModelProto:
    check_known(graph.nodes, f"graph {graph.name!r}")
    graph = graph.with_params(dict(params or {}), dict(buffers or {})) if params or buffers else graph
    graph = _with_required_outputs(in_standard_operators(with_shapes(graph.check())))
    opset = _opset(graph, opset)
    maker = _Maker(graph)
    nodes = [maker.node(n) for n in graph.nodes]
    body = helper.make_graph(
        nodes,
        graph.name or "graph",
        [type_of(graph, v) for v in graph.inputs.values()],
        [type_of(graph, graph.value(o)) for o in graph.outputs],
        initializer=[_tensor(p.data, p.name) for p in graph.producers.values()] + maker.literals,
    )
    domains = {"": opset} | {_home(graph, n)[0]: 1 for n in graph.nodes if _home(graph, n)[0]}
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid(d, v) for d, v in domains.items()],
        ir_version=next(ir for top, ir in IR_OF_OPSET if opset <= top),
        producer_name="aidgejax",
    )
    props = {k: v for k, v in graph.metadata.items() if isinstance(v, str) and k != KEY}
    if noted := note_roles(graph):
        props[KEY] = noted
    if props:
        helper.set_model_props(model, props)
    return model


def _with_required_outputs(graph: Graph) -> Graph:
    """ONNX wants some outputs to be named though nobody reads them: TopK's both, BatchNormalization's in training."""
    twin = graph.copy()
    for k, n in enumerate(graph.nodes):
        schema = schema_of(lookup(n.op))
        if schema is None:
            continue
        least = 3 if n.op == "BatchNormalization" and n.attrs.get("training_mode") else schema.min_output
        outputs = list(n.outputs) + [None] * (least - len(n.outputs))
        for at in range(least):
            if outputs[at] is None:
                outputs[at] = name = twin.fresh(f"{n.name}.{schema.outputs[at].name}")
                twin.values[name] = Value(name, None, None)
        twin.nodes[k] = replace(n, outputs=tuple(outputs))
    return twin


def _home(graph: Graph, node: Node) -> tuple[str, int]:
    """The domain of a standard operator, and the opset that gave it the form of this node."""
    domain, version = lookup(node.op).onnx or ("", 0)
    schema = schema_for(graph, node)
    return domain, max(version, schema.since_version) if schema else version


def _opset(graph: Graph, asked: int | None) -> int:
    homes = [(n, _home(graph, n)) for n in graph.nodes]
    worst, (_, youngest) = max((h for h in homes if h[1][0] == ""), key=lambda h: h[1][1], default=(None, ("", 0)))
    needed = max(OLDEST_OPSET, youngest)
    if asked is not None and asked < needed:
        why = (
            f"{worst.op} (node {worst.name!r}) needs {needed}"
            if worst and youngest == needed
            else f"{OLDEST_OPSET} is the lowest that is written"
        )
        raise ModelFileError(f"graph {graph.name!r} cannot be written in opset {asked}: {why}")
    if (asked or needed) > NEWEST_OPSET:
        raise ModelFileError(
            f"graph {graph.name!r} cannot be written in opset {asked or needed}: the installed onnx "
            f"{onnx.__version__} knows {NEWEST_OPSET}"
        )
    return asked or needed


class _Maker:
    """Makes NodeProtos; numbers that stand in a node's inputs become initializers, `literals`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.literals: list[TensorProto] = []
        self._taken: set[str] = set()

    def node(self, node: Node) -> onnx.NodeProto:
        operator = lookup(node.op)
        schema = schema_for(self.graph, node) or schema_of(operator)
        names = [
            i or "" if i is None or isinstance(i, str) else self._literal(node, k, i, operator, schema)
            for k, i in enumerate(node.inputs)
        ]
        while names and not names[-1]:
            names.pop()
        outputs = [o or "" for o in node.outputs]
        while outputs and not outputs[-1]:
            outputs.pop()
        domain, _ = operator.onnx or ("", 0)
        proto = helper.make_node(onnx_name(operator), names, outputs, name=node.name, domain=domain)
        # onnx's checker expands this one into its function body, and does not fill in the default there.
        spelled_out = operator.name == "MeanVarianceNormalization"
        attributes = {**operator.attributes, **node.attrs} if spelled_out else node.attrs
        if operator.name in RECURRENT and (shape := self.graph.value(node.inputs[2]).shape):
            attributes = {**attributes, "hidden_size": shape[2]}  # onnxruntime insists on it
        for key, value in attributes.items():
            if value is not None and (spelled_out or not _is_default(key, value, operator, schema)):
                proto.attribute.append(_attribute(node, key, value, schema))
        return proto

    def _free(self, stem: str) -> str:
        """A tensor name that nothing bears yet."""
        name, n = stem, 0
        while self.graph.has(name) or name in self._taken:
            n += 1
            name = f"{stem}_{n}"
        self._taken.add(name)
        return name

    def _literal(self, node: Node, k: int, literal: Any, operator: Any, schema: Any) -> str:
        name = self._free(f"{node.name}.{operator.inputs[k] if k < len(operator.inputs) else k}")
        self.literals.append(_tensor(np.asarray(literal, _literal_dtype(self.graph, node, k, literal, schema)), name))
        return name


def _tensor(data: np.ndarray, name: str) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(data).reshape(data.shape), name)


def _size(model: onnx.ModelProto) -> int:
    """About how many bytes the model takes, of which its initializers are nearly all."""
    return sum(len(t.raw_data) for t in model.graph.initializer)


def _is_default(key: str, value: Any, operator: Any, schema: Any) -> bool:
    if schema is None:
        return False
    if key not in schema.attributes:
        return True  # ours alone, and at its default: see standard.is_standard
    default = schema.attributes[key].default_value
    return bool(default.name) and same(attribute_value(default, key), value)


def _attribute(node: Node, key: str, value: Any, schema: Any) -> AttributeProto:
    kind = attribute_type(schema, key)
    if isinstance(value, np.ndarray):
        value = numpy_helper.from_array(value)
    elif isinstance(value, bool):
        value = int(value)
    elif isinstance(value, tuple):
        value = list(value)
    try:
        if kind == AttributeProto.FLOAT:
            value = float(value)
        return helper.make_attribute(key, value, attr_type=kind)
    except (TypeError, ValueError) as e:
        wanted = AttributeProto.AttributeType.Name(kind) if kind else "a number, text or a list"
        raise ModelFileError(
            f"node {node.name!r} ({node.op}) cannot be written: its attribute {key!r} is {value!r}, "
            f"expected {wanted} ({e})"
        ) from None


def _literal_dtype(graph: Graph, node: Node, at: int, literal: Any, schema: Any) -> np.dtype:
    """The dtype of the neighbours: of an input, or else of an output, that shares its type in the schema."""
    if isinstance(literal, tuple):
        return np.dtype(np.int64)
    if schema is None:
        return np.dtype(np.float32 if isinstance(literal, float) else type(literal))
    mine = _formal(schema.inputs, at).type_str
    for k, i in enumerate(node.inputs):
        if isinstance(i, str) and _formal(schema.inputs, k).type_str == mine:
            return _numpy_dtype(graph, graph.value(i))
    for k, o in enumerate(node.outputs):
        if o and _formal(schema.outputs, k).type_str == mine:
            return _numpy_dtype(graph, graph.value(o))
    allowed = {t.removeprefix("tensor(").removesuffix(")") for t in _formal(schema.inputs, at).types}
    if isinstance(literal, bool):
        return np.dtype(bool)
    if isinstance(literal, float) or "int64" not in allowed:  # of a type of its own, as a Pow's exponent
        floats = [v for v in map(graph.value, node.input_names) if v.is_float]
        return _numpy_dtype(graph, floats[0]) if floats else np.dtype(np.float32)
    return np.dtype(np.int64)


def _formal(formals: Any, k: int) -> Any:
    return formals[min(k, len(formals) - 1)]


def _numpy_dtype(graph: Graph, value: Value) -> np.dtype:
    if value.dtype is None:
        raise ModelFileError(
            f"the dtype of {value.name!r} in graph {graph.name!r} is not known: give the shapes of "
            f"the graph's inputs, so that it can be inferred"
        )
    for tensor_type in helper.get_all_tensor_dtypes():
        if (found := helper.tensor_dtype_to_np_dtype(tensor_type)).name == value.dtype:
            return found
    raise ModelFileError(f"{value} of graph {graph.name!r} has a dtype that ONNX does not have")


def type_of(graph: Graph, value: Value) -> onnx.ValueInfoProto:
    """A size that is not known, "?5", is left open; others, such as "2*N", are names to ONNX."""
    if value.shape is None:
        raise ModelFileError(
            f"graph {graph.name!r} cannot be written: how many axes {value.name!r} has is not known, "
            f"and ONNX wants it of every input and output; give the shapes of the inputs"
        )
    shape = [None if isinstance(d, str) and d.startswith("?") else d for d in value.shape]
    return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(_numpy_dtype(graph, value)), shape)
