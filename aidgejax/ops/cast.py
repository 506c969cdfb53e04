"""Operators that change the dtype and not the place of numbers: Cast, CastLike, BitCast."""

import jax
import jax.numpy as jnp
from jax import lax

from ..dtypes import ONNX_NAMES, SUB_BYTE, bits
from ..errors import GraphError
from ._registry import operator

ROUND_MODES = ("up", "down", "nearest")


def dtype_of(code):
    """The dtype that ONNX numbers `code`; a 64-bit one only where JAX has 64 bits."""
    if code not in ONNX_NAMES:
        raise GraphError(
            f"no tensor type {code}: it is one of "
            f"{', '.join(f'{k} ({v})' for k, v in ONNX_NAMES.items())}, as ONNX numbers them"
        )
    return jax.dtypes.canonicalize_dtype(jnp.dtype(ONNX_NAMES[code]))


def convert(x, dtype, saturate, round_mode="up"):
    """x in another dtype, as ONNX wants it: what a float 8 cannot hold becomes its largest number, or with
    saturate=0 NaN or infinity; of what an integer cannot hold the low bits stay."""
    x, name = jnp.asarray(x), jnp.dtype(dtype).name
    if name in SUB_BYTE and "int" in name:
        return lax.convert_element_type(low_bits(x, SUB_BYTE[name], name.startswith("int")), dtype)
    if name == "float8_e8m0fnu" and jnp.issubdtype(x.dtype, jnp.floating):
        return power_of_two(x.astype(jnp.float32), saturate, round_mode)
    if name == "float4_e2m1fn" or saturate and name.startswith("float8"):
        top = float(jnp.finfo(dtype).max)
        x = jnp.clip(x, -top, top)
    return x.astype(dtype)


def low_bits(x, count, signed):
    """The lowest `count` bits of x rounded towards zero, as an int32."""
    wide = x.astype(jnp.int32) & ((1 << count) - 1)
    half = 1 << (count - 1)
    return (wide ^ half) - half if signed else wide


def power_of_two(x, saturate, round_mode):
    """f32 -> float8_e8m0fnu: a power of two, which is an exponent and nothing else."""
    if round_mode not in ROUND_MODES:
        raise GraphError(f"round_mode is {round_mode!r}: expected one of {', '.join(ROUND_MODES)}")
    mantissa, exponent = jnp.frexp(x)  # x = mantissa * 2 ** exponent, mantissa in [0.5, 1)
    more = {"up": mantissa > 0.5, "down": jnp.zeros_like(x, bool), "nearest": mantissa >= 0.75}[round_mode]
    exponent = exponent - 1 + more
    inside = (exponent >= -127) & (exponent <= 127) & (x > 0) & jnp.isfinite(x)
    limit = jnp.where(x > 1, 127, -127)
    found = jnp.where(inside, exponent, limit) + 127
    nothing = jnp.isnan(x) if saturate else ~inside
    return lax.bitcast_convert_type(jnp.where(nothing, 255, found).astype(jnp.uint8), jnp.dtype("float8_e8m0fnu"))


def cast_vjp(op, x, y, dy):
    return (op.CastLike(dy, x) if x.is_float else dy,)  # an integer carries its gradient in floats


@operator("Cast", onnx=("", 19), vjp=cast_vjp, layout="same", straight_through="passes")
def cast(x, *, to, saturate=1, round_mode="up"):
    """x in another dtype; to: ONNX's number of it.  t[*s] -> u[*s].  ONNX Cast-19.

    round_mode: where to go between the powers of two of float8_e8m0fnu; "up", "down" or "nearest"."""
    return convert(x, dtype_of(to), saturate, round_mode)


def cast_like_vjp(op, x, like, y, dy):
    return op.CastLike(dy, x), None


@operator("CastLike", onnx=("", 19), vjp=cast_like_vjp)
def cast_like(x, like, *, saturate=1, round_mode="up"):
    """x in the dtype of `like`.  t[*s], u[*r] -> u[*s].  ONNX CastLike-19; settings as of Cast."""
    return convert(x, jnp.result_type(like), saturate, round_mode)


@operator("BitCast", onnx=("", 26))
def bit_cast(x, *, to):
    """The bits of x read as another dtype of the same width; to: ONNX's number of it.  t[*s] -> u[*s].  ONNX
    BitCast-26.  No gradient passes."""
    x, dtype = jnp.asarray(x), dtype_of(to)
    if bits(x.dtype) != bits(dtype):
        raise GraphError(
            f"{x.dtype} has {bits(x.dtype)} bits and {jnp.dtype(dtype).name} has {bits(dtype)}: expected the same width"
        )
    if "bool" in (x.dtype.name, jnp.dtype(dtype).name):
        return x.view(dtype)
    return lax.bitcast_convert_type(x, dtype)
