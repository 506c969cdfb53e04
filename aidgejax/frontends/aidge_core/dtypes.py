"""aidge_core.dtype and dformat: Aidge's names for element types and for layouts."""

from __future__ import annotations

import enum
import re
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
    int9 = "int9"
    int10 = "int10"
    int11 = "int11"
    int12 = "int12"
    int13 = "int13"
    int14 = "int14"
    int15 = "int15"
    uint9 = "uint9"
    uint10 = "uint10"
    uint11 = "uint11"
    uint12 = "uint12"
    uint13 = "uint13"
    uint14 = "uint14"
    uint15 = "uint15"
    dual_int3 = "dual_int3"
    dual_int4 = "dual_int4"
    dual_uint3 = "dual_uint3"
    dual_uint4 = "dual_uint4"
    quad_int2 = "quad_int2"
    quad_uint2 = "quad_uint2"
    octo_binary = "octo_binary"
    complex64 = "complex64"
    complex128 = "complex128"
    string = "string"
    any_1 = "any_1"
    any_2 = "any_2"
    any_3 = "any_3"
    any_4 = "any_4"
    any_5 = "any_5"
    any = "any"

    def __str__(self) -> str:
        return f"dtype.{self.name}"

    def __repr__(self) -> str:
        return f"<dtype.{self.name}: {int(self)}>"

    def __int__(self) -> int:
        """Aidge's number of it."""
        return NUMBERS.index(self.name)


NUMBERS = (
    "float64 float32 float16 bfloat16 complex64 complex128 boolean binary octo_binary ternary int2 quad_int2 uint2 "
    "quad_uint2 int3 dual_int3 uint3 dual_uint3 int4 dual_int4 uint4 dual_uint4 int5 int6 int7 int8 int9 int10 int11 "
    "int12 int13 int14 int15 int16 int32 int64 uint5 uint6 uint7 uint8 uint9 uint10 uint11 uint12 uint13 uint14 "
    "uint15 uint16 uint32 uint64 string any any_1 any_2 any_3 any_4 any_5"
).split()


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
    chwn = "chwn"
    cdhwn = "cdhwn"
    hwnc = "hwnc"
    any_1 = "any_1"
    any_2 = "any_2"
    any_3 = "any_3"
    any_4 = "any_4"
    any_5 = "any_5"
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


def aidge_to_numpy_dtype(dtype: Any) -> np.dtype:
    return to_numpy_dtype(dtype)


def numpy_to_aidge_dtype(dtype: Any) -> Any:
    return of_numpy_dtype(dtype)


# ---- what a data type can hold ------------------------------------------------------------------------------

PACKED = ("dual_int3", "dual_int4", "dual_uint3", "dual_uint4", "quad_int2", "quad_uint2", "octo_binary")
BITS = {"binary": 1, "ternary": 2, "bfloat16": 16, "bool": 8, **dict.fromkeys(PACKED, 8)}  # PACKED: of a whole byte


def _kind(kind: dtype) -> str:
    if not isinstance(kind, dtype):
        raise TensorError(f"expected a dtype, such as dtype.int8, got {kind!r}")
    return kind.value


def dtype_bit_width(dt: dtype) -> int:
    """How many bits one element has, e.g. 4 for int4."""
    name = _kind(dt)
    if name in BITS:
        return BITS[name]
    digits = re.fullmatch(r"[a-z]+(\d+)", name)
    if digits is None:
        raise TensorError(f"{dt} has no width")
    return int(digits[1])


def is_floating_point(dt: dtype) -> bool:
    return "float" in _kind(dt)


def is_integer(dt: dtype) -> bool:
    return _kind(dt).startswith(("int", "uint")) or _kind(dt) in ("binary", "ternary")


def is_unsigned(dt: dtype) -> bool:
    return _kind(dt).startswith("uint") or _kind(dt) == "bool"


def get_range(bits: int, is_signed: bool = True) -> list[int]:
    """[lowest, highest] of the integers of so many bits."""
    if isinstance(bits, bool) or not isinstance(bits, int) or bits < 1:
        raise TensorError(f"get_range: bits is {bits!r}; expected 1 or more")
    return [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if is_signed else [0, 2**bits - 1]


def get_datatype_range(dt: dtype) -> list[int]:
    """[lowest, highest] of an integer data type."""
    if not is_integer(dt):
        raise TensorError(f"get_datatype_range: {dt} is no integer type")
    return get_range(dtype_bit_width(dt), not is_unsigned(dt))


def iinfo(kind: dtype) -> np.iinfo:
    return np.iinfo(to_numpy_dtype(kind))


def finfo(kind: dtype) -> Any:
    return jnp.finfo(to_numpy_dtype(kind))
