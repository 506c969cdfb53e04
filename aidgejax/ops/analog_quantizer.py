"""The quantizer of an analog tile's digital scales and biases: one range for the whole tensor.

Source of formulas and names: aihwkit (QuantizedTorchInferenceTile).  QuantizerState watches the tensor and decides on
delta and zero point, AnalogQuantize applies them.
"""

import jax.numpy as jnp

from ..errors import GraphError
from ._registry import operator
from .fake_quantize import true_quotient

LEAST = 1e-8  # of a range, and of a step
PATIENCE = 5  # batches after which a learned step that is smaller than that is taken from the data anew


def check_bits(n_bits, symmetric):
    if n_bits < 1 or (symmetric and n_bits == 1):
        raise GraphError(f"n_bits is {n_bits}: expected at least {2 if symmetric else 1}")


def levels(n_bits, symmetric, signed):
    """(lowest, highest integer); signed: bool[]"""
    if not symmetric:
        return 0.0, 2.0**n_bits - 1
    return jnp.where(signed, -(2.0 ** (n_bits - 1)), 0.0), jnp.where(signed, 2.0 ** (n_bits - 1) - 1, 2.0**n_bits - 1)


def levels_onnx(op, n_bits, symmetric, signed, like):
    if not symmetric:
        return 0.0, 2.0**n_bits - 1
    pick = lambda a, b: op.Where(signed, op.CastLike(a, like), op.CastLike(b, like))
    return pick(-(2.0 ** (n_bits - 1)), 0.0), pick(2.0 ** (n_bits - 1) - 1, 2.0**n_bits - 1)


# ---- range --------------------------------------------------------------------------------------------


def quantizer_range_vjp(op, v, delta, zero_float, signed, d_delta, d_zero, d_signed):
    """Not the derivative: the observer is detached.  Source: aihwkit."""
    return (None,)


def quantizer_range_onnx(op, v, *, n_bits, symmetric):
    low = op.Min(op.ReduceMin(v, keepdims=0), 0.0)
    high = op.Max(op.ReduceMax(v, keepdims=0), LEAST)
    signed = op.Less(low, 0.0)
    lowest, highest = levels_onnx(op, n_bits, symmetric, signed, v)
    one = lambda x: op.Reshape(x, (1,))
    if symmetric:
        return one(op.Div(op.Max(op.Neg(low), high), highest)), op.ReshapeLike(op.ZerosLike(low), one(low)), one(signed)
    delta = op.Div(op.Sub(high, low), highest)
    return one(delta), one(op.Div(op.Neg(low), delta)), one(signed)


@operator("QuantizerRange", vjp=quantizer_range_vjp, decompose=quantizer_range_onnx, outputs=3)
def quantizer_range(v, *, n_bits, symmetric=1):
    """delta, zero_float and signed of min(v, 0) to max(v, 1e-8).  f[*s] -> f[1], f[1], bool[1].

    symmetric: delta = max(-low, high) / highest level, zero_float 0, signed where low < 0; otherwise
    delta = (high - low) / (2^n_bits - 1), zero_float = -low / delta.  Source: aihwkit.
    """
    check_bits(n_bits, symmetric)
    low, high = jnp.minimum(jnp.min(v), 0), jnp.maximum(jnp.max(v), LEAST)
    signed = low < 0
    _, highest = levels(n_bits, symmetric, signed)
    if symmetric:
        delta, zero = jnp.maximum(-low, high) / highest, jnp.zeros_like(low)
    else:
        delta = (high - low) / highest
        zero = -low / delta
    dtype = jnp.result_type(v)
    return jnp.reshape(delta, (1,)).astype(dtype), jnp.reshape(zero, (1,)).astype(dtype), jnp.reshape(signed, (1,))


# ---- state --------------------------------------------------------------------------------------------


def quantizer_state_vjp(
    op,
    v,
    delta,
    zero_float,
    signed,
    update_idx,
    new_delta,
    new_zero,
    new_signed,
    counted,
    d_delta,
    d_zero,
    d_signed,
    d_counted,
    *,
    learn,
    init_learning_after,
):
    """Not the derivative: delta and zero_float take the gradient while they are learned, the observer is detached.

    Source: aihwkit (requires_grad is switched on after init_learning_after batches)."""
    if not learn:
        return None, None, None, None, None
    learning = op.Greater(counted, float(init_learning_after))
    keep = lambda d: None if d is None else op.Where(learning, d, 0.0)
    return None, keep(d_delta), keep(d_zero), None, None


