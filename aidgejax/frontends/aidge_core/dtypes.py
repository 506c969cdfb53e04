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

    def __str__(self) -> str:
        return f"dformat.{self.name}"


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


# ---- what a data type can hold ------------------------------------------------------------------------------

BITS = {"binary": 1, "ternary": 2, "bfloat16": 16, "bool": 8}


def _kind(kind: dtype) -> str:
    if not isinstance(kind, dtype):
        raise TensorError(f"expected a dtype, such as dtype.int8, got {kind!r}")
    return kind.value


def dtype_bit_width(kind: dtype) -> int:
    """How many bits one element has, e.g. 4 for int4."""
    name = _kind(kind)
    if name in BITS:
        return BITS[name]
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyz")
    if not digits:
        raise TensorError(f"{kind} has no width")
    return int(digits)


def is_floating_point(kind: dtype) -> bool:
    return "float" in _kind(kind)


def is_integer(kind: dtype) -> bool:
    return _kind(kind).startswith(("int", "uint")) or _kind(kind) in ("binary", "ternary")


def is_unsigned(kind: dtype) -> bool:
    return _kind(kind).startswith("uint") or _kind(kind) == "bool"


def get_range(nb_bits: int, is_signed: bool = True) -> list[int]:
    """[lowest, highest] of the integers of so many bits."""
    if isinstance(nb_bits, bool) or not isinstance(nb_bits, int) or nb_bits < 1:
        raise TensorError(f"get_range: nb_bits is {nb_bits!r}; expected 1 or more")
    return [-(2 ** (nb_bits - 1)), 2 ** (nb_bits - 1) - 1] if is_signed else [0, 2**nb_bits - 1]


def get_datatype_range(kind: dtype) -> list[int]:
    """[lowest, highest] of an integer data type."""
    if not is_integer(kind):
        raise TensorError(f"get_datatype_range: {kind} is no integer type")
    return get_range(dtype_bit_width(kind), not is_unsigned(kind))


def iinfo(kind: dtype) -> np.iinfo:
    return np.iinfo(to_numpy_dtype(kind))


def finfo(kind: dtype) -> Any:
    return jnp.finfo(to_numpy_dtype(kind))
