"""FakeQuantize, the operator of training with quantization; rounding to steps, and steps that are powers of two.

A rounding has no useful derivative; each rule says what it takes in its place.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._flat_walks import in_rows
from ._registry import operator


def true_quotient(x, step):
    """x / step, truly divided: by one number XLA would multiply with its inverse, and halves would round apart."""
    x = jnp.asarray(x)
    return x / jnp.where(x == x, jnp.asarray(step, x.dtype), 1)


def round_to_vjp(op, x, step, y, dy):
    """Not the derivative: straight through to x, nothing to the step.  Source: aihwkit (UniformQuantize)."""
    return dy, None


def round_to_onnx(op, x, step):
    return op.Mul(op.Round(op.Div(x, step)), step)


@operator("RoundTo", full_precision=True, vjp=round_to_vjp, decompose=round_to_onnx, layout="same")
def round_to(x, step):
    """round(x / step) step, halves to even.  f[*s], f[] -> f[*s].  The rule is straight through.  Source: aihwkit."""
    rounded = lambda x, step: jnp.round(true_quotient(x, step)) * step
    return in_rows(rounded, x, step)


# What a step learns from: "lsq" with the factor 1 / sqrt(n high), "plain" without it, "pact" from what is cut off.
SLOPES = ("lsq", "plain", "pact")
CONTAINERS = ((-128, 127, 3, np.int8), (0, 255, 2, np.uint8), (-32768, 32767, 5, np.int16), (0, 65535, 4, np.uint16))


def per_element(v, x):
    """A step or zero point as it broadcasts to x: of blocks, each number is repeated over its block."""
    if jnp.ndim(v) == 0:
        return v
    if jnp.ndim(v) != jnp.ndim(x):
        raise GraphError(
            f"a step of shape {list(jnp.shape(v))} for data of shape {list(jnp.shape(x))}: expected one number, or as "
            f"many axes, each of size 1, the data's, or a number of blocks"
        )
    for k, (n, size) in enumerate(zip(jnp.shape(v), jnp.shape(x), strict=True)):
        if n not in (1, size):
            v = jnp.repeat(v, -(-size // n), axis=k)[
                tuple(slice(0, size) if a == k else slice(None) for a in range(k + 1))
            ]
    return v


def summed_to(d, v):
    """The sums of d over what `per_element` repeated."""
    for k, n in enumerate(jnp.shape(v) or ()):
        size = d.shape[k]
        if n == 1 and size != 1:
            d = jnp.sum(d, axis=k, keepdims=True)
        elif n != size:
            block = -(-size // n)
            padded = jnp.pad(d, [(0, n * block - size) if a == k else (0, 0) for a in range(d.ndim)])
            d = jnp.sum(jnp.reshape(padded, (*d.shape[:k], n, block, *d.shape[k + 1 :])), axis=k + 1)
    return jnp.reshape(jnp.sum(d) if jnp.ndim(v) == 0 else d, jnp.shape(v))


def whole_zero(zero, low, high):
    return jnp.round(jnp.clip(zero, low, high))


def fake_quantize_vjp(op, x, step, zero, low, high, y, dy, *, slope):
    """Not the derivative of the rounding, see FakeQuantizeGrad."""
    low, high = ends_of(low, high)
    wanted = 3 if zero is not None else 2
    found = op.FakeQuantizeGrad(dy, x, step, zero, low, high, slope=slope, outputs=wanted)
    return (*found, *[None] * (5 - wanted))


def cut_off(op, x, step, zero, low, high):
    """x between the numbers that the lowest and the highest level stand for."""
    step = repeated(op, step, x)
    if zero is None:
        return op.Min(op.Max(x, op.Mul(step, float(low))), op.Mul(step, float(high)))
    z = op.Round(op.Min(op.Max(repeated(op, zero, x), float(low)), float(high)))
    return op.Min(op.Max(x, op.Mul(op.Sub(float(low), z), step)), op.Mul(op.Sub(float(high), z), step))


def container(low, high):
    """(lowest, highest, ONNX's number, NumPy's dtype) of the narrowest 8- or 16-bit integers that hold low to high."""
    for c in CONTAINERS:
        if c[0] <= low and high <= c[1]:
            return c
    raise GraphError(f"levels from {low} to {high}: the widest integers that are quantized to have 16 bits")


def ends_of(low, high):
    """The levels, 8 bits where nothing else is said."""
    return -128 if low is None else low, 127 if high is None else high


def quantized_axis(step, x):
    """QuantizeLinear's axis and block_size for this step, or None where it cannot say the same."""
    axes = [k for k, n in enumerate(step.shape or ()) if n != 1]
    blocks = [k for k in axes if step.shape[k] != x.shape[k]]
    if blocks:
        (k, *more) = blocks
        others = [n != x.shape[a] for a, n in enumerate(step.shape) if a != k]
        return None if more or any(others) else {"axis": k, "block_size": -(-x.shape[k] // step.shape[k])}
    return None if len(axes) > 1 else {"axis": axes[0]} if axes else {}


def fake_quantize_onnx(op, x, step, zero, low, high, *, slope):
    low, high = ends_of(low, high)
    numbers = isinstance(low, int | float) and isinstance(high, int | float)
    where = quantized_axis(step, x) if numbers and -32768 <= low and high <= 65535 else None
    if where is not None:
        lowest, highest, code, _ = container(low, high)
        if (low, high) != (lowest, highest):
            x = cut_off(op, x, step, zero, low, high)
        z = op.Mul(step, 0.0) if zero is None else op.Round(op.Min(op.Max(zero, float(low)), float(high)))
        shape = None if "block_size" in where or not step.shape else (-1,) if where else ()
        s, z = (v if shape is None else op.Reshape(v, shape) for v in (step, op.Cast(z, to=code)))
        return op.DequantizeLinear(op.QuantizeLinear(x, s, z, **where), s, z, **where)
    v, z, s = levels_onnx(op, x, step, zero, low, high)
    v = op.Min(op.Max(op.Add(op.Round(v), z) if zero is not None else op.Round(v), low), high)
    return op.Mul(op.Sub(v, z) if zero is not None else v, s)


def minus(op, a, b):
    """a - b, of which either may be a number."""
    return float(a - b) if isinstance(a, int | float) and isinstance(b, int | float) else op.Sub(a, b)


def levels_onnx(op, x, step, zero, low, high):
    s = repeated(op, step, x)
    z = 0.0 if zero is None else op.Round(op.Min(op.Max(repeated(op, zero, x), low), high))
    return op.Div(x, s), z, s


def repeated(op, v, x):
    """`per_element` in a rule's words."""
    for k, n in enumerate(v.shape or ()):
        if n != 1 and n != x.shape[k]:
            block = -(-x.shape[k] // n)
            v = op.Gather(v, tuple(j // block for j in range(x.shape[k])), axis=k)
    return v


@operator("FakeQuantize", full_precision=True, vjp=fake_quantize_vjp, decompose=fake_quantize_onnx, layout="same")
def fake_quantize(x, step, zero=None, low=None, high=None, *, slope="lsq"):
    """(min(max(round(x / step) + z, low), high) - z) step, z = round(zero).  f[*s], f[*r], f[*r] -> f[*s].

    DequantizeLinear of QuantizeLinear (halves to even) to the last bit.  step (above 0), zero (default 0): one number,
    or a tensor of x's rank that broadcasts to it; an axis of another size counts blocks.  low, high (default: -128 to
    127): the levels, numbers or tensors.
    slope: what the step learns from, "lsq", "plain" or "pact", see FakeQuantizeGrad."""
    if slope not in SLOPES:
        raise GraphError(f"slope is {slope!r}: expected one of {', '.join(SLOPES)}")
    x, (low, high) = jnp.asarray(x), ends_of(low, high)
    s = per_element(jnp.asarray(step, x.dtype), x)
    v = jnp.round(true_quotient(x, s))
    if zero is None:
        return jnp.clip(v, low, high) * s
    z = per_element(whole_zero(jnp.asarray(zero, x.dtype), low, high), x)
    return (jnp.clip(v + z, low, high) - z) * s


def fake_quantize_grad_onnx(op, dy, x, step, zero, low, high, *, slope):
    low, high = ends_of(low, high)
    v, z, s = levels_onnx(op, x, step, zero, low, high)
    whole = op.Round(v) if zero is None else op.Add(op.Round(v), z)
    below, above = op.Less(whole, low), op.Greater(whole, high)
    outside = op.Or(below, above)
    dx = op.Where(outside, 0.0, dy)
    inside = 0.0 if slope == "pact" else op.Sub(op.Round(v), v)
    ends = op.Where(below, minus(op, low, z), op.Where(above, minus(op, high, z), inside))
    d_step = collected(op, op.Mul(dy, ends), step, x)
    if slope == "lsq":
        n = op.Div(op.CastLike(op.Size(x), x), op.CastLike(op.Size(step), x))
        top = float(max(high, 1)) if isinstance(high, int | float) else op.Max(op.CastLike(high, x), 1.0)
        d_step = op.Div(d_step, op.Sqrt(op.Mul(n, top)))
    if zero is None:
        return dx, d_step
    return dx, d_step, collected(op, op.Neg(op.Mul(op.Where(outside, dy, 0.0), s)), zero, x)


def collected(op, d, v, x):
    """`summed_to` in a rule's words."""
    if len(v.shape) == 0:
        return op.ReduceSum(d, keepdims=0)
    ones = tuple(k for k, n in enumerate(v.shape) if n == 1)
    d = op.ReduceSum(d, ones, keepdims=1) if ones else d
    for k, n in enumerate(v.shape):
        if n not in (1, x.shape[k]):
            block = -(-x.shape[k] // n)
            d = op.GatherGrad(d, v, tuple(j // block for j in range(x.shape[k])), axis=k)
    return d


@operator("FakeQuantizeGrad", full_precision=True, decompose=fake_quantize_grad_onnx, outputs=3, layout="same")
def fake_quantize_grad(dy, x, step, zero=None, low=None, high=None, *, slope="lsq"):
    """The gradients of FakeQuantize's x, step and zero.  f[*s], f[*s], f[*r], f[*r] -> f[*s], f[*r], f[*r].

    x: dy where its level lies from low to high, else 0.  step: the sum of dy e, e = round(x / step) - x / step inside
    ("pact": 0), low - z or high - z outside; "lsq" divides by sqrt(n high), n elements having this step.  zero: the sum
    of -dy step outside.  Source: Esser et al. 2020 (LSQ); Bhalgat et al. 2020 (LSQ+); Choi et al. 2018 (PACT)."""
    x, (low, high) = jnp.asarray(x), ends_of(low, high)
    step = jnp.asarray(step, x.dtype)
    s = per_element(step, x)
    v = true_quotient(x, s)
    rounded = jnp.round(v)
    z = 0.0 if zero is None else per_element(whole_zero(jnp.asarray(zero, x.dtype), low, high), x)
    below, above = rounded + z < low, rounded + z > high
    outside = below | above
    dx = jnp.where(outside, 0, dy)
    inside = jnp.zeros_like(v) if slope == "pact" else rounded - v
    d_step = summed_to(dy * jnp.where(below, low - z, jnp.where(above, high - z, inside)), step)
    if slope == "lsq":
        d_step = d_step / jnp.sqrt(jnp.maximum(high, 1) * (x.size / step.size)).astype(x.dtype)
    d_zero = None if zero is None else summed_to(-jnp.where(outside, dy, 0) * s, jnp.asarray(zero))
    return dx, d_step, d_zero


def power_of_two_vjp(op, x, y, dy):
    """Not the derivative of the rounding: straight through in the logarithm, dy y / x.  Source: Jain et al. 2020."""
    return (op.Mul(dy, op.Div(y, x)),)


def power_of_two_onnx(op, x):
    return op.CastLike(op.Pow(2.0, op.Round(op.Mul(op.Log(x), 1 / math.log(2)))), x)


@operator("PowerOfTwo", full_precision=True, vjp=power_of_two_vjp, decompose=power_of_two_onnx)
def power_of_two(x):
    """The power of two nearest to x > 0 in the logarithm: exactly 2^round(log2 x).  f[*s] -> f[*s]."""
    x = jnp.asarray(x)
    wide = x.dtype == jnp.float64
    kind, root = (jnp.int64, 0x6A09E667F3BCC) if wide else (jnp.int32, 0x3504F3)
    mantissa = 52 if wide else 23
    bits = jax.lax.bitcast_convert_type(x if wide else x.astype(jnp.float32), kind)
    # A mantissa above that of sqrt(2) carries into the exponent; what is left of it is cut off.
    up = (bits + ((1 << mantissa) - 1 - root)) >> mantissa << mantissa
    return jax.lax.bitcast_convert_type(up, jnp.float64 if wide else jnp.float32).astype(x.dtype)
