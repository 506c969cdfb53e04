"""Aidge's quantizers for training with quantization: LSQ, DoReFa, CGPACT, TanhClamp, ScaleAdjust, FixedQ.

A rounding has no useful derivative; each rule says what it takes in its place.
"""

import math

import jax.numpy as jnp

from ..errors import GraphError
from ._registry import operator
from .fake_quantize import true_quotient


def away(x):
    """The integer nearest to x, halves away from zero, as C's round does."""
    whole = jnp.floor(jnp.abs(x))
    return jnp.sign(x) * jnp.where(jnp.abs(x) - whole >= 0.5, whole + 1, whole)


def lsq_vjp(op, x, step, y, dy, *, range):
    """Not the derivative: x passes strictly inside the range; the step by Esser et al. 2020, as Aidge has it.

    d step = sum of dy (low, high, or round(x/step) - x/step) / sqrt(size high)."""
    low, high = range
    z = op.Div(x, step)
    below, above = op.LessOrEqual(z, float(low)), op.GreaterOrEqual(z, float(high))
    dx = op.Where(op.Or(below, above), 0.0, dy)
    slope = op.Where(below, float(low), op.Where(above, float(high), op.Sub(op.Round(z, halves="away"), z)))
    scale = op.Sqrt(op.Mul(op.CastLike(op.Size(x), x), float(high)))
    d_step = op.Div(op.ReduceSum(op.Mul(dy, slope), keepdims=0), scale)
    return dx, op.ReshapeLike(d_step, step)


def lsq_onnx(op, x, step, *, range):
    z = op.Clip(op.Div(x, step), float(range[0]), float(range[1]))
    return op.Mul(op.Round(z, halves="away"), step)


@operator("LSQ", full_precision=True, vjp=lsq_vjp, decompose=lsq_onnx, layout="same")
def lsq(x, step, *, range):
    """round(min(max(x / step, low), high)) step, halves away from zero.  f[*s], f[1] -> f[*s].  range: (low, high).

    Learned step size quantization.  Source: Aidge (LSQ); Esser et al. 2020."""
    low, high = range
    if not low < high:
        raise GraphError(f"range is {tuple(range)}: expected (low, high) with low < high")
    return away(jnp.clip(true_quotient(x, step), low, high)) * step


def dorefa_vjp(op, x, y, dy):
    """Not the derivative: straight through.  Source: Aidge (DoReFa); Zhou et al. 2016."""
    return (dy,)


def dorefa_onnx(op, x, *, range, mode):
    r = float(range)
    if mode == "Symmetric":
        return op.Div(op.Round(op.Mul(x, r)), r)
    unit = op.Round(op.Mul(op.Add(op.Mul(x, 0.5), 0.5), r))
    return op.Sub(op.Mul(op.Div(unit, r), 2.0), 1.0)


@operator("DoReFa", full_precision=True, vjp=dorefa_vjp, decompose=dorefa_onnx, layout="same")
def dorefa(x, *, range=255, mode="Default"):
    """2 round((x/2 + 1/2) range) / range - 1 ("Default") or round(x range) / range ("Symmetric").  f[*s] -> f[*s].

    Halves to the even neighbour; nothing is clipped.  Source: Aidge (DoReFa); Zhou et al. 2016."""
    if mode not in ("Default", "Symmetric"):
        raise GraphError(f"mode is {mode!r}, expected 'Default' or 'Symmetric'")
    if range <= 0:
        raise GraphError(f"range is {range}, expected the number of steps, 1 or more")
    if mode == "Symmetric":
        return jnp.round(x * range) / range
    return 2 * (jnp.round((x * 0.5 + 0.5) * range) / range) - 1


def cgpact_vjp(op, x, alpha, y, dy, *, range):
    """Not the derivative of the rounding: x passes where 0 < x <= alpha; alpha takes the part that is cut off, and the
    rounding error elsewhere.  Source: Aidge (CGPACT)."""
    z = op.Div(x, alpha)
    off, over = op.LessOrEqual(x, 0.0), op.GreaterOrEqual(x, alpha)
    dx = op.Where(op.Or(off, op.Greater(x, alpha)), 0.0, dy)
    error = op.Sub(op.Div(op.Round(op.Mul(z, float(range)), halves="away"), float(range)), z)
    slope = op.Where(off, 0.0, op.Where(over, 1.0, error))
    return dx, op.ReshapeLike(op.ReduceSum(op.Mul(dy, slope), keepdims=0), alpha)


def cgpact_onnx(op, x, alpha, *, range):
    z = op.Mul(op.Clip(op.Div(x, alpha), 0.0, 1.0), float(range))
    return op.Mul(op.Div(op.Round(z, halves="away"), float(range)), alpha)


