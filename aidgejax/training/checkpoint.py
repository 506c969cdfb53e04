"""Checkpoints: one file that holds a pytree of arrays, safe to write and safe to read.

    save("run.aidge", state, {"epoch": 3})
    state = load("run.aidge", like=state)

Writing is atomic: whoever is killed while saving leaves the old file, never half of a new one.  Reading runs no code,
writes no file, and allocates nothing before its size is checked.  All that is wrong is a CheckpointError, and nothing
is returned before everything is verified.

The file is a zip of uncompressed members: manifest.json (structure, dtypes, shapes, checksums, meta, environment),
manifest.sha256, and each array as raw little-endian bytes.  The checksums detect damage, not forgery: there is no key.

Arrays that several processes hold together are not gathered: `save`, called in all of them, writes what each holds into
a file of its own, "<path>.<16 hexadecimal digits>.<process>", and then the file itself, which names these parts.  They
are read onto any number of devices and processes, of which each reads what it needs.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import secrets
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import jax
import jaxlib
import numpy as np

from ..dtypes import DTYPES
from ..errors import CheckpointError
from ..files import CHUNK, DAMAGE, Archive, whole_file
from .pieces import Box, Piece, assembled, box, boxes_here, held, pieces_of, what_is_wrong
from .processes import largest
from .pytrees import Leaf, check_fit, described, numbers_of, placed, plain_number, rebuild, take_apart

FORMAT, VERSION, IN_PARTS = "aidgejax checkpoint", 1, 2
MANIFEST, CHECKSUM = "manifest.json", "manifest.sha256"
MEMBER = re.compile(r"tensors/[0-9a-f]{64}")
PART = re.compile(r"[^/\\\0]{1,200}\.[0-9a-f]{16}\.\d{1,5}")


def save(path: str | os.PathLike, tree: Any, meta: dict[str, Any] | None = None) -> None:
    """Write the tree's arrays, PRNG keys and Python numbers to `path`, replacing what is there in one go.

    tree: dicts, lists, tuples, NamedTuples, dataclasses, None, any registered pytree, of arrays of any dtype.
    meta: whatever else JSON can hold; `describe` reads it back.
    Of several processes each has to call it where an array is split between them, with a path on a file system that all
    of them see.
    """
    path = Path(path)
    if not (meta is None or isinstance(meta, dict)):
        raise CheckpointError(f"cannot save {str(path)!r}: meta is a {type(meta).__name__}, expected a dict")
    leaves, arrays, structure = take_apart(tree)
    if any(isinstance(a, jax.Array) for a in arrays):
        _save_in_parts(path, leaves, arrays, structure, meta)
    else:
        _save_one(path, leaves, arrays, structure, meta)


def _save_one(
    path: Path, leaves: list[Leaf], arrays: list[Any], structure: Any, meta: dict[str, Any] | None,
    parts: Sequence[str] = (),
) -> None:  # fmt: skip
    """One file.  arrays: in NumPy, or the pieces, which `parts` hold."""
    entries: list[dict[str, Any]] = [
        asdict(leaf) | {"nbytes": array.nbytes, "sha256": _sha256(array), "file": _member(leaf.name)}
        if isinstance(array, np.ndarray)
        else asdict(leaf) | {"pieces": array}
        for leaf, array in zip(leaves, arrays, strict=True)
    ]
    try:
        manifest = json.dumps(
            {
                "format": FORMAT,
                "version": IN_PARTS if parts else VERSION,
                "meta": meta or {},
                "structure": structure,
                "environment": environment(),
                "leaves": entries,
            }
            | ({"parts": parts} if parts else {}),
            default=plain_number,
        ).encode()
    except (TypeError, ValueError, RecursionError) as e:
        raise CheckpointError(
            f"cannot save {str(path)!r}: meta must be what JSON can hold ({e}); arrays belong into the tree"
        ) from e
    members: dict[str, Any] = {MANIFEST: manifest, CHECKSUM: hashlib.sha256(manifest).hexdigest().encode()}
    members |= {e["file"]: array for e, array in zip(entries, arrays, strict=True) if "file" in e}
    try:
        _write(path, members)
    except OSError as e:
        raise CheckpointError(f"cannot save {str(path)!r}: {e.strerror or e}") from e


def _save_in_parts(
    path: Path, leaves: list[Leaf], arrays: list[Any], structure: Any, meta: dict[str, Any] | None
) -> None:
    """The parts first; then, when all are there, the file that names them; then those that it named before go.

    No process leaves before all agree, so that one that fails keeps none waiting.
    """
    path = Path(os.path.realpath(path))
    here, token = jax.process_index(), f"{largest(secrets.randbits(31)):08x}{largest(secrets.randbits(31)):08x}"
    kept = [pieces_of(a) if isinstance(a, jax.Array) else None for a in arrays]
    parts = [f"{path.name}.{token}.{k}" for k in range(jax.process_count())]
    mine = path.with_name(parts[here])
    problem: CheckpointError | None = None

    def attempt(write: Callable[[], None]) -> None:
        nonlocal problem
        try:
            write()
        except CheckpointError as e:
            problem = e
        if largest(problem is not None):
            mine.unlink(missing_ok=True)
            raise problem or CheckpointError(f"cannot save {str(path)!r}: another process could not write its part")

    def part() -> None:
        own = {
            f"{k}:{n}": held(arrays[k], piece)
            for k, pieces in enumerate(kept)
            for n, piece in enumerate(pieces or ())
            if piece.process == here
        }
        save(mine, own, {"token": token})

    def whole() -> None:
        if here == 0:
            listed = [a if pieces is None else pieces for a, pieces in zip(arrays, kept, strict=True)]
            _save_one(path, leaves, listed, structure, meta, parts)

    attempt(part)
    attempt(whole)
    if here == 0:
        for old in parts_of(path):
            if old.name not in parts:
                old.unlink(missing_ok=True)


def parts_of(path: str | os.PathLike[str]) -> list[Path]:
    """The parts that lie beside a checkpoint: its own, and what a killed writer left."""
    path = Path(path)
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return sorted(p for p in beside if p.name.startswith(f"{path.name}.") and PART.fullmatch(p.name))


def load(path: str | os.PathLike, like: Any = None) -> Any:
    """The tree that was saved.

    like: a tree of the structure, shapes and dtypes that are expected (arrays, or jax.ShapeDtypeStructs).  All names,
        shapes and dtypes are compared before anything is returned; the result has like's structure, and its arrays lie
        where like's do.
    Without it: dicts, lists and tuples as they were, NamedTuples and dataclasses as dicts, arrays in NumPy.
    Warns when it is read by another jax, or on another kind of machine, than it was written: then results may differ in
    the last bits.
    """
    if str(path).endswith(".onnx"):
        raise CheckpointError(f"{str(path)!r} is a model, not a checkpoint: aidgejax.onnxio.read reads it")
    with _Opened(path) as opened:
        if like is not None:
            expected, structures = described(like)
            check_fit(opened.path, opened.leaves, expected)
            by_name = {leaf.name: k for k, leaf in enumerate(opened.leaves)}
            places = structures.flatten_up_to(like)
            tree = structures.unflatten(
                [opened.read_onto(by_name[leaf.name], x) for leaf, x in zip(expected, places, strict=True)]
            )
        else:
            arrays = [opened.read(k) for k in range(len(opened.leaves))]
            tree = rebuild(opened.manifest["structure"], arrays)
        _warn_of_another_environment(opened)
    return tree


def describe(path: str | os.PathLike) -> dict[str, Any]:
    """{"meta", "environment", "leaves": {name: Leaf}} of a checkpoint, without reading its arrays."""
    with _Opened(path) as opened:
        return {
            "meta": opened.manifest["meta"],
            "environment": opened.manifest["environment"],
            "leaves": {leaf.name: leaf for leaf in opened.leaves},
        }


def environment() -> dict[str, Any]:
    """What bit-equal results depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = jax.devices()
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "machine": platform.machine(),
        "cores": cores,
        "XLA_FLAGS": " ".join(f for f in os.environ.get("XLA_FLAGS", "").split() if "timeout" not in f),
    }


