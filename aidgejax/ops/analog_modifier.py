"""What the explicit tile does to its weight in training, held from one optimizer step to the next; drift compensation.

Formulas and names are those of IBM's aihwkit (its C++ tile).
"""

import jax
import jax.numpy as jnp

from ..errors import GraphError
from ._registry import operator
from .analog import gaussian

HELD = ("COPY", "DISCRETIZE", "DOREFA", "ADD_NORMAL", "MULT_NORMAL", "POLY", "PROG_NOISE", "DISCRETIZE_ADD_NORMAL",
        "DROP_CONNECT")  # fmt: skip


def held_weight_modifier_vjp(op, w, draw, y, dy):
    """Not the derivative: straight through to the weight that is stored.  Source: aihwkit."""
    return dy, None


def held_weight_modifier_onnx(
    op,
    w,
    draw,
    *,
    modifier,
    std_dev,
    res,
    rel_to_actual_wmax,
    assumed_wmax,
    dorefa_clip,
    sto_round,
    pdrop,
    copy_last_column,
    coeffs,
    g_max,
    enable_during_test,
    training_mode,
):
    if not (training_mode or enable_during_test):
        return op.Identity(w)
    flat = op.Flatten(w)
    rest = op.Slice(flat, (0,), (-1,), (-1,)) if copy_last_column else flat
    a = op.ReduceMax(op.Abs(rest), keepdims=0) if rel_to_actual_wmax else op.CastLike(float(assumed_wmax), w)
    a = op.Where(op.Greater(a, 0.0), a, 1.0)

    def rounded(v):
        if sto_round:
            v = op.Add(v, op.RandomUniformLike(v, low=-0.5, high=0.5))
        return op.Mul(op.Sign(v), op.Floor(op.Add(op.Abs(v), 0.5)))

    def polynomial():
        u = op.Div(op.Abs(flat), a)
        total = op.Mul(u, 0.0)
        for c in reversed(coeffs):
            total = op.Add(op.Mul(total, u), float(c))
        return total

    y = flat
    if modifier == "DOREFA" and res > 0:
        y = op.Mul(rounded(op.Div(op.Mul(op.Tanh(flat), op.Div(dorefa_clip, op.Tanh(a))), res)), res)
    if modifier in ("DISCRETIZE", "DISCRETIZE_ADD_NORMAL") and res > 0:
        y = op.Mul(op.Mul(rounded(op.Div(op.Div(flat, a), res)), res), a)
    if modifier in ("ADD_NORMAL", "DISCRETIZE_ADD_NORMAL", "MULT_NORMAL", "POLY", "PROG_NOISE") and std_dev > 0:
        size = op.Mul(a, std_dev / g_max if modifier == "PROG_NOISE" else float(std_dev))
        if modifier == "MULT_NORMAL":
            size = op.Mul(size, flat)
        if modifier in ("POLY", "PROG_NOISE"):
            size = op.Mul(size, polynomial())
        y = op.Add(y, op.Mul(op.RandomNormalLike(flat), size))
        if modifier == "PROG_NOISE":
            y = op.Mul(op.Where(op.Less(flat, 0.0), -1.0, 1.0), op.Abs(y))
    if pdrop > 0:
        y = op.Where(op.Less(op.RandomUniformLike(flat, low=0.0, high=1.0), float(pdrop)), 0.0, y)
    if copy_last_column:
        y = op.Concat(op.Slice(y, (0,), (-1,), (-1,)), op.Slice(flat, (-1,), (2**31 - 1,), (-1,)), axis=-1)
    drawn = op.Greater(op.Slice(draw, (1,), (2,), (0,)), 0)
    return op.Where(drawn, op.ReshapeLike(y, w), w)


