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
import secrets
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import jax
import jaxlib
import ml_dtypes
import numpy as np

from ..errors import CheckpointError

try:
    import fcntl
except ImportError:  # not on Windows, where a file that is being written cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

FORMAT, VERSION = "aidgejax checkpoint", 1
MANIFEST, CHECKSUM = "manifest.json", "manifest.sha256"
MEMBER = re.compile(r"tensors/[0-9a-f]{64}")
CHUNK = 1 << 22
DTYPES = {
    d.name: d
    for d in map(
        np.dtype,
        (
            "bool",
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "float16",
            "float32",
            "float64",
            "complex64",
            "complex128",
            *(
                getattr(ml_dtypes, n)
                for n in (
                    "bfloat16",
                    "int2",
                    "int4",
                    "uint2",
                    "uint4",
                    "float4_e2m1fn",
                    "float6_e2m3fn",
                    "float6_e3m2fn",
                    "float8_e3m4",
                    "float8_e4m3",
                    "float8_e4m3b11fnuz",
                    "float8_e4m3fn",
                    "float8_e4m3fnuz",
                    "float8_e5m2",
                    "float8_e5m2fnuz",
                    "float8_e8m0fnu",
                )
                if hasattr(ml_dtypes, n)
            ),
        ),
    )
}
# What zipfile, json and the file system raise about a file that is not as it should be.
DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    RuntimeError,
    MemoryError,
    OverflowError,
)


