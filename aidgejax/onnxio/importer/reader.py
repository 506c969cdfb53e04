"""ONNX model -> Graph.  Names survive; what cannot be read is refused with its name.

Initializers become parameters (training changes them), buffers (BatchNormalization's statistics) or constants, as
passes/roles.py decides or as the writer noted.  Nodes of older opsets are upgraded by opset_upgrade.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from ...errors import AidgeJaxError, GraphError, ModelFileError
from ...graph import Graph, Value
from ...interpreter.abstract_evaluation import symbols_of
from ...passes.control_flow import DataDependent, has_conditionals, is_dynamic, unrolled
from ...passes.control_flow.conditional import CONDITIONAL
from ...passes.mode import with_momentum
from ...passes.rewrite import with_shapes
from ...passes.roles import ANYWHERE, ASKED, Decided, decide_roles, is_float, with_roles
from ...passes.widen import widened
from ..initializer_roles import noted_roles
from ..source import source_of, stamp_of
from ..tensors import check_external
from .cutting import cut
from .dynamic_batch import with_dynamic_batch
from .edits import edits_of
from .function_inlining import expanded_by_onnx, inlined
from .given_shapes import Shapes, whole_shapes
from .graph_builder import build, check_nodes, checked
from .limits import check_sizes
from .opset_upgrade import upgraded_by_rank
from .outside_data import Numbers
from .packed_weights import packed_names
from .pipelines import keeps_weights, plain_pipeline
from .validate import check_count, check_operators, check_shape, check_type, check_versions

LARGEST_FILE = (1 << 31) - 1  # what protobuf can hold; larger models keep their data in a second file


def read(
    source: Any,
    *,
    parameters: Any = None,
    constants: Iterable[str] | None = None,
    inputs: Iterable[str] | None = None,
    outputs: Iterable[str] | None = None,
    shapes: Shapes | None = None,
    values: Mapping[str, Any] | None = None,
    batch: str | None = None,
    dtype: str | None = None,
    momentum: float | None = None,
) -> Graph:
    """Read an ONNX model: a path, a ModelProto, or the bytes of a file.

    constants: names or patterns of initializers that training is to leave alone.
    parameters: names or patterns ("head.*") of what training changes, exactly; also torch's
        dict(model.named_parameters()); left out, they are decided by structure, see `Graph.roles`.
    inputs, outputs: tensors at which the graph is cut before its operators are checked; the rest is not read.
    dtype: "float32" widens what the file holds in 16 bits; what is written has the file's types again.
    shapes: where the model says less, or something else, than is meant: {input: shape}, {input: {axis: size}} with an
        axis by its number or its name, or {name: size} of a size that the model gives a name.
    values: {input: array} of inputs that are to be constants, such as a flag that decides which branch is taken.
    batch: a name, such as "N", for axis 0 of the inputs of a model that was exported with a fixed batch.
    momentum: of running statistics, instead of the file's, which is 1.0 (never moving) in those of old exporters.
    Raises ModelFileError for a file that is no valid model, UnknownOperator listing all the operators that there
    are not, GraphError where shapes do not fit; each message names the tensor or the node.
    """
    where = repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else "the model"
    try:
        graph = _read(source, (parameters, constants), (inputs, outputs), dict(shapes or {}), dict(values or {}), batch)
        graph = graph if momentum is None else with_momentum(graph, momentum)
        return graph if dtype is None else with_shapes(widened(graph, dtype))
    except AidgeJaxError as e:
        raise type(e)(f"cannot read {where}: {e}") from e.__cause__
    except Exception as e:  # a file may be damaged in ways that only protobuf, NumPy or JAX notice
        raise ModelFileError(f"cannot read {where}: it is damaged: {type(e).__name__}: {e}") from e


def _read(
    source: Any,
    roles: tuple[Any, Any],
    ends: tuple[Any, Any],
    shapes: Shapes,
    values: Mapping[str, Any],
    batch: str | None,
) -> Graph:
    stamp = stamp_of(source) if isinstance(source, str | os.PathLike) else (0, 0)
    asked = _load(source)
    check_count(asked.graph)
    shapes = whole_shapes(asked.graph, shapes) if shapes else {}
    model = plain_pipeline(cut(asked, *ends, shapes))
    opsets = check_versions(model)
    external = check_external(model)
    if external:
        if isinstance(source, ModelProto | bytes):
            raise ModelFileError(
                "it keeps data in other files, which only a model read from a path may do: "
                "give the path of the model instead"
            )
        model = ModelProto.FromString(model.SerializeToString())  # what was asked for keeps its places outside
    numbers = Numbers(model, source) if external else Numbers()
    body = checked(model.graph, numbers=numbers)
    if model.functions:
        model = inlined(model, body, opsets)
        body = checked(model.graph, numbers=numbers)
    check_nodes(body, opsets)
    written = expanded_by_onnx(model, opsets)
    if written is not model:
        model, opsets, body = written, check_versions(written), checked(written.graph, numbers=numbers)
        check_nodes(body, opsets)
    check_operators(model.graph, body.names)
    opset = opsets.get("", 0)
    graph = build(body, opset, shapes)
    graph.metadata |= {p.key: p.value for p in model.metadata_props}
    graph = _written_out(_with_values(graph, values))
    before = _with_shapes(_with_decided_roles(graph, *roles), model, opset)
    graph = before if batch is None else with_dynamic_batch(before, batch)
    if keeps_weights(asked):
        part = cut(asked, *ends, shapes)
        edits = edits_of(part, ends, shapes, values, before, graph)
        graph.source = source_of(source, asked, graph, packed_names(part.graph), edits, stamp)
    return graph


def _with_values(graph: Graph, values: Mapping[str, Any]) -> Graph:
    """The graph with these inputs turned into constants."""
    for name, value in values.items():
        if name not in graph.inputs:
            raise GraphError(
                f"`values` names {name!r}, but the inputs are {', '.join(map(repr, graph.inputs)) or 'none'}"
            )
        declared, array = graph.inputs.pop(name), np.asarray(value)
        if not _fits(declared, array):
            raise GraphError(f"`values` gives {declared} an array {array.dtype.name}{list(array.shape)}")
        graph.constant(name, array)
    return graph


def _fits(declared: Value, array: np.ndarray) -> bool:
    sizes = declared.shape if declared.shape is not None else array.shape
    return (
        declared.dtype == array.dtype.name
        and len(sizes) == array.ndim
        and all(not isinstance(d, int) or d == n for d, n in zip(sizes, array.shape, strict=True))
    )


def _written_out(graph: Graph) -> Graph:
    """Without control flow and sequences, where all that decides about them is in the model; else as it is."""
    if not is_dynamic(graph):
        return graph
    try:
        flat, outputs = unrolled(graph)
    except DataDependent:
        return graph
    if has_conditionals(flat):
        try:
            known = _inferred(flat)
        except GraphError:  # branches that write other shapes are no one program
            return graph
        if any(known.value(o).shape is None for n in flat.nodes if n.op == CONDITIONAL for o in n.output_names):
            return graph  # whether they do is known when it runs
    return flat if all(isinstance(o, str) for o in outputs) else graph


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
            inside = next((p for p in (path / "model.onnx", *sorted(path.glob("*.onnx"))) if p.is_file()), None)
            raise ModelFileError("it is not a file" + (f"; give the model in it: {inside}" if inside else ""))
        if path.stat().st_size > LARGEST_FILE:
            raise ModelFileError(
                f"the file has {path.stat().st_size} bytes; an ONNX file has at most {LARGEST_FILE}, "
                f"and keeps the data of larger models beside it"
            )
        return path.read_bytes()
    except (OSError, ValueError) as e:
        if isinstance(e, AidgeJaxError):
            raise
        raise ModelFileError(f"the file cannot be opened: {e}") from None


# ---- roles --------------------------------------------------------------------------------------------


def _with_decided_roles(graph: Graph, parameters: Any, constants: Any) -> Graph:
    noted = noted_roles(graph.metadata)
    decided = decide_roles(graph)
    for name, producer in graph.producers.items():
        found = decided[name]
        if producer.role == "constant" and found.role == "parameter" and found.why not in ANYWHERE:
            found = Decided("constant", "is what a Constant node holds")
        producer.role, producer.why, producer.kind = found.role, found.why, found.kind
        if name in noted and is_float(producer.data):
            producer.role, producer.why = noted[name], ASKED
    return with_roles(graph, parameters, constants)


# ---- shapes -------------------------------------------------------------------------------------------


def _with_shapes(graph: Graph, model: ModelProto, opset: int) -> Graph:
    declared = {
        o.name: Value(o.name, check_shape(o, "output"), check_type(o, "output"))
        for o in model.graph.output
        if o.type.WhichOneof("value")
    }
    graph = _inferred(graph)
    ranked = upgraded_by_rank(graph, opset)
    graph = graph if ranked is graph else with_shapes(ranked)
    check_sizes(graph)
    for name, value in declared.items():
        found = graph.value(name).dtype
        if found is None:
            graph.values[name] = value
        elif found != value.dtype:
            raise ModelFileError(f"output {name!r} is declared as {value.dtype}, but is computed as {found}")
    return graph


def _inferred(graph: Graph) -> Graph:
    """Shapes, after sizes that the model leaves open have got names: each its own, and where the first axes turn out to
    be the same size, that is "N"."""
    opened = [(v.name, k) for v in graph.inputs.values() for k, d in enumerate(v.shape or ()) if d is None]
    found = with_shapes(_with_sizes(graph, {(name, k): f"{name}_{k}" for name, k in opened}))
    first = [(name, k) for name, k in opened if k == 0]
    same = {(found.inputs[name].shape or (None,))[0] for name, _ in first}
    if len(first) > 1 and len(same) == 1 and isinstance(next(iter(same)), str) and "N" not in symbols_of(found):
        sizes = {(name, k): "N" if k == 0 else f"{name}_{k}" for name, k in opened}
        return with_shapes(_with_sizes(graph, sizes))
    return found


def _with_sizes(graph: Graph, sizes: Mapping[tuple[str, int], str]) -> Graph:
    copy = graph.copy()
    for name, v in graph.inputs.items():
        if v.shape is not None:
            shape = tuple(sizes.get((name, k), d) for k, d in enumerate(v.shape))
            copy.inputs[name] = Value(name, shape, v.dtype)
    return copy
