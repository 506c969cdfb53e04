"""Checkpoints: one file that holds a pytree of arrays, safe to write and safe to read.

    save("run.aidge", state, {"epoch": 3})
    state = load("run.aidge", like=state)

Writing is atomic: whoever is killed while saving leaves the old file, never half of a new one.  Reading runs no code,
writes no file, and allocates nothing before its size is checked.  All that is wrong is a CheckpointError, and nothing
is returned before everything is verified.

The file is a zip of uncompressed members: manifest.json (structure, dtypes, shapes, checksums, meta, environment),
manifest.sha256, and each array as raw little-endian bytes.  The checksums detect damage, not forgery: there is no key.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import sys
import warnings
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import jax
import jaxlib
import numpy as np

from ..dtypes import DTYPES
from ..errors import CheckpointError
from ..files import CHUNK, DAMAGE, Archive, whole_file
from .pytrees import Leaf, check_fit, described, numbers_of, placed, plain_number, rebuild, take_apart

FORMAT, VERSION = "aidgejax checkpoint", 1
MANIFEST, CHECKSUM = "manifest.json", "manifest.sha256"
MEMBER = re.compile(r"tensors/[0-9a-f]{64}")


def save(path: str | os.PathLike, tree: Any, meta: dict[str, Any] | None = None) -> None:
    """Write the tree's arrays, PRNG keys and Python numbers to `path`, replacing what is there in one go.

    tree: dicts, lists, tuples, NamedTuples, dataclasses, None, any registered pytree, of arrays of any dtype.
    meta: whatever else JSON can hold; `describe` reads it back.
    """
    path = Path(os.path.realpath(path))
    if not (meta is None or isinstance(meta, dict)):
        raise CheckpointError(f"cannot save {str(path)!r}: meta is a {type(meta).__name__}, expected a dict")
    leaves, arrays, structure = take_apart(tree)
    entries: list[dict[str, Any]] = [
        asdict(leaf) | {"nbytes": array.nbytes, "sha256": _sha256(array), "file": _member(leaf.name)}
        for leaf, array in zip(leaves, arrays, strict=True)
    ]
    try:
        manifest = json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "meta": meta or {},
                "structure": structure,
                "environment": environment(),
                "leaves": entries,
            },
            default=plain_number,
        ).encode()
    except (TypeError, ValueError, RecursionError) as e:
        raise CheckpointError(
            f"cannot save {str(path)!r}: meta must be what JSON can hold ({e}); arrays belong into the tree"
        ) from e
    members: dict[str, Any] = {MANIFEST: manifest, CHECKSUM: hashlib.sha256(manifest).hexdigest().encode()}
    members |= {e["file"]: array for e, array in zip(entries, arrays, strict=True)}
    try:
        _write(path, members)
    except OSError as e:
        raise CheckpointError(f"cannot save {str(path)!r}: {e.strerror or e}") from e


def load(path: str | os.PathLike, like: Any = None) -> Any:
    """The tree that was saved.

    like: a tree of the structure, shapes and dtypes that are expected (arrays, or jax.ShapeDtypeStructs).  All names,
        shapes and dtypes are compared before anything is returned; the result has like's structure, and its arrays lie
        where like's do.
    Without it: dicts, lists and tuples as they were, NamedTuples and dataclasses as dicts, arrays in NumPy.
    Warns when it is read by another jax, or on another kind of machine, than it was written: then results may differ in
    the last bits.
    """
    with _Opened(path) as opened:
        if like is not None:
            expected, structures = described(like)
            check_fit(opened.path, opened.leaves, expected)
            by_name = {leaf.name: k for k, leaf in enumerate(opened.leaves)}
            arrays = [opened.read(by_name[leaf.name]) for leaf in expected]
            places = structures.flatten_up_to(like)
            tree = structures.unflatten(placed(a, x) for a, x in zip(arrays, places, strict=True))
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
        self.archive.__exit__()

    def read(self, k: int) -> Any:
        """Array, PRNG key or number k."""
        leaf, entry = self.leaves[k], self.manifest["leaves"][k]
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
        if self.manifest.get("version") != VERSION:
            self._refuse(f"it has version {self.manifest.get('version')!r}; this aidgejax reads version {VERSION}")
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
        if set(self.members) != {MANIFEST, CHECKSUM} | {e["file"] for e in self.manifest["leaves"]}:
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
