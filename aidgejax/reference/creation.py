"""Tensors made from shapes and plain numbers, in NumPy."""

import numpy as np

from ._definition import define
from .cast import dtype_of


@define("Shape")
def shape(x, *, start=0, end=None):
    return np.asarray(np.shape(x)[start:end], np.int64)


@define("Size")
def size(x):
    return np.asarray(np.size(x), np.int64)


@define("ConstantOfShape")
def constant_of_shape(shape, *, value=None):
    value = np.float32(0) if value is None else np.asarray(value).ravel()[0]
    return np.full([int(d) for d in shape], value, value.dtype)


@define("Range")
def range_(start, limit, delta):
    start, limit, delta = (np.asarray(v).reshape(()) for v in (start, limit, delta))
    found, dtype = [], np.result_type(start, limit, delta)
    while start + len(found) * delta < limit if delta > 0 else start + len(found) * delta > limit:
        found.append(start + len(found) * delta)
    return np.asarray(found, dtype)


@define("EyeLike")
def eye_like(x, *, dtype=None, k=0):
    eye = np.zeros(x.shape, x.dtype if dtype is None else dtype_of(dtype))
    for row in range(x.shape[0]):
        if 0 <= row + k < x.shape[1]:
            eye[row, row + k] = 1
    return eye
