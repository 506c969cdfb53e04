"""Comparisons and logic: results are bool, so no gradient passes."""

import jax.numpy as jnp

from ._registry import operator


@operator("Greater", onnx=("", 13), broadcasts=True, layout="same")
def greater(a, b):
    """a > b.  t[*s], t[*r] -> bool[broadcast].  ONNX Greater-13."""
    return jnp.greater(a, b)


@operator("GreaterOrEqual", onnx=("", 16), broadcasts=True, layout="same")
def greater_or_equal(a, b):
    """a >= b.  t[*s], t[*r] -> bool[broadcast].  ONNX GreaterOrEqual-16."""
    return jnp.greater_equal(a, b)


@operator("Less", onnx=("", 13), broadcasts=True, layout="same")
def less(a, b):
    """a < b.  t[*s], t[*r] -> bool[broadcast].  ONNX Less-13."""
    return jnp.less(a, b)


@operator("LessOrEqual", onnx=("", 16), broadcasts=True, layout="same")
def less_or_equal(a, b):
    """a <= b.  t[*s], t[*r] -> bool[broadcast].  ONNX LessOrEqual-16."""
    return jnp.less_equal(a, b)


@operator("Equal", onnx=("", 13), broadcasts=True, layout="same")
def equal(a, b):
    """a == b; NaN equals nothing.  t[*s], t[*r] -> bool[broadcast].  ONNX Equal-13."""
    return jnp.equal(a, b)


@operator("And", onnx=("", 7), broadcasts=True, layout="same")
def logical_and(a, b):
    """a and b.  bool[*s], bool[*r] -> bool[broadcast].  ONNX And-7."""
    return jnp.logical_and(a, b)


@operator("Or", onnx=("", 7), broadcasts=True, layout="same")
def logical_or(a, b):
    """a or b.  bool[*s], bool[*r] -> bool[broadcast].  ONNX Or-7."""
    return jnp.logical_or(a, b)


@operator("Xor", onnx=("", 7), broadcasts=True, layout="same")
def logical_xor(a, b):
    """Either a or b, not both.  bool[*s], bool[*r] -> bool[broadcast].  ONNX Xor-7."""
    return jnp.logical_xor(a, b)


@operator("Not", onnx=("", 1), layout="same")
def logical_not(x):
    """not x.  bool[*s] -> bool[*s].  ONNX Not-1."""
    return jnp.logical_not(x)


@operator("IsNaN", onnx=("", 13), layout="same")
def is_nan(x):
    """Is x not a number?  f[*s] -> bool[*s].  ONNX IsNaN-13."""
    return jnp.isnan(x)


@operator("IsInf", onnx=("", 10), layout="same")
def is_inf(x, *, detect_negative=1, detect_positive=1):
    """Is x infinite, with a sign that is looked for?  f[*s] -> bool[*s].  ONNX IsInf-10."""
    negative = jnp.isneginf(x) if detect_negative else jnp.zeros_like(x, bool)
    return jnp.logical_or(negative, jnp.isposinf(x)) if detect_positive else negative