@operator("HeldWeightModifier", vjp=held_weight_modifier_vjp, decompose=held_weight_modifier_onnx)
def held_weight_modifier(
    w,
    draw,
    *,
    modifier="COPY",
    std_dev=0.0,
    res=0.0,
    rel_to_actual_wmax=1,
    assumed_wmax=1.0,
    dorefa_clip=0.6,
    sto_round=0,
    pdrop=0.0,
    copy_last_column=0,
    coeffs=(),
    g_max=25.0,
    enable_during_test=0,
    training_mode=0,
):
    """The weight that passes use until the next optimizer step.  f[o, *k], i[2] -> f[o, *k].

    draw: (seed, number of the draw).  Draw 0 is the clean weight; post-update steps count on, so that all passes
    between two steps see the same draw, and a run that goes on from its state sees what an uninterrupted one would.
    With a = max |w| (without the last column if copy_last_column; 1 if all are 0), or assumed_wmax; N normal draws;
    rnd rounds halves away from zero (sto_round: of v + uniform(-1/2, 1/2)); P(x) = sum coeffs_i x^i:

        DISCRETIZE             a rnd(w / a / res) res
        DOREFA                 rnd(tanh(w) dorefa_clip / tanh(a) / res) res
        ADD_NORMAL             w + std_dev a N                  MULT_NORMAL   w + std_dev a w N
        DISCRETIZE_ADD_NORMAL  DISCRETIZE + std_dev a N         POLY          w + std_dev a P(|w| / a) N
        PROG_NOISE             sign(w) |w + (std_dev / g_max) a P(|w| / a) N|
        COPY, DROP_CONNECT     w

    Then each element is 0 with probability pdrop.  The last column stays as it is with copy_last_column.
    Source: aihwkit; there the default coeffs make PROG_NOISE g_max times too weak, here they are meant in uS as well.
    """
    if modifier not in HELD:
        raise GraphError(f"modifier is {modifier!r}, expected one of {', '.join(HELD)}")
    if not (training_mode or enable_during_test):
        return w
    dtype = jnp.result_type(w)
    flat = jnp.reshape(w, (jnp.shape(w)[0], -1))
    rest = flat[:, :-1] if copy_last_column else flat
    a = jnp.max(jnp.abs(rest), initial=0.0) if rel_to_actual_wmax else jnp.asarray(assumed_wmax, dtype)
    a = jnp.where(a > 0, a, 1).astype(dtype)
    noise_key, round_key, drop_key = jax.random.split(jax.random.fold_in(jax.random.key(draw[0]), draw[1]), 3)

    def rounded(v):
        if sto_round:
            v = v + jax.random.uniform(round_key, jnp.shape(v), dtype, -0.5, 0.5)
        return jnp.sign(v) * jnp.floor(jnp.abs(v) + 0.5)

    y = flat
    if modifier == "DOREFA" and res > 0:
        y = rounded(jnp.tanh(flat) * (dorefa_clip / jnp.tanh(a)) / res) * res
    if modifier in ("DISCRETIZE", "DISCRETIZE_ADD_NORMAL") and res > 0:
        y = rounded(flat / a / res) * res * a
    if modifier in ("ADD_NORMAL", "DISCRETIZE_ADD_NORMAL", "MULT_NORMAL", "POLY", "PROG_NOISE") and std_dev > 0:
        size = a * (std_dev / g_max if modifier == "PROG_NOISE" else std_dev)
        if modifier == "MULT_NORMAL":
            size = size * flat
        if modifier in ("POLY", "PROG_NOISE"):
            size = size * jnp.polyval(jnp.asarray([*coeffs[::-1]] or [0.0], dtype), jnp.abs(flat) / a)
        y = y + size * gaussian(noise_key, jnp.shape(flat), dtype)
        if modifier == "PROG_NOISE":
            y = jnp.where(flat < 0, -1, 1) * jnp.abs(y)
    if pdrop > 0:
        y = jnp.where(jax.random.uniform(drop_key, jnp.shape(flat), dtype) < pdrop, 0, y)
    if copy_last_column:
        y = jnp.concatenate([y[:, :-1], flat[:, -1:]], axis=1)
    return jnp.where(draw[1] > 0, jnp.reshape(y, jnp.shape(w)).astype(dtype), w)


def drift_compensation_vjp(op, y, alpha, z, dz, *, training_mode):
    return op.Identity(dz) if training_mode else op.Mul(dz, alpha), None


def drift_compensation_onnx(op, y, alpha, *, training_mode):
    return op.Identity(y) if training_mode else op.Mul(y, alpha)


@operator("DriftCompensation", vjp=drift_compensation_vjp, decompose=drift_compensation_onnx)
def drift_compensation(y, alpha, *, training_mode=0):
    """y alpha outside training, y in training.  f[..., out, *k], f[1 or out, *1] -> f[..., out, *k].

    alpha makes up for the conductances that a tile has lost since it was programmed.  Source: aihwkit."""
    return y if training_mode else y * alpha
