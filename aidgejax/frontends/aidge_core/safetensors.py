"""Tensors in one block of bytes, in the format called safetensors: a length, a JSON header, and the data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np

from ...errors import ModelFileError
from .dtypes import to_numpy_dtype
from .errors import AidgeError

NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


class DamagedTensors(ModelFileError, AidgeError):
    """Bytes that are no tensors in this format."""


def pack(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Every array under its name."""
    header, blocks, at = {}, [], 0
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        shape, kind = list(array.shape), NAMES[array.dtype.name]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(raw)]}
        blocks.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(blocks)


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """The arrays, copied.  Raises DamagedTensors where sizes or places do not fit."""
    kinds = {v: to_numpy_dtype(k) for k, v in NAMES.items()}
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise DamagedTensors(f"a header of {length} bytes does not fit into {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length])
        body, found = memoryview(data)[8 + length :], {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            kind, shape = kinds[entry["dtype"]], [int(d) for d in entry["shape"]]
            start, end = entry["data_offsets"]
            size = math.prod(shape) * kind.itemsize
            if min(shape, default=0) < 0 or not 0 <= start <= end <= len(body) or end - start != size:
                raise DamagedTensors(f"tensor {str(name)[:100]!r} does not fit into its place")
            found[name] = np.frombuffer(body[start:end], kind).reshape(shape).copy()
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise DamagedTensors(f"the header of the tensors cannot be read: {e}") from None
    return found
