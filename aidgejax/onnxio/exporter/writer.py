"""Graph -> ONNX model.  Names survive; every file is checked before it is written, and appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from typing import Any

import onnx
from onnx import helper

from ...errors import ModelFileError
from ...files import write_atomically
from ...graph import Graph, Node, Value
from ...ops import check_known, lookup
from ...passes.control_flow.conditional import nodes_inside, with_branches
from ...passes.float_weights import integer_weights
from ...passes.rewrite import with_shapes
from ...passes.widen import narrowed
from ..initializer_roles import KEY, note_roles
from ..schemas import NEWEST_OPSET, schema_for, schema_of
from ..source import Source, why_not, written_over
from ..tensors import byte_count
from .beside import bring_all_inside, outside, write_beside
from .decompose import decomposed, for_runtimes
from .editing import NotExpressible
from .patching import patched
from .protos import _Maker, _tensor, type_of

OLDEST_OPSET = 13
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
    patch: bool | None = None,
) -> None:
    """Write a graph to an ONNX file; `params` and `buffers` replace the graph's own arrays.

    patch: True writes the file that the graph was read from with its arrays in it, and nothing else changed but what
        was asked for when it was read (a batch, shapes, ends); False writes the graph anew; None patches where no pass
        has changed what is inferred.

    A model over 2 GiB, and one whose file keeps its data in others, keeps its data beside it in `<path>.data`.  The
    model passes onnx's full checker, or ModelFileError is raised and nothing is written; a file of that name is
    replaced only by a complete one.
    """
    model, anew, graph = _model(graph, params, buffers, opset, patch)
    path = os.path.abspath(os.fspath(path))
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise ModelFileError(f"cannot write {path!r}: there is no folder {folder!r}")
    if os.path.isdir(path):
        raise ModelFileError(f"cannot write {path!r}: it is a folder")
    try:
        if not anew and isinstance(graph.source, Source) and outside(model):
            write_beside(graph, model, graph.source, path)
        elif _size(model) > LARGEST_MODEL:
            _write_in_two_files(graph, model, path)
        else:
            if anew:
                _check(graph, model)
            write_atomically(model.SerializeToString(), path)
        written_over(graph.source, path, anew)
    except OSError as e:
        raise ModelFileError(f"cannot write {path!r}: {e.strerror or e}") from e


def to_model(
    graph: Graph,
    params: Mapping[str, Any] | None = None,
    buffers: Mapping[str, Any] | None = None,
    *,
    opset: int | None = None,
    patch: bool | None = None,
) -> onnx.ModelProto:
    """The ModelProto that `write` writes.

    opset: of the default domain; default: that of the file that was read, or the lowest that has every operator in the
        form used here.  patch: see `write`.
    """
    model, anew, graph = _model(graph, params, buffers, opset, patch)
    beside = [] if anew else outside(model)
    held = sum(byte_count(t, t.name) for t in beside)
    if held + _size(model) > LARGEST_MODEL:
        raise ModelFileError(
            f"graph {graph.name!r} holds {held + _size(model)} bytes, more than a ModelProto can; `write` "
            f"puts them into a second file"
        )
    if anew:
        _check(graph, model)
    elif beside and isinstance(graph.source, Source):
        bring_all_inside(graph, model, graph.source)
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
    graph: Graph,
    params: Mapping[str, Any] | None,
    buffers: Mapping[str, Any] | None,
    opset: int | None,
    patch: bool | None,
) -> tuple[onnx.ModelProto, bool, Graph]:
    """The model, whether it is made anew (a file that was read is not checked again), and the graph with its arrays."""
    graph = graph.with_params(dict(params or {}), dict(buffers or {})) if params or buffers else graph
    graph = integer_weights(narrowed(graph.check()))
    if patch is not False and (patch or opset is None):
        reason = why_not(graph, graph.source)
        try:
            if not reason:
                return patched(graph, graph.source), False, graph
        except NotExpressible as e:
            reason = str(e)
        if patch:
            raise ModelFileError(f"graph {graph.name!r} cannot be written into the file that was read: {reason}")
    check_known(graph.nodes, f"graph {graph.name!r}")
    graph = _with_required_outputs(for_runtimes(decomposed(with_shapes(graph))))
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
    domains = {"": opset} | {_home(g, n)[0]: 1 for g, n in nodes_inside(graph) if _home(g, n)[0]}
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid(d, v) for d, v in domains.items()],
        ir_version=max(
            next(ir for top, ir in IR_OF_OPSET if opset <= top),
            graph.source.ir if isinstance(graph.source, Source) else 0,
        ),
        producer_name="aidgejax",
    )
    props = {k: v for k, v in graph.metadata.items() if isinstance(v, str) and k != KEY}
    if noted := note_roles(graph):
        props[KEY] = noted
    if props:
        helper.set_model_props(model, props)
    return model, True, graph


def _with_required_outputs(graph: Graph) -> Graph:
    """ONNX wants some outputs to be named though nobody reads them: TopK's both, BatchNormalization's in training."""
    copy = with_branches(graph, _with_required_outputs).copy()
    for k, n in enumerate(copy.nodes):
        schema = schema_of(lookup(n.op))
        if schema is None:
            continue
        least = 3 if n.op == "BatchNormalization" and n.attrs.get("training_mode") else schema.min_output
        outputs = list(n.outputs) + [None] * (least - len(n.outputs))
        for at in range(least):
            if outputs[at] is None:
                outputs[at] = name = copy.fresh(f"{n.name}.{schema.outputs[at].name}")
                copy.values[name] = Value(name, None, None)
        copy.nodes[k] = n.replace(outputs=tuple(outputs))
    return copy


def _home(graph: Graph, node: Node) -> tuple[str, int]:
    """The domain of a standard operator, and the opset that gave it the form of this node."""
    domain, version = lookup(node.op).onnx or ("", 0)
    schema = schema_for(graph, node)
    return domain, max(version, schema.since_version) if schema else version


def _opset(graph: Graph, asked: int | None) -> int:
    homes = [(n, _home(g, n)) for g, n in nodes_inside(graph)]
    worst, (_, youngest) = max((h for h in homes if h[1][0] == ""), key=lambda h: h[1][1], default=(None, ("", 0)))
    needed = max(OLDEST_OPSET, youngest)
    if asked is None and isinstance(graph.source, Source):
        needed = max(needed, graph.source.opset)
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


def _size(model: onnx.ModelProto) -> int:
    """About how many bytes the model takes, of which its initializers are nearly all."""
    return sum(len(t.raw_data) for t in model.graph.initializer)
