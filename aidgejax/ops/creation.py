"""Tensors made from shapes and plain numbers: Shape, Size, ConstantOfShape, Range, EyeLike."""

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import operator
from .cast import dtype_of


@operator("Shape", onnx=("", 15), shape_only=True)
def shape(x, *, start=0, end=None):
    """The sizes of x, axes start to end.  t[*s] -> i64[k].  ONNX Shape-15."""
    return np.asarray(np.shape(x)[slice(start, end)], np.int64)


@operator("Size", onnx=("", 13), shape_only=True)
def size(x):
    """How many elements x has.  t[*s] -> i64[].  ONNX Size-13."""
    return np.asarray(np.prod(np.shape(x), dtype=np.int64))


@operator("ConstantOfShape", onnx=("", 9), static=("shape",))
def constant_of_shape(shape, *, value=None):
    """A tensor of this shape full of `value`, a tensor of one element (default: 0 in float32).  i64[r] -> t[*shape].
    ONNX ConstantOfShape-9."""
    value = np.zeros(1, np.float32) if value is None else np.asarray(value)
    if value.size != 1:
        raise GraphError(f"value has {value.size} elements: expected one")
    return jnp.full(tuple(int(d) for d in shape), jnp.reshape(jnp.asarray(value), ()))


@operator("Range", onnx=("", 11), settings=("start", "limit", "delta"), static=("start", "limit", "delta"))
def range_(start, limit, delta):
    """start, start + delta, ... up to limit, which is left out.  t[], t[], t[] -> t[n].  ONNX Range-11."""
    start, limit, delta = (np.reshape(v, ()) for v in (start, limit, delta))
    if delta == 0:
        raise GraphError("delta is 0: the range would never end")
    count = max(0, int(np.ceil((limit - start) / delta)))
    dtype = jax.dtypes.canonicalize_dtype(np.result_type(start, limit, delta))
    # In jax.numpy: while shapes are inferred, no numbers are made.
    return (jnp.asarray(start, dtype) + jnp.asarray(delta, dtype) * jnp.arange(count).astype(dtype)).astype(dtype)


@operator("EyeLike", onnx=("", 9))
def eye_like(x, *, dtype=None, k=0):
    """1 on the k-th diagonal, 0 elsewhere, in the shape of the matrix x; dtype: ONNX's number, default that of x.
    t[n, m] -> u[n, m].  ONNX EyeLike-9."""
    if jnp.ndim(x) != 2:
        raise GraphError(f"expected a matrix, got a tensor of rank {jnp.ndim(x)}")
    return jnp.eye(*jnp.shape(x), k=k, dtype=jnp.result_type(x) if dtype is None else dtype_of(dtype))
