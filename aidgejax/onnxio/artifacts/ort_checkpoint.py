"""ONNX Runtime's training checkpoint: one FlatBuffers file, identifier ODTC, version 2.

    Checkpoint{version, module_state, optimizer_groups, property_bag}
    ModuleState{requires_grad_params, frozen_params, is_nominal_state, has_external_data}
    Tensor{name, doc_string, dims, data_type (ONNX's number), raw_data, string_data, external_data_offset}
    OptimizerGroup{group_name, step, initial_learning_rate, optimizer_states}
    ParameterOptimizerState{param_name, momentums: momentum0, momentum1}
    PropertyBag{ints, floats, strings}, each {name, value}

What FlatBuffers cannot address, 2 GiB and more, stands in a second file, `<checkpoint>.data`.

What we write has a checksum besides: MAGIC and a SHA-256 of everything else, the second file included, in bytes that no
table points to, so that ONNX Runtime passes over them.  Where MAGIC stands the sum is compared; a file without it, such
as ONNX Runtime's own, is read as it is.

The slots are read and written by number, in the order above.  A file is believed as little as an ONNX file is: every
offset is checked against what the file holds.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types as types
from onnx import helper

from ...errors import CheckpointError
from ...files import whole_file, write_atomically
from ..tensors import dtype_name

IDENTIFIER, VERSION = b"ODTC", 2
LARGEST = (1 << 31) - (1 << 20)  # what FlatBuffers can address
MAGIC, SEAL = b"\x93ajsum1\n", 48  # after the identifier: MAGIC, 32 bytes of SHA-256, 1 if of two files, padding
SMALL, ALIGNMENT = 1024, 64  # bytes of what never goes to a second file; where tensors begin there
Property = int | float | str


@dataclass
class OptimizerState:
    """step: updates made so far; momentums: {parameter: (momentum0, momentum1)}."""

    step: int = 0
    learning_rate: float = 0.001
    momentums: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)


@dataclass
class OrtCheckpoint:
    """What a checkpoint file says.  nominal: names and types alone, the arrays are empty."""

    trainable: dict[str, np.ndarray] = field(default_factory=dict)
    frozen: dict[str, np.ndarray] = field(default_factory=dict)
    nominal: bool = False
    optimizer: OptimizerState | None = None
    properties: dict[str, Property] = field(default_factory=dict)


# ---- writing ------------------------------------------------------------------------------------------


def write_checkpoint(checkpoint: OrtCheckpoint, path: str) -> None:
    """Write the file and, for 2 GiB and more, first `<path>.data`; each appears whole or not at all."""
    offsets, end = {}, 0
    arrays = {**checkpoint.trainable, **checkpoint.frozen}
    if not checkpoint.nominal and sum(a.nbytes for a in arrays.values()) > LARGEST:
        for name, a in arrays.items():
            if a.nbytes > SMALL:
                offsets[name] = end
                end += -(-a.nbytes // ALIGNMENT) * ALIGNMENT
    data = to_bytes(checkpoint, offsets)
    if offsets:
        with whole_file(f"{path}.data") as f:
            for name, offset in offsets.items():
                f.seek(offset)
                np.ascontiguousarray(arrays[name]).tofile(f)
    write_atomically(_sealed(data, f"{path}.data" if offsets else None), path)


def to_bytes(checkpoint: OrtCheckpoint, offsets: Mapping[str, int] | None = None) -> bytes:
    """The file's content; with `nominal`, arrays are left out.  offsets: where arrays stand in a second file."""
    offsets = offsets or {}
    size = sum(a.nbytes for n, a in (*checkpoint.trainable.items(), *checkpoint.frozen.items()) if n not in offsets)
    if checkpoint.optimizer:
        size += sum(a.nbytes for m in checkpoint.optimizer.momentums.values() for a in m)
    if size > LARGEST and not checkpoint.nominal:
        raise CheckpointError(
            f"the checkpoint would hold {size} bytes in one file, and ONNX Runtime's format takes at "
            f"most {LARGEST}; leave out the optimizer's state, or save with aidgejax.checkpoint"
        )
    b = flatbuffers.Builder(1024 if checkpoint.nominal else size + 4096)
    bag = _property_bag(b, checkpoint.properties)
    groups = None
    if checkpoint.optimizer is not None:
        groups = _vector(b, [_optimizer_group(b, checkpoint.optimizer)])
    module = _module_state(b, checkpoint, offsets)
    root = _table(b, 4, {0: ("Int32", VERSION), 1: module, 2: groups, 3: bag})
    b.Finish(root, file_identifier=IDENTIFIER)
    return bytes(b.Output())


