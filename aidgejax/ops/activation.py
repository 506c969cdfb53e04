"""Activations: one input, one output of the same shape."""

import jax.numpy as jnp

from ._operator import operator


def relu_vjp(op, x, y, dy, *, slope_at_zero):
    # The slope at exactly 0 is 0, as in ONNX Runtime; jax.numpy.maximum would say 1/2.  TVM says 1.
    positive = op.GreaterOrEqual(x, 0.0) if slope_at_zero else op.Greater(x, 0.0)
    return (op.Where(positive, dy, 0.0),)


def relu_onnx(op, x, *, slope_at_zero):
    return op.Relu(x)


@operator("Relu", onnx=("", 14), vjp=relu_vjp, decompose=relu_onnx, images="same")
def relu(x, *, slope_at_zero=0.0):
    """max(x, 0).  f[*s] -> f[*s].  ONNX Relu-14; slope_at_zero: 0.0, or 1.0 as in TVM."""
    return jnp.maximum(x, 0)
