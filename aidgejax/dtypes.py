"""The one table of dtypes: their names, ONNX's numbers for them, and the context in which JAX keeps 64 bits.

A dtype is known by NumPy's name for it, "bfloat16" and the like by ml_dtypes'.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import ml_dtypes
import numpy as np

# TensorProto.DataType of ONNX.
ONNX_NAMES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
    24: "float8_e8m0fnu",
    25: "uint2",
    26: "int2",
}
ONNX_CODES = {name: code for code, name in ONNX_NAMES.items()}
Arrays = dict[str, Any]  # {tensor: array}, of JAX or of NumPy
WIDE = frozenset(("int64", "uint64", "float64", "complex128"))  # what JAX halves outside of enable_x64
NARROWED = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}
SUB_BYTE = {"uint4": 4, "int4": 4, "uint2": 2, "int2": 2, "float4_e2m1fn": 4}
_OTHERS = ("complex64", "complex128", "float6_e2m3fn", "float6_e3m2fn", "float8_e3m4", "float8_e4m3")
_B11 = "float8_e4m3b11fnuz"
DTYPES: dict[str, np.dtype] = {
    name: np.dtype(getattr(ml_dtypes, name, name))
    for name in (*ONNX_NAMES.values(), *_OTHERS, _B11)
    if hasattr(ml_dtypes, name) or hasattr(np, name)
}


def bits(dtype: Any) -> int:
    """How many bits a number takes: of "int4" 4, though NumPy gives it a byte."""
    name = np.dtype(dtype).name
    return SUB_BYTE.get(name) or 8 * np.dtype(dtype).itemsize


def is_float(dtype: Any) -> bool:
    """Whether it is a real floating type, the 16-bit and 8-bit ones of machine learning included."""
    return "float" in str(np.dtype(dtype).name)


def is_wide(dtype: Any) -> bool:
    """Whether JAX needs enable_x64 for it."""
    return str(dtype) in WIDE


def x64_for(dtypes: Iterable[Any]) -> AbstractContextManager[Any]:
    """The context in which arrays of these dtypes stay what they are; none where none has 64 bits."""
    return jax.enable_x64(True) if any(map(is_wide, dtypes)) else nullcontext()


def x64_for_arrays(*trees: Any) -> AbstractContextManager[Any]:
    """As x64_for, for the arrays of these pytrees."""
    return x64_for(getattr(a, "dtype", None) for a in jax.tree.leaves(trees))
