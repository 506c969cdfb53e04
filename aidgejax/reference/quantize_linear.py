"""Quantization in NumPy, from the specification: divide, round halves to even, add the zero point, cut."""

import ml_dtypes
import numpy as np

from ._definition import backward, define
from .cast import dtype_of
from .conv import conv

FLOATS8 = {
    "float8_e4m3fn": 448.0,
    "float8_e4m3fnuz": 240.0,
    "float8_e5m2": 57344.0,
    "float8_e5m2fnuz": 57344.0,
    "float4_e2m1fn": 6.0,
}


def bounds(dtype):
    info = ml_dtypes.iinfo(dtype)
    return int(info.min), int(info.max)


def against(v, x, axis, block_size=0):
    """A scale or zero point as large as what it belongs to."""
    if v.size == 1:
        return v.reshape(())
    if block_size:
        return np.repeat(v, block_size, axis=axis)[tuple(slice(0, d) for d in x.shape)]
    if v.ndim > 1:
        return v
    return v.reshape([-1 if k == axis % x.ndim else 1 for k in range(x.ndim)])


@define("QuantizeLinear")
def quantize_linear(x, scale, zero_point=None, *, axis=1, block_size=0, output_dtype=0, precision=0, saturate=1):
    dtype = np.dtype(np.uint8) if zero_point is None else zero_point.dtype
    dtype = dtype_of(output_dtype) if output_dtype else dtype
    working = dtype_of(precision) if precision else scale.dtype
    z = x.astype(working) / against(scale.astype(working), x, axis, block_size)
    if dtype.name in FLOATS8:
        top = FLOATS8[dtype.name]
        return (np.clip(z, -top, top) if saturate else z).astype(dtype)
    z = np.rint(z).astype(np.float64)
    if zero_point is not None:
        z = z + against(zero_point.astype(np.float64), x, axis, block_size)
    return np.clip(z, *bounds(dtype)).astype(dtype)


@define("DequantizeLinear")
def dequantize_linear(x, scale, zero_point=None, *, axis=1, block_size=0, output_dtype=0):
    out = dtype_of(output_dtype) if output_dtype else scale.dtype
    z = x.astype(out if x.dtype.name in FLOATS8 else np.int32)
    if zero_point is not None and x.dtype.name not in FLOATS8:
        z = z - against(zero_point.astype(np.int32), x, axis, block_size)
    return z.astype(out) * against(scale, x, axis, block_size).astype(out)


@backward("DequantizeLinear")
def dequantize_linear_backward(x, scale, zero_point, y, dy, *, axis=1, block_size=0, output_dtype=0):
    d = dy * dequantize_linear(x, np.ones_like(scale), zero_point, axis=axis, block_size=block_size)
    total = np.zeros_like(scale)
    where = against(np.arange(scale.size).reshape(scale.shape), x, axis, block_size)
    np.add.at(total.reshape(-1), np.broadcast_to(where, x.shape).reshape(-1), d.reshape(-1))
    return None, total, None


@define("DynamicQuantizeLinear")
def dynamic_quantize_linear(x):
    low, high = min(x.min(), x.dtype.type(0)), max(x.max(), x.dtype.type(0))
    scale = (high - low) / x.dtype.type(255)
    scale = scale if scale else (np.float32(1) / np.float32(255)).astype(x.dtype)
    zero = np.rint(np.clip(-low / scale, 0, 255))
    y = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8)
    return y, np.asarray(scale), np.asarray(zero).astype(np.uint8)


def less(x, zero_point, axis):
    x = x.astype(np.int32)
    return x if zero_point is None else x - against(zero_point.astype(np.int32), x, axis)


@define("MatMulInteger")
def matmul_integer(a, b, a_zero_point=None, b_zero_point=None):
    return np.matmul(less(a, a_zero_point, -2), less(b, b_zero_point, -1))


@define("ConvInteger")
def conv_integer(
    x,
    w,
    x_zero_point=None,
    w_zero_point=None,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
):
    return conv(
        less(x, x_zero_point, 1),
        less(w, w_zero_point, 0),
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )


def requantized(sums, scale, y_scale, y_zero_point):
    z = np.rint(sums.astype(np.float32) * (scale / y_scale).astype(np.float32)) + y_zero_point
    return np.clip(z, *bounds(y_zero_point.dtype)).astype(y_zero_point.dtype)


@define("QLinearMatMul")
def qlinear_matmul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
    sums = np.matmul(less(a, a_zero_point, -2), less(b, b_zero_point, -1))
    scale = against(a_scale, sums, -2) * against(b_scale, sums, -1)
    return requantized(sums, scale, against(y_scale, sums, -2), against(y_zero_point, sums, -2))


@define("QLinearConv")
def qlinear_conv(
    x,
    x_scale,
    x_zero_point,
    w,
    w_scale,
    w_zero_point,
    y_scale,
    y_zero_point,
    bias=None,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
):
    sums = conv_integer(
        x,
        w,
        x_zero_point,
        w_zero_point,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    sums = sums if bias is None else sums + bias.reshape(-1, *[1] * (x.ndim - 2))
    scale = x_scale.reshape(()) * against(w_scale, sums, 1)
    return requantized(sums, scale, y_scale.reshape(()), y_zero_point.reshape(()))
