"""Arithmetic and comparisons that broadcast as NumPy does."""

import jax.numpy as jnp

from ._operator import operator


def add_vjp(op, a, b, y, dy):
    return dy, dy


@operator("Add", onnx=("", 14), vjp=add_vjp, broadcasts=True, images="same")
def add(a, b):
    """a + b.  t[*s], t[*r] -> t[broadcast].  ONNX Add-14."""
    return jnp.add(a, b)


@operator("Greater", onnx=("", 13), broadcasts=True, images="same")
def greater(a, b):
    """a > b.  t[*s], t[*r] -> bool[broadcast].  ONNX Greater-13."""
    return jnp.greater(a, b)


@operator("GreaterOrEqual", onnx=("", 16), broadcasts=True, images="same")
def greater_or_equal(a, b):
    """a >= b.  t[*s], t[*r] -> bool[broadcast].  ONNX GreaterOrEqual-16."""
    return jnp.greater_equal(a, b)


def where_vjp(op, condition, a, b, y, dy):
    return None, op.Where(condition, dy, 0.0), op.Where(condition, 0.0, dy)


@operator("Where", onnx=("", 16), vjp=where_vjp, broadcasts=True, images="same")
def where(condition, a, b):
    """a where condition, else b.  bool[*s], t[*r], t[*q] -> t[broadcast].  ONNX Where-16."""
    return jnp.where(condition, a, b)


def mul_vjp(op, a, b, y, dy):
    return op.Mul(dy, b), op.Mul(dy, a)


@operator("Mul", onnx=("", 14), vjp=mul_vjp, broadcasts=True, images="same")
def mul(a, b):
    """a * b.  t[*s], t[*r] -> t[broadcast].  ONNX Mul-14."""
    return jnp.multiply(a, b)
