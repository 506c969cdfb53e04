"""Operators that move elements, in NumPy."""

import numpy as np

from ._definition import backward, define


@define("Identity")
def identity(x):
    return x


@backward("Identity")
def identity_backward(x, y, dy):
    return (dy,)


@define("Shape")
def shape(x, *, start=0, end=None):
    return np.asarray(np.shape(x)[start:end], np.int64)


@define("Reshape")
def reshape(x, shape, *, allowzero=0):
    sizes = [x.shape[k] if d == 0 and not allowzero else int(d) for k, d in enumerate(shape)]
    return np.reshape(x, sizes)


@backward("Reshape")
def reshape_backward(x, shape, y, dy):
    return np.reshape(dy, x.shape), None


@define("ReshapeLike")
def reshape_like(x, like):
    return np.reshape(x, np.shape(like))


@define("Expand")
def expand(x, shape):
    return x * np.ones([int(d) for d in shape], x.dtype)


@backward("Expand")
def expand_backward(x, shape, y, dy):
    return dy, None


@define("ExpandLike")
def expand_like(x, like):
    return np.broadcast_to(x, np.shape(like))


@define("ZerosLike")
def zeros_like(x):
    return np.zeros_like(x)


@define("CastLike")
def cast_like(x, like):
    return np.asarray(x).astype(np.asarray(like).dtype)
