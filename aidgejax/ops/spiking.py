"""Steps, whose derivative is 0 wherever there is one, and what networks of spiking neurons train with instead."""

import math

import jax.numpy as jnp

from ._registry import operator


def heaviside_vjp(op, x, y, dy):
    """Not the derivative: dy / (1 + (pi * x)**2), the slope of an arc tangent.  Source: Aidge; Fang et al. 2021."""
    turned = op.Mul(x, math.pi)
    return (op.Div(dy, op.Add(op.Mul(turned, turned), 1.0)),)


def heaviside_onnx(op, x, *, value):
    step = op.CastLike(op.Greater(x, 0.0), x)
    return op.Where(op.Equal(x, 0.0), op.CastLike(float(value), x), step)


@operator("Heaviside", vjp=heaviside_vjp, decompose=heaviside_onnx, layout="same")
def heaviside(x, *, value=0.0):
    """0 where x < 0, `value` where x = 0, 1 where x > 0.  f[*s] -> f[*s].  Its gradient is a surrogate (the rule)."""
    kind = jnp.result_type(x)
    return jnp.where(x == 0, jnp.asarray(value, kind), (x > 0).astype(kind))
