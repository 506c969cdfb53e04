"""Numbers on a grid: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.

Rounding has no useful derivative.  The rules are those of training with quantization: a gradient passes straight
through the integers (which carry one, see gradient.py), except where a number lay outside of what they can represent.
A scale is learned as in Esser et al. 2020 (LSQ): through Quantize and Dequantize together it gets
round(x / s) - x / s inside, and the outermost integers outside.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from ..dtypes import ONNX_CODES
from ..errors import GraphError
from ._eager import EagerBuilder
from ._registry import operator, positive_axes
from .cast import dtype_of
from .fake_quantize import true_quotient

# The integers that a tensor may be quantized to: {dtype: (lowest, highest)}.
LEVELS = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int2": (-2, 1),
    "uint2": (0, 3),
    "int32": (-(2**31), 2**31 - 1),
}
HIGHEST = {
    "float8_e4m3fn": 448.0,
    "float8_e4m3fnuz": 240.0,
    "float8_e5m2": 57344.0,
    "float8_e5m2fnuz": 57344.0,
    "float4_e2m1fn": 6.0,
}


def dtype_name(t):
    return str(t.dtype)


def target_dtype(output_dtype, zero_point):
    """The name of the dtype that is quantized to."""
    if output_dtype:
        name = jnp.dtype(dtype_of(output_dtype)).name
    else:
        name = "uint8" if zero_point is None else dtype_name(zero_point)
    if name not in LEVELS and name not in HIGHEST:
        raise GraphError(f"quantized to {name}: expected one of {', '.join((*LEVELS, *HIGHEST))}")
    return name


def spread(op, v, x, axis, block_size):
    """A scale or zero point against x: one number, one per index of an axis, or one per block along it."""
    shape = tuple(v.shape)
    if len(shape) == 0 or shape == (1,):
        return op.Reshape(v, ()) if shape else v
    (axis,) = positive_axes((axis,), len(x.shape), "axis")
    if block_size:
        return op.Gather(v, block_of(x, axis, block_size), axis=axis)
    if len(shape) != 1:
        raise GraphError(
            f"a scale of shape {list(shape)} without block_size: expected one number, or one per index of axis {axis}"
        )
    return op.Reshape(v, tuple(-1 if k == axis else 1 for k in range(len(x.shape))))


def block_of(x, axis, block_size):
    size = x.shape[axis]
    if not isinstance(size, int):
        raise GraphError(f"axis {axis} is quantized in blocks, and its size {size!r} is not a number")
    return tuple(k // block_size for k in range(size))


def spread_floats(op, zero_point, x, axis, block_size, like):
    """A zero point against x, as floats of the dtype of `like`, in a rule's words."""
    return spread(op, replace(op.CastLike(zero_point, like), shape=zero_point.shape), x, axis, block_size)


def gathered_back(op, d, v, x, axis, block_size):
    """The gradient of a scale, from that of `spread`."""
    if len(v.shape) == 0 or tuple(v.shape) == (1,):
        return op.ReshapeLike(op.ReduceSum(d, keepdims=0), v)
    axis %= len(x.shape)
    if block_size:
        return op.GatherGrad(d, v, block_of(x, axis, block_size), axis=axis)
    return op.ReduceSum(d, tuple(k for k in range(len(x.shape)) if k != axis), keepdims=0)


