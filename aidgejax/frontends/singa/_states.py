"""SINGA's file of states: a zip of tensor_dict.npz (every tensor) and states_attr.json (what each one is).

Nothing is unpickled and nothing is extracted; sizes are checked before they are believed.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from typing import Any

import numpy as np

from ...files import DAMAGE, Archive, read_npz, whole_file
from ._errors import StatesError

TENSORS, ATTRIBUTES = "tensor_dict.npz", "states_attr.json"


def write_states(path: str | os.PathLike, states: dict[str, tuple[int, Any]]) -> None:
    """Write {name: (0 for a state of the model or 1 for another, Tensor)}; the file appears when it is whole."""
    arrays = {name: np.asarray(t.array) for name, (_, t) in states.items()}
    arrays = {
        k: a.astype(np.float32) if a.dtype.kind == "V" or "bfloat16" in str(a.dtype) else a for k, a in arrays.items()
    }
    entries = {
        name: {"state_type": kind, "shape": list(t.shape), "dtype": t.dtype} for name, (kind, t) in states.items()
    }
    try:
        with whole_file(path, replace=False) as f, zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as z:
            with z.open(TENSORS, "w", force_zip64=True) as member:
                content = io.BytesIO()
                savez: Any = np.savez  # whose stub takes a name for an option
                savez(content, **arrays)
                member.write(content.getvalue())
            z.writestr(ATTRIBUTES, json.dumps(entries))
    except FileExistsError:
        raise StatesError(f"Failed to save states, {os.fspath(path)} is already existed.") from None
    except OSError as e:
        raise StatesError(f"cannot save states to {os.fspath(path)!r}: {e.strerror or e}") from None


def read_states(path: str | os.PathLike) -> dict[str, tuple[int, np.ndarray]]:
    """{name: (state_type, array)}.  Raises StatesError for anything that is not such a file."""
    with Archive(path, StatesError, "file of states", deflated=True) as z:
        for name in (ATTRIBUTES, TENSORS):
            if name not in z.members:
                raise StatesError(f"{os.fspath(path)} is not a file of states: it has no {name}")
        try:
            entries = json.loads(z.read(ATTRIBUTES))
        except DAMAGE as e:
            raise z.damaged(e, f"{ATTRIBUTES}: ") from None
        arrays = read_npz(
            bytes(z.read(TENSORS)), StatesError, "file of states", name=f"{z.name}:{TENSORS}", budget=z.budget
        )
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
