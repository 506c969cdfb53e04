"""Operators that move elements without changing them: reshape, transpose, cut, join, pad, cast."""

import jax.numpy as jnp
import numpy as np

from ._operator import operator


def identity_vjp(op, x, y, dy):
    return (dy,)


@operator("Identity", onnx=("", 14), vjp=identity_vjp, images="same")
def identity(x):
    """x.  t[*s] -> t[*s].  ONNX Identity-14."""
    return x


@operator("Shape", onnx=("", 15), of_shape=True)
def shape(x, *, start=0, end=None):
    """The sizes of x, axes start to end.  t[*s] -> i64[k].  ONNX Shape-15."""
    return np.asarray(np.shape(x)[slice(start, end)], np.int64)


def reshape_vjp(op, x, shape, y, dy):
    return op.ReshapeLike(dy, x), None


@operator("Reshape", onnx=("", 14), vjp=reshape_vjp, static=("shape",))
def reshape(x, shape, *, allowzero=0):
    """x with other sizes; -1 is what is left over, 0 keeps a size (unless allowzero).  t[*s], i64[r] -> t[*r].
    ONNX Reshape-14."""
    target = [int(d) for d in shape]
    if not allowzero:
        target = [jnp.shape(x)[k] if d == 0 else d for k, d in enumerate(target)]
    return jnp.reshape(x, target)


def reshape_like_onnx(op, x, like):
    return op.Reshape(x, op.Shape(like), allowzero=1)


def reshape_like_vjp(op, x, like, y, dy):
    return op.ReshapeLike(dy, x), None


@operator("ReshapeLike", decompose=reshape_like_onnx, vjp=reshape_like_vjp)
def reshape_like(x, like):
    """x in the shape of `like`.  t[*s], u[*r] -> t[*r]."""
    return jnp.reshape(x, jnp.shape(like))


def expand_vjp(op, x, shape, y, dy):
    return op.SumLike(dy, x), None


@operator("Expand", onnx=("", 13), vjp=expand_vjp, static=("shape",))
def expand(x, shape):
    """x broadcast together with a tensor of this shape.  t[*s], i64[r] -> t[broadcast].  ONNX Expand-13."""
    return jnp.broadcast_to(x, jnp.broadcast_shapes(jnp.shape(x), tuple(int(d) for d in shape)))


def expand_like_onnx(op, x, like):
    return op.Expand(x, op.Shape(like))


def expand_like_vjp(op, x, like, y, dy):
    return op.SumLike(dy, x), None


@operator("ExpandLike", decompose=expand_like_onnx, vjp=expand_like_vjp)
def expand_like(x, like):
    """x broadcast to the shape of `like`.  t[*s], u[*r] -> t[*r]."""
    return jnp.broadcast_to(x, jnp.shape(like))


def zeros_like_onnx(op, x):
    return op.Expand(op.CastLike(0.0, x), op.Shape(x))


def zeros_like_vjp(op, x, y, dy):
    return (None,)


@operator("ZerosLike", decompose=zeros_like_onnx, vjp=zeros_like_vjp, images="same")
def zeros_like(x):
    """0 everywhere.  t[*s] -> t[*s]."""
    return jnp.zeros_like(x)


def cast_like_vjp(op, x, like, y, dy):
    return op.CastLike(dy, x), None


@operator("CastLike", onnx=("", 15), vjp=cast_like_vjp)
def cast_like(x, like):
    """x in the dtype of `like`.  t[*s], u[*r] -> u[*s].  ONNX CastLike-15."""
    return jnp.asarray(x).astype(jnp.result_type(like))