# ---- writing ------------------------------------------------------------------------------------------


def _member(name: str) -> str:
    return f"tensors/{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _bytes(array: np.ndarray) -> memoryview:
    """The array's memory; little-endian, as on every machine that jax knows."""
    if sys.byteorder == "big":
        array = array.byteswap()
    return array.reshape(-1).view(np.uint8).data


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(_bytes(array)).hexdigest()


def _write(path: Path, members: dict[str, Any]) -> None:
    with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            view = _bytes(data) if isinstance(data, np.ndarray) else memoryview(data)
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                for k in range(0, len(view), CHUNK):
                    member.write(view[k : k + CHUNK])


# ---- reading ------------------------------------------------------------------------------------------


class _Opened:
    """A checkpoint whose manifest has been verified; `read` verifies and returns one array."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.archive = Archive(path, CheckpointError, "checkpoint")
        self.parts: dict[int, _Opened] = {}

    def __enter__(self) -> _Opened:
        self.archive.__enter__()
        try:
            self._open()
        except CheckpointError:
            self.archive.file.close()
            raise
        except DAMAGE as e:
            self.archive.file.close()
            raise self.archive.damaged(e) from None
        return self

    def __exit__(self, *error: Any) -> None:
        for part in self.parts.values():
            part.archive.__exit__()
        self.archive.__exit__()

    def read(self, k: int) -> Any:
        """Array, PRNG key or number k."""
        leaf, entry = self.leaves[k], self.manifest["leaves"][k]
        if "pieces" in entry:
            everything = (0,) * len(leaf.shape), leaf.shape
            return self._assembled(k, [everything])[everything]
        try:
            data: Any = np.empty(entry["nbytes"], np.uint8)
            self.archive.fill(entry["file"], data.data)
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                self._refuse(f"the content of {leaf.name} does not have the checksum that was written")
            if sys.byteorder == "big":
                data = data.view(DTYPES[leaf.dtype]).byteswap().view(np.uint8)
            array = data.view(DTYPES[leaf.dtype]).reshape(leaf.shape)
            if leaf.kind == "key":
                return jax.random.wrap_key_data(array, impl=leaf.impl)
            return array.item() if leaf.kind == "python" else array
        except CheckpointError:
            raise
        except DAMAGE as e:
            raise self.archive.damaged(e, f"{leaf.name}: ") from None

    def read_onto(self, k: int, like: Any) -> Any:
        """The same where `like` lies; of an array in pieces, those that this process needs."""
        pieces = self.manifest["leaves"][k].get("pieces")
        if pieces is None or not isinstance(like, jax.Array):
            return placed(self.read(k), like)
        leaf, where = self.leaves[k], like.sharding
        found = self._assembled(k, boxes_here(where, leaf.shape))
        return jax.make_array_from_callback(leaf.shape, where, lambda index: found[box(index, leaf.shape)])

    def _assembled(self, k: int, wanted: Iterable[Box]) -> dict[Box, np.ndarray]:
        leaf, pieces = self.leaves[k], [Piece(*p) for p in self.manifest["leaves"][k]["pieces"]]

        def read(n: int) -> np.ndarray:
            part = self._part(pieces[n].process)
            by_name = {x.name: j for j, x in enumerate(part.leaves)}
            name = f"['{k}:{n}']"
            if name not in by_name:
                self._refuse(f"its part {part.path!r} lacks a piece of {leaf.name}")
            data = part.read(by_name[name])
            if data.dtype != DTYPES[leaf.dtype] or data.shape != tuple(pieces[n].shape):
                self._refuse(f"a piece of {leaf.name} in {part.path!r} does not fit")
            return data

        try:
            return assembled(dict.fromkeys(wanted), pieces, read, DTYPES[leaf.dtype])
        except CheckpointError:
            raise
        except DAMAGE as e:
            raise self.archive.damaged(e, f"{leaf.name}: ") from None

    def _part(self, number: int) -> _Opened:
        """One of the files that this one names, open until this one is closed."""
        if number not in self.parts:
            path = Path(self.path).with_name(self.manifest["parts"][number])
            if not path.exists():
                self._refuse(f"its part {path.name!r} is not beside it: they belong together")
            part = _Opened(path)
            part.__enter__()
            self.parts[number] = part
            if part.manifest["meta"] != {"token": path.name.split(".")[-2]}:
                self._refuse(f"{path.name!r} is not the part that was written with it")
        return self.parts[number]

    def _open(self) -> None:
        self.members = self.archive.members
        for name in self.members:
            if name not in (MANIFEST, CHECKSUM) and not MEMBER.fullmatch(name):
                self._refuse(f"it has a member {name!r}, which does not belong into a checkpoint")
        for name in (MANIFEST, CHECKSUM):
            if name not in self.members:
                self._refuse(f"it has no {name}, so it is not an aidgejax checkpoint")
        text, checksum = (bytes(self.archive.read(n)) for n in (MANIFEST, CHECKSUM))
        if hashlib.sha256(text).hexdigest().encode() != checksum:
            self._refuse(f"{MANIFEST} does not have the checksum that was written")
        if text.count(b"[") + text.count(b"{") > 100_000 + 64 * len(self.members):
            self._refuse(f"{MANIFEST} lists far more than there is")
        self.manifest = json.loads(text)
        if not isinstance(self.manifest, dict) or self.manifest.get("format") != FORMAT:
            self._refuse("it is not an aidgejax checkpoint")
        parts = self.manifest.get("parts", [])
        if not isinstance(parts, list) or not all(isinstance(p, str) and PART.fullmatch(p) for p in parts):
            self._refuse(f"{MANIFEST} names parts that are none")
        if self.manifest.get("version") != (IN_PARTS if parts else VERSION):
            self._refuse(f"it has version {self.manifest.get('version')!r}; this aidgejax reads version {VERSION}")
        self.manifest["parts"] = parts
        self._check_manifest()

    def _check_manifest(self) -> None:
        if not all(
            isinstance(self.manifest.get(k), t) for k, t in (("leaves", list), ("meta", dict), ("environment", dict))
        ):
            self._refuse(f"{MANIFEST} lacks leaves, meta or environment")
        self.leaves = [self._check_leaf(entry) for entry in self.manifest["leaves"]]
        if len({leaf.name for leaf in self.leaves}) < len(self.leaves):
            self._refuse("two of its arrays have the same name")
        if sorted(numbers_of(self.manifest.get("structure"))) != list(range(len(self.leaves))):
            self._refuse("its structure does not name each array once")
        if set(self.members) != {MANIFEST, CHECKSUM} | {e["file"] for e in self.manifest["leaves"] if "file" in e}:
            self._refuse("its members are not those that the manifest lists")

    def _check_leaf(self, entry: Any) -> Leaf:
        name, dtype, shape = entry["name"], entry["dtype"], entry["shape"]
        kind, impl = entry["kind"], entry["impl"]
        if not isinstance(name, str) or not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
            self._refuse(f"array {name!r} has shape {shape!r}; expected sizes of 0 or more")
        if dtype not in DTYPES or kind not in ("array", "python", "key") or (kind == "python" and shape):
            self._refuse(f"array {name!r} is of dtype {dtype!r} and kind {kind!r}, which is unknown")
        if (kind == "key") != isinstance(impl, str):
            self._refuse(f"{name!r} has PRNG {impl!r}")
        if "pieces" in entry:
            wrong = what_is_wrong(entry["pieces"], shape, len(self.manifest["parts"]))
            if wrong or kind != "array" or "file" in entry:
                self._refuse(f"the pieces of {name!r} do not make up {shape}: {wrong}")
            return Leaf(name, dtype, tuple(shape), kind, impl)
        if entry["file"] != _member(name) or entry["file"] not in self.members:
            self._refuse(f"the content of {name!r} is missing")
        held = self.members[entry["file"]].file_size
        if not math.prod(shape) * DTYPES[dtype].itemsize == entry["nbytes"] == held:
            self._refuse(f"{name!r} is {dtype}{shape}, but its content has {held} bytes")
        return Leaf(name, dtype, tuple(shape), kind, impl)

    def _refuse(self, why: str) -> NoReturn:
        self.archive.refuse(why)


def _warn_of_another_environment(opened: _Opened) -> None:
    now, then = environment(), opened.manifest["environment"]
    differ = [f"{k} is {now[k]!r}, was {then.get(k)!r}" for k in now if now[k] != then.get(k)]
    if differ:
        warnings.warn(
            f"checkpoint {opened.path!r} was written elsewhere: {'; '.join(differ)}. Continued training may "
            f"differ in the last bits",
            UserWarning,
            stacklevel=3,
        )
