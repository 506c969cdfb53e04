"""Products of integers: MatMulInteger, ConvInteger, and with scales on both sides QLinearMatMul, QLinearConv.

Sums are exact, in 32 bits.  Their rules are the products' own, in floats: straight through every rounding and nothing
where a result was cut to its range, see quantize_linear.py.
"""

from dataclasses import replace

import jax.numpy as jnp

from ._convolution import convolve
from ._registry import operator
from ._windows import channels_last, in_layout
from .conv import conv_flops, conv_windows, kernel_last
from .matmul import check_inner, matmul_flops, matmul_vjp
from .quantize_linear import LEVELS

FLOAT = 1  # ONNX's number of float32


def less(x, zero_point, axis):
    """x - zero point in 32 bits; a vector of zero points lies along an axis."""
    x = jnp.asarray(x).astype(jnp.int32)
    return x if zero_point is None else x - along(jnp.asarray(zero_point).astype(jnp.int32), x, axis)


def along(v, x, axis):
    """A vector as it broadcasts to x along an axis; one number, and a tensor of x's rank, are left alone."""
    if jnp.ndim(v) != 1 or jnp.size(v) == 1 or x.ndim == 1:
        return jnp.reshape(v, ()) if jnp.size(v) == 1 else v
    return jnp.reshape(v, [-1 if k == axis % x.ndim else 1 for k in range(x.ndim)])


def floats(op, x, zero_point, axis):
    """The same in float32, in a rule's words."""
    v = op.Cast(x, to=FLOAT)
    if zero_point is None:
        return v
    return op.Sub(v, vector(op, op.Cast(zero_point, to=FLOAT), zero_point, x, axis))


def vector(op, v, like, x, axis):
    """`along` in a rule's words; `like` tells the shape of v."""
    if len(like.shape) != 1 or like.shape[0] == 1 or len(x.shape) == 1:
        return op.Reshape(v, ()) if len(like.shape) == 1 and like.shape[0] == 1 else v
    return op.Reshape(v, tuple(-1 if k == axis % len(x.shape) else 1 for k in range(len(x.shape))))


# ---- plain --------------------------------------------------------------------------------------------


def matmul_integer_vjp(op, a, b, a_zero_point, b_zero_point, y, dy):
    """The rule of MatMul, in floats: straight through to integers."""
    left, right = floats(op, a, a_zero_point, -2), floats(op, b, b_zero_point, -1)
    da, db = matmul_vjp(op, shaped(left, a), shaped(right, b), y, dy)
    return da, db, None, None


def shaped(value, like):
    """A Value that a rule has just written, known to be of another's shape."""
    return replace(value, shape=like.shape, dtype="float32")


@operator(
    "MatMulInteger",
    onnx=("", 10),
    vjp=matmul_integer_vjp,
    flops=matmul_flops,
    straight_through="passes",
    integer_weights=("a", "b"),
)
def matmul_integer(a, b, a_zero_point=None, b_zero_point=None):
    """(a - zero point) (b - zero point), summed in 32 bits.  q[*s, n, k], q[*r, k, m] -> i32[..., n, m].
    Zero points: one, or one per row of a, per column of b.  The rule is straight through.  ONNX MatMulInteger-10."""
    check_inner(jnp.shape(a), jnp.shape(b))
    return jnp.matmul(less(a, a_zero_point, -2), less(b, b_zero_point, -1))


def conv_integer_vjp(op, x, w, x_zero_point, w_zero_point, y, dy, *, auto_pad, dilations, group, pads, strides):
    """The rule of Conv, in floats: straight through to integers."""
    how = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    fx, fw = floats(op, x, x_zero_point, 1), floats(op, w, w_zero_point, 0)
    return op.ConvGradInput(dy, fw, fx, **how), op.ConvGradWeight(fx, dy, fw, **how), None, None


def convolved(x, w, x_zero_point, w_zero_point, layout, kernel_shape, *, group, **how):
    """The exact sums of a convolution of integers, channels last."""
    x, w = channels_last(less(x, x_zero_point, 1), layout), less(w, w_zero_point, 0)
    win = conv_windows(x.shape, w.shape, kernel_shape, group=group, **how)
    return convolve(x, kernel_last(w), win, group)


