"""Requantize in NumPy: the magnitude is divided by the power of two, its remainder compared with a half."""

import numpy as np

from ._definition import define
from .cast import dtype_of


@define("Requantize")
def requantize(x, multiplier, shift, zero, *, low, high, to):
    p = x.astype(np.int64) * np.asarray(multiplier, np.int64)
    unit = np.left_shift(np.int64(1), np.asarray(shift, np.int64))
    quotient, remainder = np.divmod(np.abs(p), unit)
    up = (2 * remainder > unit) | ((2 * remainder == unit) & (quotient % 2 == 1))
    v = np.sign(p) * (quotient + up) + np.asarray(zero, np.int64)
    return np.minimum(np.maximum(v, low), high).astype(dtype_of(to))