def check_scale(x, scale, zero_point, axis, block_size):
    ones = ((), (1,))
    if (
        zero_point is not None
        and tuple(zero_point.shape) != tuple(scale.shape)
        and not (tuple(zero_point.shape) in ones and tuple(scale.shape) in ones)
    ):
        raise GraphError(
            f"the zero point has shape {list(zero_point.shape)}, the scale {list(scale.shape)}: they are of one shape"
        )
    if block_size and len(scale.shape) == len(x.shape):
        want = list(x.shape)
        want[axis] = -(-want[axis] // block_size)
        if want != list(scale.shape):
            raise GraphError(
                f"blocks of {block_size} along axis {axis} of {list(x.shape)} take a scale of shape "
                f"{want}, got {list(scale.shape)}"
            )
    elif len(scale.shape) == 1 and scale.shape[0] != 1 and scale.shape[0] != x.shape[axis]:
        raise GraphError(f"a scale of {scale.shape[0]} numbers for axis {axis}, of size {x.shape[axis]}")


# ---- to integers --------------------------------------------------------------------------------------


def quantize_vjp(op, x, y_scale, y_zero_point, y, dy, *, axis, block_size, output_dtype):
    """Not the derivative: straight through where the rounded number is one of the integers, else nothing to x.
    The step: -x / s of it inside, so that Quantize and Dequantize together have LSQ's rule."""
    s = spread(op, y_scale, x, axis, block_size)
    z = op.Div(x, s if y_scale.dtype == x.dtype else op.CastLike(s, x))
    name = target_dtype(output_dtype, y_zero_point)
    if name in LEVELS:
        low, high = LEVELS[name]
        v = op.Round(z)
        if y_zero_point is not None:
            v = op.Add(v, spread_floats(op, y_zero_point, x, axis, block_size, x))
        inside = op.And(op.GreaterOrEqual(v, float(low)), op.LessOrEqual(v, float(high)))
    else:
        inside = op.LessOrEqual(op.Abs(z), HIGHEST[name])
    dz = op.Where(inside, op.CastLike(dy, x), 0.0)
    dx = op.Div(dz, s if y_scale.dtype == x.dtype else op.CastLike(s, x))
    d_scale = gathered_back(op, op.Neg(op.Mul(dx, z)), y_scale, x, axis, block_size)
    return dx, op.CastLike(d_scale, y_scale), None


def quantize_onnx(op, x, y_scale, y_zero_point, *, axis, block_size, output_dtype, precision, saturate):
    name = target_dtype(output_dtype, y_zero_point)
    if name not in LEVELS or precision:
        raise GraphError(f"QuantizeLinear of {x} to {name} cannot be written in older operators; give it float32 data")
    v = op.Round(op.Div(x, spread(op, y_scale, x, axis, block_size)))
    if y_zero_point is not None:
        v = op.Add(v, spread_floats(op, y_zero_point, x, axis, block_size, x))
    low, high = LEVELS[name]
    v = op.Clip(v, float(low), float(high))
    return op.Cast(v, to=ONNX_CODES[name]) if y_zero_point is None else op.CastLike(v, y_zero_point)


@operator(
    "QuantizeLinear",
    onnx=("", 13),
    settings=("y_scale", "y_zero_point"),
    vjp=quantize_vjp,
    decompose=quantize_onnx,
    straight_through="starts",
)
def quantize_linear(x, y_scale, y_zero_point=None, *, axis=1, block_size=0, output_dtype=0, precision=0, saturate=1):
    """round(x / scale) + zero point, halves to even, cut to what the dtype of y holds.  f[*s], f[*r], q[*r] -> q[*s].

    One scale for all, one per index of axis, or, with block_size, one per block along axis.  y is of the zero point's
    dtype, or output_dtype (ONNX's number), or uint8.  precision: ONNX's number of the dtype in which is divided;
    saturate=0 lets float 8 overflow.  The rule is straight through.  ONNX QuantizeLinear-13 (21: int4, int16, blocks).
    """
    x, y_scale = jnp.asarray(x), jnp.asarray(y_scale)
    check_scale(x, y_scale, y_zero_point, axis, block_size)
    name, op = target_dtype(output_dtype, y_zero_point), EagerBuilder()
    working = dtype_of(precision) if precision else y_scale.dtype
    s = spread(op, y_scale, x, axis, block_size).astype(working)
    z = true_quotient(x.astype(working), s)
    if name in HIGHEST:
        z = z.astype(jnp.float32)
        z = jnp.clip(z, -HIGHEST[name], HIGHEST[name]) if saturate else z
        return z.astype(name)
    low, high = LEVELS[name]
    whole = jnp.clip(jnp.round(z).astype(jnp.promote_types(working, "float32")), -(2.0**30), 2.0**30).astype(jnp.int32)
    if y_zero_point is not None:
        whole = whole + spread(op, jnp.asarray(y_zero_point).astype(jnp.int32), x, axis, block_size)
    return jnp.clip(whole, low, high).astype(name)


# ---- and back -----------------------------------------------------------------------------------------


def centred(op, x, zero_point, axis, block_size, like):
    """x - zero point, as floats of the dtype of `like`."""
    v = op.CastLike(x, like)
    if zero_point is None:
        return v
    return op.Sub(v, spread_floats(op, zero_point, x, axis, block_size, like))


def dequantize_vjp(op, x, x_scale, x_zero_point, y, dy, *, axis, block_size):
    """x: straight through, dy times the scale.  The scale: its derivative."""
    s = spread(op, x_scale, x, axis, block_size)
    dx = op.Mul(dy, s if x_scale.dtype == dy.dtype or dy.dtype is None else op.CastLike(s, dy))
    d = op.Mul(dy, centred(op, x, x_zero_point, axis, block_size, dy))
    d_scale = gathered_back(op, d, x_scale, x, axis, block_size)
    return dx, op.CastLike(d_scale, x_scale), None


def dequantize_onnx(op, x, x_scale, x_zero_point, *, axis, block_size, output_dtype):
    s = spread(op, x_scale, x, axis, block_size)
    s = op.Cast(s, to=output_dtype) if output_dtype else s
    return op.Mul(centred(op, x, x_zero_point, axis, block_size, s), s)


@operator(
    "DequantizeLinear",
    onnx=("", 13),
    settings=("x_scale", "x_zero_point"),
    integer_weights=("x",),
    vjp=dequantize_vjp,
    decompose=dequantize_onnx,
    straight_through="passes",
)
def dequantize_linear(x, x_scale, x_zero_point=None, *, axis=1, block_size=0, output_dtype=0):
    """(x - zero point) scale.  q[*s], f[*r], q[*r] -> f[*s]; scales as in QuantizeLinear.  y is of the scale's dtype,
    or output_dtype (ONNX's number).  ONNX DequantizeLinear-13 (21: int4, int16, blocks)."""
    x, x_scale = jnp.asarray(x), jnp.asarray(x_scale)
    check_scale(x, x_scale, x_zero_point, axis, block_size)
    op, out = EagerBuilder(), dtype_of(output_dtype) if output_dtype else x_scale.dtype
    v = x if x.dtype.name in HIGHEST else x.astype(jnp.int32)
    if x_zero_point is not None and x.dtype.name not in HIGHEST:
        v = v - spread(op, jnp.asarray(x_zero_point).astype(jnp.int32), x, axis, block_size)
    return v.astype(out) * spread(op, x_scale, x, axis, block_size).astype(out)


# ---- with a range of the moment -----------------------------------------------------------------------


def dynamic_quantize_vjp(op, x, y, y_scale, y_zero_point, dy, d_scale, d_zero_point):
    """Not the derivative: straight through, the range (and with it the scale) being taken for a constant."""
    return (None if dy is None else op.Div(dy, y_scale),)


def dynamic_quantize_onnx(op, x):
    low, high = op.Min(op.ReduceMin(x, keepdims=0), 0.0), op.Max(op.ReduceMax(x, keepdims=0), 0.0)
    wide = op.Div(op.Sub(high, low), 255.0)
    scale = op.Where(op.Equal(wide, 0.0), op.CastLike(1 / 255, x), wide)
    zero = op.Round(op.Clip(op.Div(op.Neg(low), scale), 0.0, 255.0))
    y = op.Cast(op.Clip(op.Add(op.Round(op.Div(x, scale)), zero), 0.0, 255.0), to=2)
    return y, scale, op.Cast(zero, to=2)


@operator(
    "DynamicQuantizeLinear",
    onnx=("", 11),
    vjp=dynamic_quantize_vjp,
    decompose=dynamic_quantize_onnx,
    outputs=3,
    residual_outputs=(1,),
    straight_through="starts",
)
def dynamic_quantize_linear(x):
    """x in uint8, with the scale (max(x, 0) - min(x, 0)) / 255 and the zero point that make its range fit.
    f[*s] -> u8[*s], f[], u8[].  The rule is straight through.  ONNX DynamicQuantizeLinear-11."""
    x = jnp.asarray(x)
    low, high = jnp.minimum(jnp.min(x), 0), jnp.maximum(jnp.max(x), 0)
    width = true_quotient(high - low, 255)
    scale = jnp.where(width == 0, np.float32(1) / np.float32(255), width).astype(x.dtype)
    zero = jnp.round(jnp.clip(-low / scale, 0, 255))
    y = jnp.clip(jnp.round(true_quotient(x, scale)) + zero, 0, 255)
    return y.astype(jnp.uint8), scale, zero.astype(jnp.uint8)
