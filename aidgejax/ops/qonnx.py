"""Quant of QONNX: rounding to any number of bits, as FINN, Brevitas and similar tools write it."""

import jax.numpy as jnp

from ..errors import GraphError
from ._registry import operator
from .fake_quantize import true_quotient


def quant_vjp(op, x, scale, zeropt, bitwidth, y, dy, *, signed, narrow):
    """Not the derivative: straight through where nothing is cut off."""
    z = op.Add(op.Div(x, scale), zeropt)
    top = op.Sub(op.Pow(2.0, op.Sub(bitwidth, float(signed))), 1.0)
    low = op.Add(op.Neg(op.Add(top, 1.0)), float(narrow)) if signed else op.Mul(top, 0.0)
    top = top if signed or not narrow else op.Sub(top, 1.0)
    r = op.Round(z)
    return op.Where(op.Or(op.Less(r, low), op.Greater(r, top)), 0.0, dy), None, None, None


@operator(
    "Quant",
    full_precision=True,
    onnx=("qonnx.custom_op.general", 1),
    vjp=quant_vjp,
    layout="same",
    settings=("scale", "zeropt", "bitwidth"),
)
def quant(x, scale, zeropt, bitwidth, *, signed=1, narrow=0, rounding_mode="ROUND"):
    """(min(max(round(x / scale + zeropt), low), high) - zeropt) scale.  f[*s], f[*r], f[*r], f[] -> f[*s].

    Halves to even.  signed: low and high are -2^(bitwidth - 1) and 2^(bitwidth - 1) - 1, else 0 and 2^bitwidth - 1;
    narrow takes one level off: the lowest of the signed, the highest of the others.  Source: QONNX (Quant)."""
    if rounding_mode not in ("ROUND", "HALF_EVEN"):
        raise GraphError(f"rounding_mode is {rounding_mode!r}: expected 'ROUND', halves to even")
    x = jnp.asarray(x)
    top = jnp.exp2(jnp.asarray(bitwidth - signed, x.dtype)).round() - 1
    low, high = (-top - 1 + narrow, top) if signed else (jnp.zeros_like(top), top - narrow)
    v = jnp.round(true_quotient(x, jnp.asarray(scale, x.dtype)) + zeropt)
    return ((jnp.clip(v, low, high) - zeropt) * scale).astype(x.dtype)
