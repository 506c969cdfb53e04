"""Arithmetic between tensors, in NumPy, whose broadcasting is ONNX's."""

from functools import reduce

import numpy as np

from ._definition import backward, define


@define("Add")
def add(a, b):
    return np.add(a, b)


@backward("Add")
def add_backward(a, b, y, dy):
    return dy, dy


@define("Sub")
def sub(a, b):
    return np.subtract(a, b)


@backward("Sub")
def sub_backward(a, b, y, dy):
    return dy, -dy


@define("Mul")
def mul(a, b):
    return np.multiply(a, b)


@backward("Mul")
def mul_backward(a, b, y, dy):
    return dy * b, dy * a


@define("Div")
def div(a, b):
    dtype = np.result_type(a, b)
    if dtype.kind not in "iu":
        return np.divide(a, b)
    a, b = np.asarray(a, dtype), np.asarray(b, dtype)
    return np.floor_divide(np.abs(a), np.abs(b)) * (np.sign(a) * np.sign(b))  # NumPy alone would floor


@backward("Div")
def div_backward(a, b, y, dy):
    return dy / b, -dy * a / np.square(b)


@define("Mod")
def mod(a, b, *, fmod=0):
    return np.fmod(a, b) if fmod else np.mod(a, b)


@backward("Mod")
def mod_backward(a, b, y, dy, *, fmod=0):
    quotient = np.trunc(a / b) if fmod else np.floor(a / b)
    return dy, -dy * quotient


@define("Sum")
def sum_(*xs):
    return reduce(np.add, xs)


@backward("Sum")
def sum_backward(*args):
    *xs, y, dy = args
    return (dy,) * len(xs)


@define("Mean")
def mean(*xs):
    return reduce(np.add, xs) / len(xs)


@backward("Mean")
def mean_backward(*args):
    *xs, y, dy = args
    return (dy / len(xs),) * len(xs)


@define("Pow")
def pow_(x, e):
    y = np.power(x, e)
    return y if isinstance(x, int | float) else y.astype(x.dtype)


@backward("Pow")
def pow_backward(x, e, y, dy):
    x, e = np.broadcast_arrays(np.asarray(x, dy.dtype), np.asarray(e, dy.dtype))
    dx, de = np.zeros_like(y), np.zeros_like(y)
    for k in np.ndindex(y.shape):
        if e[k] != 0:
            dx[k] = dy[k] * e[k] * x[k] ** (e[k] - 1)
        if x[k] != 0 or e[k] < 0:
            de[k] = dy[k] * y[k] * np.log(x[k])
    return dx, de


@define("Max")
def max_(*xs, ties="split"):
    return reduce(np.maximum, xs)


@define("Min")
def min_(*xs, ties="split"):
    return reduce(np.minimum, xs)


@backward("Max")
@backward("Min")
def extreme_backward(*args, ties="split"):
    """Element by element: the inputs that equal the result share its gradient."""
    *xs, y, dy = args
    xs = np.broadcast_arrays(*xs)
    shares = [np.zeros_like(dy) for _ in xs]
    for k in np.ndindex(y.shape):
        winners = [n for n, x in enumerate(xs) if x[k] == y[k]]
        winners = winners if ties == "split" else winners[:1] if ties == "first" else winners[-1:]
        for n in winners:
            shares[n][k] = dy[k] / len(winners)
    return tuple(shares)


@define("Where")
def where(condition, a, b):
    return np.where(condition, a, b)


@backward("Where")
def where_backward(condition, a, b, y, dy):
    return None, np.where(condition, dy, 0), np.where(condition, 0, dy)


@define("BitShift")
def bit_shift(x, y, *, direction):
    return x << y if direction == "LEFT" else x >> y


@define("BitwiseAnd")
def bitwise_and(a, b):
    return a & b


@define("BitwiseOr")
def bitwise_or(a, b):
    return a | b


@define("BitwiseXor")
def bitwise_xor(a, b):
    return a ^ b


@define("BitwiseNot")
def bitwise_not(x):
    return ~x
