"""Arithmetic and comparisons in NumPy, whose broadcasting is ONNX's."""

import numpy as np

from ._definition import backward, define


@define("Add")
def add(a, b):
    return np.add(a, b)


@backward("Add")
def add_backward(a, b, y, dy):
    return dy, dy


@define("Greater")
def greater(a, b):
    return np.greater(a, b)


@define("GreaterOrEqual")
def greater_or_equal(a, b):
    return np.greater_equal(a, b)


@define("Where")
def where(condition, a, b):
    return np.where(condition, a, b)


@backward("Where")
def where_backward(condition, a, b, y, dy):
    return None, np.where(condition, dy, 0), np.where(condition, 0, dy)


@define("Mul")
def mul(a, b):
    return np.multiply(a, b)


@backward("Mul")
def mul_backward(a, b, y, dy):
    return dy * b, dy * a
