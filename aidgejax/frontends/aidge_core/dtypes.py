"""aidge_core.dtype and dformat: Aidge's names for element types and for layouts."""

from __future__ import annotations

import enum
from typing import Any

import jax.numpy as jnp
import numpy as np

from .errors import TensorError


class dtype(enum.Enum):  # noqa: N801  (Aidge's name)
    """Element types.  Those that NumPy and JAX have can be computed with; the others name a precision."""

    float64 = "float64"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"
    int64 = "int64"
    int32 = "int32"
    int16 = "int16"
    int8 = "int8"
    uint64 = "uint64"
    uint32 = "uint32"
    uint16 = "uint16"
    uint8 = "uint8"
    boolean = "bool"
    binary = "binary"
    ternary = "ternary"
    int2 = "int2"
    int3 = "int3"
    int4 = "int4"
    int5 = "int5"
    int6 = "int6"
    int7 = "int7"
    uint2 = "uint2"
    uint3 = "uint3"
    uint4 = "uint4"
    uint5 = "uint5"
    uint6 = "uint6"
    uint7 = "uint7"
    any = "any"

    def __str__(self) -> str:
        return f"dtype.{self.name}"

    __repr__ = __str__


class dformat(enum.Enum):  # noqa: N801
    """Layouts.  Tensors here are channels first, as Aidge's default is; the name is carried along."""

    default = "default"
    nchw = "nchw"
    nhwc = "nhwc"
    ncdhw = "ncdhw"
    ndhwc = "ndhwc"
    ncw = "ncw"
    nwc = "nwc"
    nc = "nc"
    chw = "chw"
    hwc = "hwc"
    any = "any"


def to_numpy_dtype(kind: Any) -> np.dtype:
    """dtype.float32, "float32" or np.float32 as a NumPy dtype.  Raises TensorError for what nothing computes in."""
    name = kind.value if isinstance(kind, dtype) else kind
    try:
        return np.dtype(jnp.dtype(name))
    except TypeError:
        raise TensorError(
            f"no backend computes in {kind}; take one of float64, float32, float16, bfloat16, "
            f"int8 to int64, uint8 to uint64, boolean"
        ) from None


def of_numpy_dtype(kind: Any) -> dtype:
    name = np.dtype(kind).name
    try:
        return dtype(name)
    except ValueError:
        raise TensorError(f"Aidge has no data type for {name}") from None


aidge_to_numpy_dtype, numpy_to_aidge_dtype = to_numpy_dtype, of_numpy_dtype
