"""SINGA's file of states: a zip of tensor_dict.npz (every tensor) and states_attr.json (what each one is).

Nothing is unpickled and nothing is extracted; sizes are checked before they are believed.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
import zlib
from typing import Any

import numpy as np

from ._errors import StatesError

TENSORS, ATTRIBUTES = "tensor_dict.npz", "states_attr.json"
LARGEST = 1 << 34  # bytes of one member when inflated


def write_states(path: str | os.PathLike, states: dict[str, tuple[int, Any]]) -> None:
    """Write {name: (0 for a state of the model or 1 for another, Tensor)}; the file appears when it is whole."""
    arrays = {name: np.asarray(t.array) for name, (_, t) in states.items()}
    arrays = {
        k: a.astype(np.float32) if a.dtype.kind == "V" or "bfloat16" in str(a.dtype) else a for k, a in arrays.items()
    }
    entries = {
        name: {"state_type": kind, "shape": list(t.shape), "dtype": t.dtype} for name, (kind, t) in states.items()
    }
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".states-")
    try:
        with os.fdopen(handle, "wb") as f, zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as z:
            with z.open(TENSORS, "w", force_zip64=True) as member:
                content = io.BytesIO()
                savez: Any = np.savez  # whose stub takes a name for an option
                savez(content, **arrays)
                member.write(content.getvalue())
            z.writestr(ATTRIBUTES, json.dumps(entries))
        os.link(temporary, path)  # refuses a file that has appeared meanwhile
    except FileExistsError:
        raise StatesError(f"Failed to save states, {os.fspath(path)} is already existed.") from None
    finally:
        os.unlink(temporary)


def read_states(path: str | os.PathLike) -> dict[str, tuple[int, np.ndarray]]:
    """{name: (state_type, array)}.  Raises StatesError for anything that is not such a file."""
    try:
        with zipfile.ZipFile(path) as z:
            entries = json.loads(_member(z, ATTRIBUTES, path))
            arrays = _arrays(_member(z, TENSORS, path), path)
    except (
        zipfile.BadZipFile,
        zlib.error,
        json.JSONDecodeError,
        UnicodeDecodeError,
        EOFError,
        RuntimeError,
        NotImplementedError,
    ) as e:
        raise StatesError(f"{os.fspath(path)} is not a file of states, or is damaged: {e}") from None
    if not isinstance(entries, dict) or set(entries) != set(arrays):
        raise StatesError(f"{os.fspath(path)}: {ATTRIBUTES} and {TENSORS} do not name the same tensors")
    found = {}
    for name, array in arrays.items():
        entry = entries[name]
        kind = entry.get("state_type") if isinstance(entry, dict) else None
        if kind not in (0, 1) or entry.get("shape") != list(array.shape):
            raise StatesError(
                f"{os.fspath(path)}: {name!r} is an array of shape {list(array.shape)}, but its entry says {entry!r}"
            )
        found[name] = (kind, array)
    return found


def _member(z: zipfile.ZipFile, name: str, path: Any) -> bytes:
    try:
        info = z.getinfo(name)
    except KeyError:
        raise StatesError(f"{os.fspath(path)} is not a file of states: it has no {name}") from None
    if info.file_size > LARGEST or info.file_size > 2000 * max(info.compress_size, 1):
        raise StatesError(f"{os.fspath(path)}: {name} claims {info.file_size} bytes, too many to be states")
    with z.open(info) as f:
        return f.read(info.file_size)


def _arrays(content: bytes, path: Any) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as npz:
            for info in npz.zip.infolist():
                if info.file_size > LARGEST:
                    raise ValueError(f"{info.filename} claims {info.file_size} bytes")
            return {name: npz[name] for name in npz.files}
    except (ValueError, OSError, KeyError) as e:
        raise StatesError(f"{os.fspath(path)}: {TENSORS} cannot be read: {e}") from None