def quantizer_state_onnx(
    op, v, delta, zero_float, signed, update_idx, *, n_bits, symmetric, learn, init_learning_after, training_mode
):
    found = op.QuantizerRange(v, outputs=3, n_bits=n_bits, symmetric=symmetric)
    counted, after = update_idx, float(init_learning_after)
    if training_mode and not learn:
        return (*found, op.Identity(counted))
    if training_mode:
        early, dead = op.LessOrEqual(update_idx, after), op.Less(delta, LEAST)
        later = op.Where(dead, op.Add(update_idx, 1.0), after + 1)
        counted = op.Where(early, op.Add(update_idx, 1.0), later)
        revived = op.Greater(counted, after + 1 + PATIENCE)
        keep = op.And(op.Greater(counted, after), op.Not(revived))
        counted = op.Where(revived, after + 1, counted)
    else:
        keep = op.Not(op.Equal(delta, 0.0))
    old = (delta, zero_float, signed)
    return (*(op.Where(keep, o, f) for o, f in zip(old, found, strict=True)), op.Identity(counted))


@operator(
    "QuantizerState",
    vjp=quantizer_state_vjp,
    decompose=quantizer_state_onnx,
    outputs=4,
    residual_outputs=(3,),
    updates={1: 0, 2: 1, 3: 2, 4: 3},
    updates_parameters=True,
)
def quantizer_state(
    v, delta, zero_float, signed, update_idx, *, n_bits, symmetric=1, learn=0, init_learning_after=100, training_mode=0
):
    """The quantizer to use for v: that of v's range, or the one held.  f[*s], f[1], f[1], b[1], f[1] -> the last four.

    In training the range of v is taken each time; with `learn` in the first init_learning_after batches, afterwards
    delta and zero_float are what the optimizer makes of them.  Outside training what is held, if there is any (delta
    is 0 before).  update_idx counts batches up to init_learning_after + 1.  Source: aihwkit; but there a delta that an
    optimizer has stepped below 1e-8, where its gradient is 0, stays there for ever.  Here update_idx counts on, and
    after 5 such batches the range of v is taken anew.
    """
    found = quantizer_range(v, n_bits=n_bits, symmetric=symmetric)
    counted, after = update_idx, init_learning_after
    if training_mode and not learn:
        return (*found, counted)
    if training_mode:
        later = jnp.where(delta < LEAST, update_idx + 1, after + 1)
        counted = jnp.where(update_idx <= after, update_idx + 1, later)
        revived = counted > after + 1 + PATIENCE
        keep = (counted > after) & ~revived
        counted = jnp.where(revived, after + 1, counted).astype(jnp.result_type(update_idx))
    else:
        keep = delta != 0
    return (*(jnp.where(keep, o, f) for o, f in zip((delta, zero_float, signed), found, strict=True)), counted)


def running_range_vjp(op, v, low, high, seen, *rest):
    """Not the derivative: the observer is detached.  Source: aihwkit."""
    return None, None, None, None


def running_range_onnx(op, v, low, high, seen, *, momentum, training_mode):
    one = lambda x: op.Reshape(x, (1,))
    found = one(op.ReduceMin(v, keepdims=0)), one(op.ReduceMax(v, keepdims=0))
    first = op.Equal(seen, 0.0)
    mixed = [
        op.Add(op.Mul(f, 1 - momentum), op.Mul(o, momentum)) if training_mode else o
        for f, o in zip(found, (low, high), strict=True)
    ]
    return (*(op.Where(first, f, m) for f, m in zip(found, mixed, strict=True)), op.Add(op.ZerosLike(seen), 1.0))


