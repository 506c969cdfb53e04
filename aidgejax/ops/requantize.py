"""From 32-bit sums to the levels of a result, in integers alone: a multiplier, a shift, a rounding."""

import jax
import jax.numpy as jnp

from ..errors import GraphError
from ._registry import operator
from .cast import dtype_of
from .quantize_linear import LEVELS


def requantize_onnx(op, x, multiplier, shift, zero, *, low, high, to):
    factor = op.Div(op.Cast(multiplier, to=11), op.Pow(op.Cast(2.0, to=11), op.Cast(shift, to=11)))
    v = op.Add(op.Round(op.Mul(op.Cast(x, to=11), factor)), op.Cast(zero, to=11))
    return op.Cast(op.Min(op.Max(v, float(low)), float(high)), to=to)


@operator("Requantize", decompose=requantize_onnx)
def requantize(x, multiplier, shift, zero, *, low, high, to):
    """min(max(round(x multiplier / 2^shift) + zero, low), high).  i32[*s], i32[*r], i32[*r], i32[] -> q[*s].

    Halves to even.  multiplier and shift broadcast to x: below 2^31, and from 0 to 62; to: ONNX's number of the
    dtype of y.  Exact, in 64 bits; the decomposition in float64 is exact for |x multiplier| up to 2^53."""
    name = jnp.dtype(dtype_of(to)).name
    if name not in LEVELS:
        raise GraphError(f"requantized to {name}: expected one of {', '.join(LEVELS)}")
    with jax.enable_x64(True):
        p = jnp.asarray(x).astype(jnp.int64) * jnp.asarray(multiplier).astype(jnp.int64)
        s = jnp.asarray(shift).astype(jnp.int64)
        whole = p >> s
        rest, half = p - (whole << s), jnp.where(s > 0, jnp.int64(1) << jnp.maximum(s - 1, 0), 1)
        up = (rest > half) | ((rest == half) & (whole & 1 == 1))
        v = jnp.where(up, whole + 1, whole) + jnp.asarray(zero).astype(jnp.int64)
        return jnp.clip(v, low, high).astype(name)