@dataclass(frozen=True)
class Leaf:
    """One array of the tree.  kind: "array", "python" (a number), or "key" with the name of its PRNG in impl."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: str = "array"
    impl: str | None = None

    def __str__(self) -> str:
        what = {"array": "", "python": " (a Python number)", "key": f" (a PRNG key, {self.impl})"}[self.kind]
        return f"{self.dtype}{list(self.shape)}{what}"


def save(path: str | os.PathLike, tree: Any, meta: dict[str, Any] | None = None) -> None:
    """Write the tree's arrays, PRNG keys and Python numbers to `path`, replacing what is there in one go.

    tree: dicts, lists, tuples, NamedTuples, dataclasses, None, any registered pytree, of arrays of any dtype.
    meta: whatever else JSON can hold; `describe` reads it back.
    """
    path = Path(os.path.realpath(path))
    if not (meta is None or isinstance(meta, dict)):
        raise CheckpointError(f"cannot save {str(path)!r}: meta is a {type(meta).__name__}, expected a dict")
    leaves, arrays, structure = _take_apart(tree)
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
            default=_number,
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
        raise CheckpointError(f"cannot save {str(path)!r}: {e}") from e


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
            expected, structures = _describe_like(like)
            _compare(opened.path, opened.leaves, expected)
            by_name = {leaf.name: k for k, leaf in enumerate(opened.leaves)}
            arrays = [opened.read(by_name[leaf.name]) for leaf in expected]
            places = structures.flatten_up_to(like)
            tree = structures.unflatten(_place(a, x) for a, x in zip(arrays, places, strict=True))
        else:
            arrays = [opened.read(k) for k in range(len(opened.leaves))]
            tree = _rebuild(opened.manifest["structure"], arrays)
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
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


# ---- trees --------------------------------------------------------------------------------------------


def _take_apart(tree: Any) -> tuple[list[Leaf], list[np.ndarray], Any]:
    """Leaves, their bytes as arrays in C order, and the structure in JSON: a leaf is its number."""
    paths, _ = _flatten(tree)
    leaves, arrays = [], []
    for path, x in paths:
        leaf = _leaf(_name(path), x)
        try:
            data = np.asarray(jax.device_get(jax.random.key_data(x) if leaf.kind == "key" else x))
        except (RuntimeError, ValueError) as e:
            raise CheckpointError(f"cannot save {leaf.name}: {e}") from e
        leaves.append(leaf)
        arrays.append(np.ascontiguousarray(data, DTYPES[leaf.dtype]).reshape(leaf.shape))
    return leaves, arrays, _outline(tree, iter(range(len(leaves))))


def _flatten(tree: Any) -> tuple[list, Any]:
    try:
        return jax.tree_util.tree_flatten_with_path(tree)
    except (ValueError, TypeError) as e:
        raise CheckpointError(
            f"jax cannot walk this tree: {str(e).rstrip('.')}. The keys of a dict must be of one type"
        ) from e


def _leaf(name: str, x: Any) -> Leaf:
    if type(x) in (bool, int, float):  # not np.float64, which is a float too
        if type(x) is int and not -(2**63) <= x < 2**63:
            raise CheckpointError(f"cannot save {name}: {x} does not fit 64 bits")
        return Leaf(name, {bool: "bool", int: "int64", float: "float64"}[type(x)], (), "python")
    dtype, shape = getattr(x, "dtype", None), getattr(x, "shape", ())
    if dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        impls: list[str] = []

        def look(key: Any) -> Any:  # by tracing, so that a ShapeDtypeStruct will do
            impls.append(str(jax.random.key_impl(key)))
            return jax.random.key_data(key)

        data = jax.eval_shape(look, x)
        return Leaf(name, data.dtype.name, data.shape, "key", impls[0])
    if dtype is None or np.dtype(dtype).name not in DTYPES:
        raise CheckpointError(
            f"cannot save {name}: expected an array, a PRNG key or a number, got "
            f"{type(x).__name__}{f' of dtype {dtype}' if dtype is not None else ''}; "
            f"text and other settings belong into meta"
        )
    return Leaf(name, np.dtype(dtype).name, tuple(shape))


def _outline(node: Any, numbers: Iterator[int]) -> Any:
    """The structure in JSON: null, the number of a leaf, or [kind, [[key, node], ...]]."""
    if node is None:
        return None
    if jax.tree_util.all_leaves([node]):
        return next(numbers)
    children = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)[0]
    plain = node.__class__.__name__ if type(node) in (dict, list, tuple) else "fields"
    keys = [_key(path[0]) for path, _ in children]
    for key in keys:
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise CheckpointError(f"cannot save a tree with the key {key!r}: expected text or a whole number")
    return [plain, [[key, _outline(child, numbers)] for key, (_, child) in zip(keys, children, strict=True)]]


def _rebuild(node: Any, leaves: list[Any]) -> Any:
    if node is None:
        return None
    if isinstance(node, int):
        return leaves[node]
    kind, children = node
    built = [(key, _rebuild(child, leaves)) for key, child in children]
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](x for _, x in built)
    return dict(built)


def _numbers_of(node: Any) -> Iterator[int]:
    """The leaves of a structure that was read; anything but a structure raises ValueError."""
    if isinstance(node, int) and not isinstance(node, bool):
        yield node
    elif node is not None:
        kind, children = node
        if kind not in ("dict", "list", "tuple", "fields") or not isinstance(children, list):
            raise ValueError(f"{kind!r} is no kind of container")
        keys = [key for key, _ in children]
        if any(not isinstance(k, str | int) for k in keys) or len(set(keys)) < len(keys):
            raise ValueError(f"keys {keys[:5]}")
        for _, child in children:
            yield from _numbers_of(child)


def _describe_like(like: Any) -> tuple[list[Leaf], Any]:
    paths, tree = _flatten(like)
    return [_leaf(_name(path), x) for path, x in paths], tree


def _compare(path: str, found: list[Leaf], expected: list[Leaf]) -> None:
    have, want = {x.name: x for x in found}, {x.name: x for x in expected}
    wrong = [f"it lacks {name} ({want[name]})" for name in want if name not in have]
    wrong += [f"it has {name} ({have[name]}), which was not expected" for name in have if name not in want]
    wrong += [
        f"{name} is {have[name]}, expected {want[name]}" for name in want if name in have and have[name] != want[name]
    ]
    if wrong:
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise CheckpointError(f"checkpoint {path!r} does not fit: {'; '.join(wrong[:8])}{more}. Nothing was loaded")


def _place(array: Any, like: Any) -> Any:
    """The array where `like` lies: on its devices, or in NumPy."""
    if not isinstance(like, jax.Array):
        return array
    with jax.enable_x64(True):  # or 64-bit arrays would lose half of their bits
        return jax.device_put(array, like.sharding)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path).lstrip(".") or "(the tree itself)"


def _key(entry: Any) -> Any:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return str(entry)


def _number(x: Any) -> Any:
    if isinstance(x, np.generic):
        return x.item()
    raise TypeError(f"got a {type(x).__name__}")


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
    """A new file beside `path`, forced to disk, then put in its place."""
    _remove_leftovers(path)
    temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        with open(descriptor, "w+b") as file:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells others that this one is not a leftover
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, data in members.items():
                    view = _bytes(data) if isinstance(data, np.ndarray) else memoryview(data)
                    with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                        for k in range(0, len(view), CHUNK):
                            member.write(view[k : k + CHUNK])
            file.flush()
            os.fsync(file.fileno())
            if fcntl:  # while the lock holds
                os.replace(temporary, path)
        if not fcntl:
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _prefix(path: Path) -> str:
    return f".{path.name}.tmp-"


def _remove_leftovers(path: Path) -> None:
    """Delete what a killed writer of the same file left; one that is still writing holds a lock."""
    for leftover in path.parent.glob(f"{_escaped(_prefix(path))}*"):
        try:
            with open(leftover, "rb") as file:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink(missing_ok=True)
        except OSError:
            continue


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


# ---- reading ------------------------------------------------------------------------------------------


class _Opened:
    """A checkpoint whose manifest has been verified; `read` verifies and returns one array."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)

    def __enter__(self) -> _Opened:
        try:
            self.file = open(self.path, "rb")
        except OSError as e:
            raise CheckpointError(f"cannot open checkpoint {self.path!r}: {e.strerror or e}") from e
        try:
            self._open()
        except CheckpointError:
            self.file.close()
            raise
        except DAMAGE as e:
            self.file.close()
            raise CheckpointError(f"checkpoint {self.path!r} is damaged, or not a checkpoint: {_told(e)}") from e
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def read(self, k: int) -> Any:
        """Array, PRNG key or number k."""
        leaf, entry = self.leaves[k], self.manifest["leaves"][k]
        try:
            data: Any = np.empty(entry["nbytes"], np.uint8)
            self._fill(entry["file"], data.data)
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
            raise CheckpointError(f"checkpoint {self.path!r} is damaged at {leaf.name}: {_told(e)}") from e

    def _open(self) -> None:
        self.size = os.fstat(self.file.fileno()).st_size
        self.archive = zipfile.ZipFile(self.file)
        self.members = self._check_members()
        for name in (MANIFEST, CHECKSUM):
            if name not in self.members:
                self._refuse(f"it has no {name}, so it is not an aidgejax checkpoint")
        text, checksum = (self._bytes(n) for n in (MANIFEST, CHECKSUM))
        if hashlib.sha256(text).hexdigest().encode() != checksum:
            self._refuse(f"{MANIFEST} does not have the checksum that was written")
        self.manifest = json.loads(text)
        if not isinstance(self.manifest, dict) or self.manifest.get("format") != FORMAT:
            self._refuse("it is not an aidgejax checkpoint")
        if self.manifest.get("version") != VERSION:
            self._refuse(f"it has version {self.manifest.get('version')!r}; this aidgejax reads version {VERSION}")
        self._check_manifest()

    def _check_members(self) -> dict[str, zipfile.ZipInfo]:
        """Known names, once each, uncompressed, and no larger together than the file is."""
        members: dict[str, zipfile.ZipInfo] = {}
        for info in self.archive.infolist():
            name = info.filename
            if name in members or name not in (MANIFEST, CHECKSUM) and not MEMBER.fullmatch(name):
                self._refuse(f"it has a member {name!r}, which does not belong into a checkpoint")
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                self._refuse(f"its member {name!r} is compressed, which checkpoints are not")
            members[name] = info
        if sum(i.file_size for i in members.values()) > self.size:
            self._refuse("its members claim more bytes than the file has")
        return members

    def _check_manifest(self) -> None:
        if not all(
            isinstance(self.manifest.get(k), t) for k, t in (("leaves", list), ("meta", dict), ("environment", dict))
        ):
            self._refuse(f"{MANIFEST} lacks leaves, meta or environment")
        self.leaves = [self._check_leaf(entry) for entry in self.manifest["leaves"]]
        if len({leaf.name for leaf in self.leaves}) < len(self.leaves):
            self._refuse("two of its arrays have the same name")
        if sorted(_numbers_of(self.manifest.get("structure"))) != list(range(len(self.leaves))):
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

    def _bytes(self, name: str) -> bytes:
        data = bytearray(self.members[name].file_size)
        self._fill(name, memoryview(data))
        return bytes(data)

    def _fill(self, name: str, view: memoryview) -> None:
        """Read a member; zipfile compares its own checksum at the end."""
        with self.archive.open(self.members[name]) as member:
            done = 0
            while chunk := member.read(min(CHUNK, len(view) - done)):
                view[done : done + len(chunk)] = chunk
                done += len(chunk)
            if done < len(view) or member.read(1):
                self._refuse(f"its member {name!r} does not have the {len(view)} bytes that it claims")

    def _refuse(self, why: str) -> NoReturn:
        raise CheckpointError(f"checkpoint {self.path!r} is refused: {why}")


def _told(e: BaseException) -> str:
    return f"{type(e).__name__}: {e}" if str(e) else type(e).__name__


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
