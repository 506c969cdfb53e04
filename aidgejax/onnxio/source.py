"""The file that a graph was read from, so that what is written is that file with what was trained changed in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from ..errors import ModelFileError
from ..graph import Graph
from .initializer_roles import KEY, note_roles
from .tensors import every_tensor, to_array

LARGEST_KEPT = 1 << 28  # bytes of a model that was given as an object, and has no file to be read from again


@dataclass(frozen=True)
class Source:
    """What a file said, and what was made of it.

    path, digest: where the file is, and its SHA-256; model: the bytes instead, of one that was no file.
    plain: the graph as it was read.  opset, ir: the versions that the file names.
    packed: {tensor: as it was read} of those that the file holds in another form, such as several integers in a byte.
    outside: {file with data: its size and when it was changed}, of those beside the model's.
    """

    plain: Graph
    opset: int
    ir: int
    path: str | None = None
    digest: str = ""
    model: bytes | None = None
    packed: Mapping[str, np.ndarray] = field(default_factory=dict)
    outside: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def source_of(given: Any, model: ModelProto, graph: Graph, packed: Iterable[str] = ()) -> Source | None:
    """What to remember of a model that is read; None for a large one that is no file.

    packed: the tensors that the graph holds in another form than the file.
    """
    kept = {name: graph.producers[name].data for name in packed if name in graph.producers}
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    plain = graph.copy()
    plain.producers = {}
    if isinstance(given, str | os.PathLike):
        path = os.path.abspath(given)
        places = {e.value for _, t in every_tensor(model) for e in t.external_data if e.key == "location"}
        beside = {n: _stamp(path, n) for n in places}
        return Source(plain, opset, model.ir_version, path, _digest(path), None, kept, beside)
    size = given.ByteSize() if isinstance(given, ModelProto) else len(given)
    if size > LARGEST_KEPT:
        return None
    data = given.SerializeToString() if isinstance(given, ModelProto) else bytes(given)
    return Source(plain, opset, model.ir_version, model=data, packed=kept)


def _digest(path: str) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _stamp(path: str, name: str) -> tuple[int, int]:
    """Size and time of a file beside the model's; (0, 0) where there is none."""
    try:
        found = os.stat(os.path.join(os.path.dirname(os.path.realpath(path)), name))
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def check_unchanged(source: Source) -> None:
    """Raise ModelFileError where the file, or one that holds its data, has changed since it was read."""
    if source.path is None:
        return
    try:
        changed = [source.path] if _digest(source.path) != source.digest else []
    except OSError as e:
        raise ModelFileError(f"{source.path!r}, which was read, cannot be patched: {e}; write with patch=False") from e
    changed += [name for name, stamp in source.outside.items() if _stamp(source.path, name) != stamp]
    if changed:
        raise ModelFileError(f"{changed[0]!r} has changed since it was read: write with patch=False, or read it again")


def why_not(graph: Graph, source: Any) -> str:
    """What keeps the file from being patched; "" where nothing does."""
    if not isinstance(source, Source):
        return "it was not read from a file"
    plain = source.plain
    if graph.outputs != plain.outputs:
        return f"its outputs are {', '.join(graph.outputs)}, and were {', '.join(plain.outputs)}"
    if graph.inputs != plain.inputs:
        return "its inputs have other shapes or types than in the file"
    if len(graph.nodes) != len(plain.nodes):
        return f"it has {len(graph.nodes)} nodes, and had {len(plain.nodes)}"
    changed = next(
        (n.name for n, m in zip(graph.nodes, plain.nodes, strict=True) if n is not m and not _same(n, m)), ""
    )
    if changed:
        return f"node {changed!r} was changed"
    packed = next((n for n, a in source.packed.items() if not _as_read(graph, n, a)), "")
    return f"{packed!r} was changed, which the file holds in the form of its kernel" if packed else ""


def _as_read(graph: Graph, name: str, array: np.ndarray) -> bool:
    p = graph.producers.get(name)
    return p is not None and (p.data is array or np.array_equal(p.data, array))


def _same(n: Any, m: Any) -> bool:
    try:
        return bool(n == m)
    except ValueError:  # arrays among the attributes
        return False


def patched(graph: Graph, source: Source) -> ModelProto:
    """The model that was read with the graph's arrays in it, where they differ; all else is as it was.

    Raises ModelFileError where the file has changed since, or does not hold a tensor under its name.
    """
    model = ModelProto()
    if source.path is not None:
        check_unchanged(source)
        with open(source.path, "rb") as f:
            model.ParseFromString(f.read())
    else:
        model.ParseFromString(source.model or b"")
    stored = dict(_tensors(model.graph))
    for p in graph.producers.values():
        held = stored.get(p.name)
        if p.name in source.packed:
            continue
        if held is None:
            if p.role != "constant":
                raise ModelFileError(f"the file has no tensor {p.name!r} to patch: write with patch=False")
            continue
        if held.data_location == TensorProto.EXTERNAL:  # see exporter/beside.py
            continue
        before = to_array(held, f"initializer {p.name!r}")
        now = np.asarray(p.data).astype(before.dtype)
        if now.shape == before.shape and now.tobytes() != before.tobytes():
            name, doc = held.name, held.doc_string
            held.CopyFrom(numpy_helper.from_array(now, name))
            held.doc_string = doc
    _note(model, graph)
    return model


def _tensors(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    for t in graph.initializer:
        yield t.name, t
    for node in graph.node:
        for a in node.attribute:
            if node.op_type == "Constant" and a.type == AttributeProto.TENSOR:
                yield node.output[0], a.t
            elif a.type == AttributeProto.GRAPH:
                yield from _tensors(a.g)


def _note(model: ModelProto, graph: Graph) -> None:
    """The roles, where the structure does not say them, and what passes left in the metadata."""
    before = {p.key: p.value for p in model.metadata_props}
    props = {k: v for k, v in graph.metadata.items() if isinstance(v, str) and k != KEY}
    if noted := note_roles(graph):
        props[KEY] = noted
    if props != before:
        helper.set_model_props(model, props)
