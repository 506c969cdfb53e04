"""Activations in NumPy."""

import numpy as np

from ._definition import backward, define


@define("Relu")
def relu(x, *, slope_at_zero=0.0):
    return np.where(x > 0, x, np.zeros_like(x))


@backward("Relu")
def relu_backward(x, y, dy, *, slope_at_zero=0.0):
    return (dy * np.where(x == 0, slope_at_zero, x > 0).astype(dy.dtype),)
