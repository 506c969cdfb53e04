"""The file that a graph was read from, so that what is written is that file with what was trained changed in it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto

from ..errors import ModelFileError
from ..graph import Graph
from .tensors import every_tensor

LARGEST_KEPT = 1 << 28  # bytes of a model that was given as an object, and has no file to be read from again
COARSEST = 2 * 10**9  # nanoseconds: what a file system may round the time of a change to

Stamp = tuple[int, int]


@dataclass
class OnDisk:
    """How the files of a model are, as far as we know: what copies of a graph share, and what writing over it changes.

    stamp: size of the model's file and when it was changed; digest: its SHA-256 where that was so short before it was
    read that a later change need not show in the stamp, else "".  outside: {file with data: its stamp}.
    replaced: the file was written anew, and is no longer what was read.
    """

    stamp: Stamp = (0, 0)
    digest: str = ""
    outside: Mapping[str, Stamp] = field(default_factory=dict)
    replaced: bool = False

    def __deepcopy__(self, memo: Any) -> OnDisk:
        return self


@dataclass(frozen=True)
class Retargeted:
    """The node that writes `output` takes these numbers as its input at `position`."""

    output: str
    position: int
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Expanded:
    """The node that writes `output` takes its input at `position`, of size 1 along `axis`, as large as `like` there."""

    output: str
    position: int
    rank: int
    axis: int
    like: str
    like_axis: int


@dataclass(frozen=True)
class Edits:
    """What was asked for when a file was read: what is written into it has it too.

    inputs, outputs: where the graph was cut; None for not at all.  given: shapes of inputs, as they were given.
    values: inputs that became constants.  sizes: the inputs of which the graph says other sizes than the file.
    """

    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    sizes: tuple[str, ...] = ()
    nodes: tuple[Retargeted | Expanded, ...] = ()

    def __bool__(self) -> bool:
        return self.inputs is not None or self.outputs is not None or bool(self.values or self.sizes or self.nodes)


@dataclass(frozen=True)
class Source:
    """What a file said, and what was made of it.

    path, disk: where the file is, and how; model: the bytes instead, of one that was no file.
    plain: the graph as it was read.  opset, ir: the versions that the file names.
    packed: {tensor: as it was read} of those that the file holds in another form, such as several integers in a byte.
    edits: what reading changed in it; a sentence where a file of this kind cannot say that.
    """

    plain: Graph
    opset: int
    ir: int
    path: str | None = None
    model: bytes | None = None
    packed: Mapping[str, np.ndarray] = field(default_factory=dict)
    disk: OnDisk = field(default_factory=OnDisk)
    edits: Edits | str = field(default_factory=Edits)


def source_of(
    given: Any,
    model: ModelProto,
    graph: Graph,
    packed: Iterable[str] = (),
    edits: Edits | str = "",
    stamp: Stamp = (0, 0),
) -> Source | None:
    """What to remember of a model that is read; None for a large one that is no file.

    packed: the tensors that the graph holds in another form than the file.  stamp: of the file, before it was read.
    """
    kept = {name: graph.producers[name].data for name in packed if name in graph.producers}
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    plain = graph.copy()
    plain.producers = {}
    if isinstance(given, str | os.PathLike):
        path = os.path.abspath(given)
        disk = OnDisk(stamp, _digest_where_young(path), _beside(path, model))
        return Source(plain, opset, model.ir_version, path, None, kept, disk, edits)
    size = given.ByteSize() if isinstance(given, ModelProto) else len(given)
    if size > LARGEST_KEPT:
        return None
    data = given.SerializeToString() if isinstance(given, ModelProto) else bytes(given)
    return Source(plain, opset, model.ir_version, model=data, packed=kept, edits=edits)


def stamp_of(path: Any) -> Stamp:
    """Size of a file, and when it was changed; (0, 0) where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _digest_where_young(path: str) -> str:
    """SHA-256 of a file that was changed a moment ago: it may change again without another stamp.  Else ""."""
    found = os.stat(path)
    return _digest(path) if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < COARSEST else ""