@operator("CGPACT", full_precision=True, vjp=cgpact_vjp, decompose=cgpact_onnx, layout="same")
def cgpact(x, alpha, *, range=255):
    """round(min(max(x / alpha, 0), 1) range) / range alpha.  f[*s], f[1] -> f[*s].  Source: Aidge (CGPACT)."""
    if range <= 0:
        raise GraphError(f"range is {range}, expected the number of steps, 1 or more")
    return away(jnp.clip(true_quotient(x, alpha), 0, 1) * range) / range * alpha


def tanh_clamp_vjp(op, x, y, scaling, dy, d_scaling):
    """The derivative with the maximum taken as a constant: dy (1 - tanh(x)^2) / scaling.  Source: Aidge."""
    if dy is None:
        return (None,)
    t = op.Mul(y, scaling)
    return (op.Div(op.Mul(dy, op.Sub(1.0, op.Mul(t, t))), scaling),)


def tanh_clamp_onnx(op, x):
    t = op.Tanh(x)
    peak = op.Reshape(op.ReduceMax(op.Abs(t), keepdims=0), (1,))
    return op.Div(t, peak), peak


@operator(
    "TanhClamp", full_precision=True, vjp=tanh_clamp_vjp, decompose=tanh_clamp_onnx, outputs=2, residual_outputs=(0, 1)
)
def tanh_clamp(x):
    """tanh(x) / max |tanh(x)|, and that maximum.  f[*s] -> f[*s], f[1].  Source: Aidge (TanhClamp)."""
    t = jnp.tanh(x)
    peak = jnp.reshape(jnp.max(jnp.abs(t)), (1,))
    return t / peak, peak


def scale_adjust_vjp(op, x, y, inverse, dy, d_inverse):
    """The derivative with the scale taken as a constant: dy / inverse.  Source: Aidge (ScaleAdjust)."""
    return (None if dy is None else op.Div(dy, inverse),)


def scale_adjust_onnx(op, x):
    centred = op.Sub(x, op.ReduceMean(x, keepdims=0))
    n = op.CastLike(op.Size(x), x)
    var = op.Div(op.ReduceSum(op.Mul(centred, centred), keepdims=0), op.Sub(n, 1.0))
    fan = op.Div(n, op.CastLike(op.Gather(op.Shape(x), 0), x))
    inverse = op.Reshape(op.Sqrt(op.Mul(fan, var)), (1,))
    return op.Div(x, inverse), inverse


@operator(
    "ScaleAdjust",
    full_precision=True,
    vjp=scale_adjust_vjp,
    decompose=scale_adjust_onnx,
    outputs=2,
    residual_outputs=(1,),
)
def scale_adjust(x):
    """x / a and a = sqrt(size / n var(x)), var as of a sample.  f[n, *s] -> f[n, *s], f[1].  Source: Aidge."""
    if jnp.ndim(x) == 0 or x.size < 2:
        raise GraphError(f"a weight of 2 or more values is needed, got shape {list(jnp.shape(x))}")
    var = jnp.sum(jnp.square(x - jnp.mean(x))) / (x.size - 1)
    inverse = jnp.reshape(jnp.sqrt(x.size / x.shape[0] * var), (1,))
    return x / inverse, inverse


def fixed_q_vjp(op, x, y, dy):
    """Not the derivative: straight through, also where it is clipped.  Source: Aidge (FixedQ)."""
    return (dy,)


def fixed_q_levels(nb_bits, span, is_output_unsigned):
    """(step, lowest, highest integer)"""
    if is_output_unsigned:
        return span / 2**nb_bits, 0, 2**nb_bits - 1
    return span / 2 ** (nb_bits - 1), -(2 ** (nb_bits - 1)), 2 ** (nb_bits - 1) - 1


def fixed_q_onnx(op, x, *, nb_bits, span, is_output_unsigned):
    step, low, high = fixed_q_levels(nb_bits, span, is_output_unsigned)
    return op.Mul(op.Clip(op.Round(op.Div(x, step), halves="away"), float(low), float(high)), step)


@operator("FixedQ", full_precision=True, vjp=fixed_q_vjp, decompose=fixed_q_onnx, layout="same")
def fixed_q(x, *, nb_bits=8, span=4.0, is_output_unsigned=False):
    """min(max(round(x / step), low), high) step, halves away from zero.  f[*s] -> f[*s].

    step: span / 2^(nb_bits - 1), low and high -2^(nb_bits - 1) and 2^(nb_bits - 1) - 1; unsigned: span / 2^nb_bits, 0
    and 2^nb_bits - 1.  Source: Aidge (FixedQ)."""
    if nb_bits < 1 or not span > 0 or not math.isfinite(span):
        raise GraphError(f"nb_bits is {nb_bits} and span {span}: expected at least 1 bit and a span above 0")
    step, low, high = fixed_q_levels(nb_bits, span, is_output_unsigned)
    return jnp.clip(away(true_quotient(x, step)), low, high) * step