def _sealed(data: bytes, outside: str | None) -> bytes:
    """The file with its checksum.  Offsets inside are relative, so only that of the root changes."""
    root = int.from_bytes(data[:4], "little") + SEAL
    head = root.to_bytes(4, "little") + data[4:8] + MAGIC
    rest = bytes([outside is not None]).ljust(SEAL - len(MAGIC) - 32, b"\0") + data[8:]
    return head + _checksum(head, rest, outside) + rest


def _checksum(head: bytes, rest: bytes, outside: str | None) -> bytes:
    whole = hashlib.sha256(head + rest)
    if rest[:1] == b"\1" and outside is not None and os.path.exists(outside):
        with open(outside, "rb") as f:
            whole.update(hashlib.file_digest(f, "sha256").digest())
    return whole.digest()


def _check_sum(data: bytes, what: str, outside: str | None) -> None:
    """Raise CheckpointError where a file that has a checksum holds other bytes than were written."""
    at, end = 8 + len(MAGIC), 8 + len(MAGIC) + 32
    found = data.find(MAGIC, 0, 256)
    two_files = data[end : end + 1] == b"\1"
    if found < 0 or found == 8 and two_files and not os.path.exists(outside or ""):  # that is reported where it is read
        return
    if found != 8 or data[at:end] != _checksum(data[:at], data[end:], outside):
        raise CheckpointError(
            f"{what} is damaged: its checksum is not that of its bytes{' and of its .data file' if two_files else ''}. "
            f"Copy it again, or go back to an earlier one"
        )


def _module_state(b: Any, checkpoint: OrtCheckpoint, offsets: Mapping[str, int]) -> int:
    trainable, frozen = (
        _vector(b, [_tensor(b, n, a, checkpoint.nominal, offsets.get(n)) for n, a in arrays.items()])
        for arrays in (checkpoint.trainable, checkpoint.frozen)
    )
    return _table(b, 4, {0: trainable, 1: frozen, 2: ("Bool", checkpoint.nominal), 3: ("Bool", bool(offsets))})


def _tensor(b: Any, name: str, array: np.ndarray, nominal: bool = False, offset: int | None = None) -> int:
    text = b.CreateString(name)
    doc = b.CreateString("")
    dims = b.CreateNumpyVector(np.asarray([] if nominal else array.shape, np.int64))
    raw = None
    if offset is None:
        raw = b.CreateByteVector(b"" if nominal else np.ascontiguousarray(array).tobytes())
    code = helper.np_dtype_to_tensor_dtype(array.dtype)
    outside = ("Int64", -1 if offset is None else offset, -1)
    return _table(b, 7, {0: text, 1: doc, 2: dims, 3: ("Int32", code), 4: raw, 6: outside})


def _optimizer_group(b: Any, state: OptimizerState) -> int:
    states = []
    for name, momentums in state.momentums.items():
        tensors = _vector(b, [_tensor(b, f"momentum{k}", m) for k, m in enumerate(momentums)])
        states.append(_table(b, 2, {0: b.CreateString(name), 1: tensors}))
    every = _vector(b, states)
    return _table(
        b, 4, {0: b.CreateString("group0"), 1: ("Int64", state.step), 2: ("Float32", state.learning_rate), 3: every}
    )