@operator(
    "ConvInteger",
    onnx=("", 10),
    vjp=conv_integer_vjp,
    layout=((0,), (0,)),
    flops=conv_flops,
    straight_through="passes",
    integer_weights=("w",),
)
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
    layout="NCHW",
):
    """Conv of x - zero point by w - zero point, summed in 32 bits; padded with zero points.  q[n, i, *s],
    q[o, i / group, *k], q[], q[] or q[o] -> i32[n, o, *r].  The rule is straight through.  ONNX ConvInteger-10."""
    y = convolved(
        x,
        w,
        x_zero_point,
        w_zero_point,
        layout,
        kernel_shape,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    return in_layout(y, layout)


# ---- between scales -----------------------------------------------------------------------------------


def requantized(sums, scale, y_scale, y_zero_point):
    """Exact sums of the given scale, on the grid of the result."""
    y_zero_point = jnp.asarray(y_zero_point)
    low, high = LEVELS[y_zero_point.dtype.name]
    z = sums.astype(jnp.float32) * (scale / y_scale).astype(jnp.float32)
    whole = jnp.clip(jnp.round(z), -(2.0**30), 2.0**30).astype(jnp.int32) + y_zero_point.astype(jnp.int32)
    return jnp.clip(whole, low, high).astype(y_zero_point.dtype)


def passing(op, y, y_zero_point, dy):
    """dy where the result lies inside its range; of one at an end nobody can tell whether it was cut."""
    low, high = LEVELS[y_zero_point.dtype]
    v = op.Cast(y, to=FLOAT)
    return op.Where(op.And(op.Greater(v, float(low)), op.Less(v, float(high))), dy, 0.0)


def qlinear_matmul_vjp(op, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point, y, dy):
    """The rule of MatMul between scales: straight through where the result was not cut; scales get nothing."""
    d = op.Div(passing(op, y, y_zero_point, dy), vector(op, y_scale, y_scale, y, -2))
    left = op.Mul(floats(op, a, a_zero_point, -2), vector(op, a_scale, a_scale, a, -2))
    right = op.Mul(floats(op, b, b_zero_point, -1), vector(op, b_scale, b_scale, b, -1))
    da, db = matmul_vjp(op, shaped(left, a), shaped(right, b), y, d)
    da, db = op.Mul(da, vector(op, a_scale, a_scale, a, -2)), op.Mul(db, vector(op, b_scale, b_scale, b, -1))
    return da, None, None, db, None, None, None, None


def qlinear_matmul_onnx(op, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
    left = op.DequantizeLinear(a, a_scale, a_zero_point, axis=-2)
    right = op.DequantizeLinear(b, b_scale, b_zero_point, axis=-1)
    return op.QuantizeLinear(op.MatMul(left, right), y_scale, y_zero_point, axis=-2)


@operator(
    "QLinearMatMul",
    onnx=("", 10),
    vjp=qlinear_matmul_vjp,
    decompose=qlinear_matmul_onnx,
    settings=("a_scale", "a_zero_point", "b_scale", "b_zero_point", "y_scale", "y_zero_point"),
    integer_weights=("a", "b"),
    straight_through="passes",
    flops=lambda inputs, outputs, attributes: matmul_flops((inputs[0], inputs[3]), outputs, attributes),
)
def qlinear_matmul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
    """MatMul of two quantized tensors, quantized: round((a - za)(b - zb) sa sb / sy) + zy.  q[*s, n, k], f[], q[],
    q[*r, k, m], f[], q[], f[], q[] -> q[..., n, m]; scales: one, or one per row of a, per column of b, per row of y.
    The rule is straight through, and leaves scales alone.  ONNX QLinearMatMul-10."""
    check_inner(jnp.shape(a), jnp.shape(b))
    sums = jnp.matmul(less(a, a_zero_point, -2), less(b, b_zero_point, -1))
    scale = along(jnp.asarray(a_scale), sums, -2) * along(jnp.asarray(b_scale), sums, -1)
    return requantized(sums, scale, along(jnp.asarray(y_scale), sums, -2), along(jnp.asarray(y_zero_point), sums, -2))


def qlinear_conv_vjp(
    op,
    x,
    x_scale,
    x_zero_point,
    w,
    w_scale,
    w_zero_point,
    y_scale,
    y_zero_point,
    B,
    y,
    dy,
    *,
    auto_pad,
    dilations,
    group,
    pads,
    strides,
):
    """The rule of Conv between scales: straight through where the result was not cut; scales get nothing."""
    how = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    d = op.Div(passing(op, y, y_zero_point, dy), op.Reshape(y_scale, ()))
    sx, sw = op.Reshape(x_scale, ()), vector(op, w_scale, w_scale, w, 0)
    fx = op.Mul(floats(op, x, x_zero_point, 1), sx)
    fw = op.Mul(floats(op, w, w_zero_point, 0), sw)
    dx, dw = op.ConvGradInput(d, fw, fx, **how), op.ConvGradWeight(fx, d, fw, **how)
    return op.Mul(dx, sx), None, None, op.Mul(dw, sw), None, None, None, None, None


def qlinear_conv_onnx(op, x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B=None, **how):
    bias = None
    if B is not None:
        bias = op.DequantizeLinear(B, op.Mul(op.Reshape(x_scale, ()), w_scale), axis=0)
    x, w = op.DequantizeLinear(x, x_scale, x_zero_point), op.DequantizeLinear(w, w_scale, w_zero_point, axis=0)
    return op.QuantizeLinear(op.Conv(x, w, bias, **how), y_scale, y_zero_point)


@operator(
    "QLinearConv",
    onnx=("", 10),
    vjp=qlinear_conv_vjp,
    decompose=qlinear_conv_onnx,
    settings=("x_scale", "x_zero_point", "w_scale", "w_zero_point", "y_scale", "y_zero_point"),
    integer_weights=("w", "B"),
    layout=((0,), (0,)),
    flops=lambda inputs, outputs, attributes: conv_flops((inputs[0], inputs[3]), outputs, attributes),
    straight_through="passes",
)
def qlinear_conv(
    x,
    x_scale,
    x_zero_point,
    w,
    w_scale,
    w_zero_point,
    y_scale,
    y_zero_point,
    B=None,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
    layout="NCHW",
):
    """Conv of two quantized tensors, quantized: round(((x - zx) * (w - zw) + B) sx sw / sy) + zy.  q[n, i, *s], f[],
    q[], q[o, i / group, *k], f[] or f[o], q[] or q[o], f[], q[], i32[o] -> q[n, o, *r].
    The rule is straight through, and leaves scales and B alone.  ONNX QLinearConv-10."""
    sums = convolved(
        x,
        w,
        x_zero_point,
        w_zero_point,
        layout,
        kernel_shape,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    sums = sums if B is None else sums + jnp.asarray(B)
    scale = jnp.reshape(x_scale, ()) * along(jnp.asarray(w_scale), sums, -1)
    return in_layout(requantized(sums, scale, jnp.reshape(y_scale, ()), jnp.reshape(y_zero_point, ())), layout)
