"""One input, one output of the same shape: exponentials, roots, trigonometry, rounding, clipping. NumPy."""

import math

import numpy as np

from ._definition import backward, define


@define("Exp")
def exp(x):
    return np.exp(x)


@backward("Exp")
def exp_backward(x, y, dy):
    return (dy * np.exp(x),)


@define("Log")
def log(x):
    return np.log(x)


@backward("Log")
def log_backward(x, y, dy):
    return (dy / x,)


@define("Sqrt")
def sqrt(x):
    return np.sqrt(x)


@backward("Sqrt")
def sqrt_backward(x, y, dy):
    return (dy / (2 * np.sqrt(x)),)


@define("Reciprocal")
def reciprocal(x):
    return np.reciprocal(x)


@backward("Reciprocal")
def reciprocal_backward(x, y, dy):
    return (-dy / np.square(x),)


@define("Erf")
def erf(x):
    return each(math.erf, x)


@backward("Erf")
def erf_backward(x, y, dy):
    return (dy * np.exp(-np.square(x)) * (2 / math.sqrt(math.pi)),)


def each(function, x):
    """A function of Python floats, element by element, in x's own dtype."""
    return np.array([function(float(v)) for v in np.ravel(x)], np.asarray(x).dtype).reshape(np.shape(x))


@define("Neg")
def neg(x):
    return np.negative(x)


@backward("Neg")
def neg_backward(x, y, dy):
    return (-dy,)


@define("Abs")
def abs_(x, *, slope_at_zero=0.0):
    return np.abs(x)


@backward("Abs")
def abs_backward(x, y, dy, *, slope_at_zero=0.0):
    return (np.where(x > 0, dy, np.where(x < 0, -dy, dy * slope_at_zero)),)


@define("Sign")
def sign(x):
    return np.sign(x)


@define("Floor")
def floor(x):
    return np.floor(x)


@define("Ceil")
def ceil(x):
    return np.ceil(x)


@define("Round")
def round_(x, *, halves="even"):
    return np.rint(x) if halves == "even" else np.trunc(x + np.copysign(np.nextafter(x.dtype.type(0.5), 0), x))


@backward("Sign")
@backward("Floor")
@backward("Ceil")
@backward("Round")
def flat_backward(x, y, dy):
    return (np.zeros_like(dy),)


@define("Clip")
def clip(x, low=None, high=None):
    x = x if low is None else np.maximum(x, np.asarray(low, x.dtype).item())
    return x if high is None else np.minimum(x, np.asarray(high, x.dtype).item())


@backward("Clip")
def clip_backward(x, low, high, y, dy):
    """Each element's gradient goes to the one of the three that was taken; x before its equals."""
    dx, d_low, d_high = np.zeros_like(dy), np.zeros_like(dy), np.zeros_like(dy)
    for k in np.ndindex(x.shape):
        v = x[k] if low is None else max(x[k], np.ravel(low)[0])
        if high is not None and v > np.ravel(high)[0]:
            d_high[k] = dy[k]
        elif v > x[k]:
            d_low[k] = dy[k]
        else:
            dx[k] = dy[k]
    return dx, d_low, d_high


@define("Sin")
def sin(x):
    return np.sin(x)


@backward("Sin")
def sin_backward(x, y, dy):
    return (dy * np.cos(x),)


@define("Cos")
def cos(x):
    return np.cos(x)


@backward("Cos")
def cos_backward(x, y, dy):
    return (-dy * np.sin(x),)


@define("Tan")
def tan(x):
    return np.tan(x)


@backward("Tan")
def tan_backward(x, y, dy):
    return (dy / np.square(np.cos(x)),)


@define("Asin")
def asin(x):
    return np.arcsin(x)


@backward("Asin")
def asin_backward(x, y, dy):
    return (dy / np.sqrt(1 - np.square(x)),)


@define("Acos")
def acos(x):
    return np.arccos(x)


@backward("Acos")
def acos_backward(x, y, dy):
    return (-dy / np.sqrt(1 - np.square(x)),)


@define("Atan")
def atan(x):
    return np.arctan(x)


@backward("Atan")
def atan_backward(x, y, dy):
    return (dy / (1 + np.square(x)),)


@define("Sinh")
def sinh(x):
    return np.sinh(x)


@backward("Sinh")
def sinh_backward(x, y, dy):
    return (dy * np.cosh(x),)


@define("Cosh")
def cosh(x):
    return np.cosh(x)


@backward("Cosh")
def cosh_backward(x, y, dy):
    return (dy * np.sinh(x),)


@define("Asinh")
def asinh(x):
    return np.arcsinh(x)


@backward("Asinh")
def asinh_backward(x, y, dy):
    return (dy / np.hypot(x, 1),)


@define("Acosh")
def acosh(x):
    return np.arccosh(x)


@backward("Acosh")
def acosh_backward(x, y, dy):
    return (dy / np.sqrt(np.square(x) - 1),)


@define("Atanh")
def atanh(x):
    return np.arctanh(x)


@backward("Atanh")
def atanh_backward(x, y, dy):
    return (dy / (1 - np.square(x)),)
