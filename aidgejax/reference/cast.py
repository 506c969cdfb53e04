"""Operators that change the dtype, in NumPy."""

import math

import numpy as np

from ._definition import backward, define


def dtype_of(code):
    """What ONNX's TensorProto.DataType calls `code`, as a NumPy dtype."""
    named = {
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
    }
    if code in named:
        return np.dtype(named[code])
    import ml_dtypes

    small = {
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
    return np.dtype(getattr(ml_dtypes, small[code]))


def convert(x, dtype, saturate, round_mode="up"):
    x = np.asarray(x)
    if dtype.name in ("int4", "uint4", "int2", "uint2"):
        low = np.trunc(x.astype(np.float64)).astype(np.int64) % (1 << int(dtype.name[-1]))
        return (
            low.astype(dtype)
            if dtype.name[0] == "u"
            else np.where(low >= 1 << (int(dtype.name[-1]) - 1), low - (1 << int(dtype.name[-1])), low).astype(dtype)
        )
    if dtype.name == "float8_e8m0fnu" and np.issubdtype(x.dtype, np.floating):
        codes = [_exponent(float(v), saturate, round_mode) for v in x.ravel()]
        return np.array(codes, np.uint8).reshape(x.shape).view(dtype)
    if dtype.name != "float4_e2m1fn" and (not saturate or not dtype.name.startswith("float8")):
        return x.astype(dtype)
    import ml_dtypes

    top = np.asarray(ml_dtypes.finfo(dtype).max, np.float64)
    wide = x.astype(np.float64)
    return np.where(wide > top, top, np.where(wide < -top, -top, wide)).astype(dtype)


def _exponent(v, saturate, round_mode):
    """The byte of float8_e8m0fnu: the exponent of a power of two, from -127 on; 255 is NaN."""
    if math.isnan(v) or (not saturate and (v <= 0 or math.isinf(v))):
        return 255
    if v <= 0 or math.isinf(v):
        return 254 if v > 0 else 0
    below = math.floor(math.log2(v))
    below -= 2.0**below > v
    up = {"up": v > 2.0**below, "down": False, "nearest": v >= 1.5 * 2.0**below}[round_mode]
    found = below + up + 127
    return found if 0 <= found <= 254 else 255 if not saturate else min(max(found, 0), 254)


@define("Cast")
def cast(x, *, to, saturate=1, round_mode="up"):
    return convert(x, dtype_of(to), saturate, round_mode)


@backward("Cast")
def cast_backward(x, y, dy):
    return (dy.astype(x.dtype),)


@define("CastLike")
def cast_like(x, like, *, saturate=1, round_mode="up"):
    return convert(x, np.asarray(like).dtype, saturate, round_mode)


@backward("CastLike")
def cast_like_backward(x, like, y, dy):
    return dy.astype(x.dtype), None


@define("BitCast")
def bit_cast(x, *, to):
    return np.ascontiguousarray(x).view(dtype_of(to)).reshape(np.shape(x))