def _property_bag(b: Any, properties: Mapping[str, Property]) -> int | None:
    if not properties:
        return None
    kinds: dict[type, list[int]] = {int: [], float: [], str: []}
    for name, value in properties.items():
        text = b.CreateString(name)
        kind = str if isinstance(value, str) else float if isinstance(value, float) else int
        if kind is str:
            slot: Any = b.CreateString(value)
        else:
            slot = ("Int64" if kind is int else "Float32", value)
        kinds[kind].append(_table(b, 2, {0: text, 1: slot}))
    slots = {k: _vector(b, tables) for k, tables in enumerate(kinds.values())}
    return _table(b, 3, slots)


def _table(b: Any, slots: int, values: Mapping[int, Any]) -> int:
    """A table; a value is an offset, (kind, number[, default]), or None where it is absent."""
    values = {k: v if isinstance(v, tuple) or v is None else ("UOffsetTRelative", v) for k, v in values.items()}
    b.StartObject(slots)
    for k, v in values.items():
        if v is not None:
            getattr(b, f"Prepend{v[0]}Slot")(k, v[1], v[2] if len(v) > 2 else 0)
    return b.EndObject()


def _vector(b: Any, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for o in reversed(offsets):
        b.PrependUOffsetTRelative(o)
    return b.EndVector()


# ---- reading ------------------------------------------------------------------------------------------


def from_bytes(data: bytes, what: str = "the checkpoint", outside: str | None = None) -> OrtCheckpoint:
    """What `data` says.  what: how to call it in a message, e.g. its path.  outside: the path of the second file.
    Raises CheckpointError."""
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise CheckpointError(
            f"{what} is not a checkpoint of ONNX Runtime training: expected the identifier "
            f"{IDENTIFIER.decode()!r} at byte 4, got {bytes(data[4:8])!r}"
        )
    _check_sum(data, what, outside)
    root = _Table(data, int.from_bytes(data[:4], "little"), what)
    version = root.number(0, types.Int32Flags)
    if version != VERSION:
        raise CheckpointError(f"{what} has version {version} of the format; expected {VERSION}")
    module = root.table(1)
    if module is None:
        raise CheckpointError(f"{what} holds no module state")
    nominal = bool(module.number(2, types.BoolFlags))
    result = OrtCheckpoint(_tensors(module, 0, nominal, outside), _tensors(module, 1, nominal, outside), nominal)
    for group in root.tables(2)[:1]:
        momentums = {s.text(0): tuple(_tensors(s, 1, False).values()) for s in group.tables(3)}
        result.optimizer = OptimizerState(
            group.number(1, types.Int64Flags), group.number(2, types.Float32Flags), momentums
        )
    if bag := root.table(3):
        for p in bag.tables(0):
            result.properties[p.text(0)] = p.number(1, types.Int64Flags)
        for p in bag.tables(1):
            result.properties[p.text(0)] = p.number(1, types.Float32Flags)
        for p in bag.tables(2):
            result.properties[p.text(0)] = p.text(1)
    return result


def read_checkpoint(path: Any) -> OrtCheckpoint:
    """Read a checkpoint file; FileNotFoundError where there is none, CheckpointError where it is none."""
    with open(path, "rb") as f:
        return from_bytes(f.read(), f"checkpoint {os.fspath(path)!r}", f"{os.fspath(path)}.data")


def _tensors(table: _Table, slot: int, nominal: bool, outside: str | None = None) -> dict[str, np.ndarray]:
    found = {}
    for t in table.tables(slot):
        name, what = t.text(0), table.what
        dtype = _dtype(t.number(3, types.Int32Flags), f"tensor {name!r} of {what}")
        dims = tuple(int(d) for d in t.array(2, np.dtype("<i8")))
        raw = t.array(4, np.dtype("u1"))
        offset = t.number(6, types.Int64Flags, -1)
        if offset != -1:
            raw = _from_outside(outside, offset, math.prod(dims) * dtype.itemsize, f"tensor {name!r} of {table.what}")
        if nominal:
            dims, raw = (0,), raw[:0]
        elif any(d < 0 for d in dims) or math.prod(dims) * dtype.itemsize != raw.size:
            raise CheckpointError(f"tensor {name!r} of {what} is {dtype.name}{list(dims)}, but holds {raw.size} bytes")
        found[name] = raw.view(dtype).reshape(dims).copy()
    return found


def _from_outside(path: str | None, offset: int, size: int, what: str) -> np.ndarray:
    if path is None or not os.path.exists(path):
        raise CheckpointError(
            f"{what} keeps its data in another file, {path!r}, which is not there: it belongs beside the checkpoint"
        )
    if offset < 0 or size < 0 or offset + size > os.path.getsize(path):
        raise CheckpointError(
            f"{what} should have {size} bytes from byte {offset} of {path!r}, which has {os.path.getsize(path)}"
        )
    return np.fromfile(path, np.uint8, size, offset=offset)


def _dtype(code: int, what: str) -> np.dtype:
    dtype_name(code, what)  # refuses what NumPy does not have
    return np.dtype(helper.tensor_dtype_to_np_dtype(code))


class _Table:
    """One table of the file; every read stays inside the file."""

    def __init__(self, data: bytes, at: int, what: str) -> None:
        self.data, self.at, self.what = data, at, what
        self._vtable = at - self._int(at, 4, signed=True)
        self._slots = self._int(self._vtable, 2) // 2 - 2

    def _int(self, at: int, size: int, signed: bool = False) -> int:
        if not 0 <= at <= len(self.data) - size:
            raise CheckpointError(f"{self.what} is damaged: it points to byte {at} of {len(self.data)}")
        return int.from_bytes(self.data[at : at + size], "little", signed=signed)

    def _field(self, slot: int) -> int | None:
        if slot >= self._slots:
            return None
        offset = self._int(self._vtable + 4 + 2 * slot, 2)
        return self.at + offset if offset else None

    def number(self, slot: int, flags: Any, default: Any = 0) -> Any:
        at = self._field(slot)
        if at is None:
            return default
        self._int(at, flags.bytewidth)
        return flags.py_type(np.frombuffer(self.data, _NUMPY[flags], 1, at)[0])

    def _follow(self, slot: int) -> int | None:
        at = self._field(slot)
        return None if at is None else at + self._int(at, 4)

    def text(self, slot: int) -> str:
        at = self._follow(slot)
        if at is None:
            return ""
        return self._span(at, 1).decode("utf-8", "replace")

    def _span(self, at: int, width: int) -> bytes:
        size = self._int(at, 4) * width
        if at + 4 + size > len(self.data):
            raise CheckpointError(
                f"{self.what} is damaged: at byte {at} it promises {size} bytes, and there are "
                f"{len(self.data) - at - 4}"
            )
        return bytes(self.data[at + 4 : at + 4 + size])

    def array(self, slot: int, dtype: np.dtype) -> np.ndarray:
        at = self._follow(slot)
        return np.frombuffer(b"" if at is None else self._span(at, dtype.itemsize), dtype)

    def table(self, slot: int) -> _Table | None:
        at = self._follow(slot)
        return None if at is None else _Table(self.data, at, self.what)

    def tables(self, slot: int) -> list[_Table]:
        at = self._follow(slot)
        if at is None:
            return []
        count = self._int(at, 4)
        self._span(at, 4)
        places = range(at + 4, at + 4 + 4 * count, 4)
        return [_Table(self.data, p + self._int(p, 4), self.what) for p in places]


_NUMPY: dict[Callable, str] = {
    types.BoolFlags: "?",
    types.Int32Flags: "<i4",
    types.Int64Flags: "<i8",
    types.Float32Flags: "<f4",
}