@operator("RunningRange", vjp=running_range_vjp, decompose=running_range_onnx, outputs=3, updates={1: 0, 2: 1, 3: 2})
def running_range(v, low, high, seen, *, momentum=0.9, training_mode=0):
    """min(v) and max(v), averaged over batches: (1 - momentum) new + momentum old; the first as it is.

    f[*s], f[1], f[1], f[1] -> f[1], f[1], f[1].  seen: 0 before the first batch, then 1.  Outside training what is
    held.  Source: aihwkit (act_quant_config)."""
    found = jnp.reshape(jnp.min(v), (1,)), jnp.reshape(jnp.max(v), (1,))
    first = jnp.equal(seen, 0)
    mixed = [(1 - momentum) * f + momentum * o if training_mode else o for f, o in zip(found, (low, high), strict=True)]
    return (*(jnp.where(first, f, m) for f, m in zip(found, mixed, strict=True)), jnp.ones_like(seen))


# ---- quantizing ---------------------------------------------------------------------------------------


def analog_quantize_vjp(op, v, delta, zero_float, signed, q, dq, *, n_bits, symmetric):
    """Not the derivative of the rounding, which is passed straight through; the rest is the derivative.

    delta: 0 below 1e-8; zero_float: 0 where it rounds to outside the levels.  Source: aihwkit (learned min-max)."""
    given = delta, zero_float
    delta, zero_float, signed = (scalar(op, a) for a in (delta, zero_float, signed))
    lowest, highest = levels_onnx(op, n_bits, symmetric, signed, v)
    s = op.Max(delta, LEAST)
    zero = 0.0 if symmetric else op.Clip(op.Round(zero_float), 0.0, highest)
    z = op.Div(v, s)
    n = op.Add(op.Round(z), zero)
    cut = op.Max(op.Min(n, highest), lowest)
    inside = op.Equal(n, cut)
    dv = op.Where(inside, dq, 0.0)
    slope = op.Where(inside, op.Sub(op.Round(z), z), op.Sub(cut, zero))
    d_delta = op.Where(op.Less(delta, LEAST), 0.0, op.ReduceSum(op.Mul(dq, slope), keepdims=0))
    if symmetric:
        return dv, op.ReshapeLike(d_delta, given[0]), op.ZerosLike(given[1]), None
    pulled = op.Neg(op.Mul(op.ReduceSum(op.Where(inside, 0.0, dq), keepdims=0), s))
    d_zero = op.Where(op.Equal(op.Round(zero_float), zero), pulled, 0.0)
    return dv, op.ReshapeLike(d_delta, given[0]), op.ReshapeLike(d_zero, given[1]), None


def scalar(op, x):
    return op.Squeeze(x) if x.rank else x


def analog_quantize_onnx(op, v, delta, zero_float, signed, *, n_bits, symmetric):
    delta, zero_float, signed = (scalar(op, a) for a in (delta, zero_float, signed))
    lowest, highest = levels_onnx(op, n_bits, symmetric, signed, v)
    s = op.Max(delta, LEAST)
    if symmetric:
        return op.Mul(op.Max(op.Min(op.Round(op.Div(v, s)), highest), lowest), s)
    zero = op.Clip(op.Round(zero_float), 0.0, highest)
    return op.Mul(op.Sub(op.Clip(op.Add(op.Round(op.Div(v, s)), zero), 0.0, highest), zero), s)


@operator("AnalogQuantize", vjp=analog_quantize_vjp, decompose=analog_quantize_onnx)
def analog_quantize(v, delta, zero_float, signed, *, n_bits, symmetric=1):
    """s (clip(round(v / s) + zp) - zp), s = max(delta, 1e-8).  f[*s], f[1], f[1], bool[1] -> f[*s].

    Clipped to the levels: 0 to 2^n_bits - 1, or symmetric and signed -2^(n_bits-1) to 2^(n_bits-1) - 1.  zp: 0 if
    symmetric, else zero_float rounded and clipped.  Halves to even.  Source: aihwkit.
    """
    check_bits(n_bits, symmetric)
    delta, zero_float, signed = (jnp.reshape(a, ()) for a in (delta, zero_float, signed))
    lowest, highest = levels(n_bits, symmetric, signed)
    s = jnp.maximum(delta, LEAST)
    zero = 0 if symmetric else jnp.clip(jnp.round(zero_float), 0, highest)
    n = jnp.round(true_quotient(v, s)) + zero
    return (s * (jnp.minimum(jnp.maximum(n, lowest), highest) - zero)).astype(jnp.result_type(v))
