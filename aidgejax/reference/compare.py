"""Comparisons and logic: results are bool, so no gradient passes. NumPy."""

import numpy as np

from ._definition import define


@define("Greater")
def greater(a, b):
    return np.greater(a, b)


@define("GreaterOrEqual")
def greater_or_equal(a, b):
    return np.greater_equal(a, b)


@define("Less")
def less(a, b):
    return np.less(a, b)


@define("LessOrEqual")
def less_or_equal(a, b):
    return np.less_equal(a, b)


@define("Equal")
def equal(a, b):
    return np.equal(a, b)


@define("And")
def logical_and(a, b):
    return np.logical_and(a, b)


@define("Or")
def logical_or(a, b):
    return np.logical_or(a, b)


@define("Xor")
def logical_xor(a, b):
    return np.logical_xor(a, b)


@define("Not")
def logical_not(x):
    return np.logical_not(x)


@define("IsNaN")
def is_nan(x):
    return x != x


@define("IsInf")
def is_inf(x, *, detect_negative=1, detect_positive=1):
    return ((x == -np.inf) & bool(detect_negative)) | ((x == np.inf) & bool(detect_positive))