def _digest(path: str) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _has_changed(path: str, disk: OnDisk) -> bool:
    """Raises OSError where the file cannot be read."""
    if disk.digest:
        return _digest(path) != disk.digest
    os.stat(path)
    return stamp_of(path) != disk.stamp


def _beside(path: str, model: ModelProto) -> dict[str, Stamp]:
    places = {e.value for _, t in every_tensor(model) for e in t.external_data if e.key == "location"}
    return {n: _stamp_beside(path, n) for n in places}


def _stamp_beside(path: str, name: str) -> Stamp:
    return stamp_of(os.path.join(os.path.dirname(os.path.realpath(path)), name))


def check_unchanged(source: Source) -> None:
    """Raise ModelFileError where the file, or one that holds its data, has changed since it was read."""
    if source.path is None:
        return
    try:
        changed = [source.path] if _has_changed(source.path, source.disk) else []
    except OSError as e:
        raise ModelFileError(f"{source.path!r}, which was read, cannot be patched: {e}; write with patch=False") from e
    changed += [name for name, stamp in source.disk.outside.items() if _stamp_beside(source.path, name) != stamp]
    if changed:
        raise ModelFileError(f"{changed[0]!r} has changed since it was read: write with patch=False, or read it again")


def written_over(source: Any, path: str, anew: bool) -> None:
    """A graph was written to this path: where that is the file that it came from, it is patched from that later."""
    if not isinstance(source, Source) or source.path is None:
        return
    if os.path.realpath(path) != os.path.realpath(source.path):
        return
    source.disk.replaced = source.disk.replaced or anew
    source.disk.stamp, source.disk.digest = stamp_of(path), _digest_where_young(path)
    if source.disk.outside:
        with open(source.path, "rb") as f:
            source.disk.outside = _beside(source.path, ModelProto.FromString(f.read()))


def why_not(graph: Graph, source: Any) -> str:
    """What keeps the file from being patched; "" where nothing does."""
    if not isinstance(source, Source):
        return "it was not read from a file"
    if isinstance(source.edits, str):
        return source.edits
    if source.disk.replaced:
        return "the file that was read has been replaced by another graph's"
    plain = source.plain
    if graph.outputs != plain.outputs:
        return f"its outputs are {', '.join(graph.outputs)}, and were {', '.join(plain.outputs)}"
    if graph.inputs != plain.inputs:
        return "its inputs have other shapes or types than in the file"
    if len(graph.nodes) != len(plain.nodes):
        return f"it has {len(graph.nodes)} nodes, and had {len(plain.nodes)}"
    changed = next(
        (n.name for n, m in zip(graph.nodes, plain.nodes, strict=True) if n is not m and not _same_but_momentum(n, m)),
        "",
    )
    if changed:
        return f"node {changed!r} was changed"
    packed = next((n for n, a in source.packed.items() if not _as_read(graph, n, a)), "")
    return f"{packed!r} was changed, which the file holds in the form of its kernel" if packed else ""


def new_momenta(graph: Graph, plain: Graph) -> dict[str, float]:
    """{output of a normalization: the momentum of its statistics} where it is another than in the graph as read."""
    pairs = zip(graph.nodes, plain.nodes, strict=True)
    return {n.output_names[0]: n.attrs["momentum"] for n, m in pairs if n is not m and not _same(n, m)}


def _same_but_momentum(n: Any, m: Any) -> bool:
    """The one attribute that is only for training, which a file can be patched with."""
    kept = "momentum" in n.attrs and "momentum" in m.attrs
    return _same(n.replace(attrs={**n.attrs, "momentum": m.attrs["momentum"]}) if kept else n, m)


def _as_read(graph: Graph, name: str, array: np.ndarray) -> bool:
    p = graph.producers.get(name)
    return p is not None and (p.data is array or np.array_equal(p.data, array))


def _same(n: Any, m: Any) -> bool:
    try:
        return bool(n == m)
    except ValueError:  # arrays among the attributes
        return False
