"""FakeQuantize, rounding to steps and powers of two in NumPy, from their definitions."""

import numpy as np

from ._definition import backward, define


@define("RoundTo")
def round_to(x, step):
    return (np.rint(x / np.asarray(step, x.dtype)) * np.asarray(step, x.dtype)).astype(x.dtype)


@backward("RoundTo")
def round_to_backward(x, step, y, dy):
    return dy, None


def repeated(v, x):
    """A step or zero point for every element of x; an axis of a size between 1 and x's counts blocks."""
    v = np.asarray(v, x.dtype)
    for k in range(v.ndim):
        if v.shape[k] not in (1, x.shape[k]):
            v = np.repeat(v, -(-x.shape[k] // v.shape[k]), axis=k).take(range(x.shape[k]), axis=k)
    return np.broadcast_to(v, x.shape)


def summed_like(d, v):
    """The sum of d over the elements that share a number of v."""
    v = np.asarray(v)
    owner = np.arange(v.size).reshape(v.shape)
    for k in range(v.ndim):
        if v.shape[k] not in (1, d.shape[k]):
            owner = np.repeat(owner, -(-d.shape[k] // v.shape[k]), axis=k).take(range(d.shape[k]), axis=k)
    total = np.zeros(v.size, d.dtype)
    np.add.at(total, np.broadcast_to(owner, d.shape).reshape(-1), d.reshape(-1))
    return total.reshape(v.shape)


def levels(low, high):
    return -128 if low is None else low, 127 if high is None else high


def whole(zero, x, low, high):
    return np.zeros_like(x) if zero is None else repeated(np.rint(np.minimum(np.maximum(zero, low), high)), x)


@define("FakeQuantize")
def fake_quantize(x, step, zero=None, low=None, high=None, *, slope="lsq"):
    low, high = levels(low, high)
    s, z = repeated(step, x), whole(zero, x, low, high)
    q = np.minimum(np.maximum(np.rint(x / s) + z, low), high)
    return ((q - z) * s).astype(x.dtype)


@define("FakeQuantizeGrad")
def fake_quantize_grad(dy, x, step, zero=None, low=None, high=None, *, slope="lsq"):
    low, high = levels(low, high)
    s, z = repeated(step, x), whole(zero, x, low, high)
    v = x / s
    q = np.rint(v) + z
    under, over = q < low, q > high
    out = under | over
    error = np.zeros_like(v) if slope == "pact" else np.rint(v) - v
    error = np.where(under, low - z, np.where(over, high - z, error)).astype(x.dtype)
    d_step = summed_like(dy * error, step)
    if slope == "lsq":
        d_step = (d_step / np.sqrt(x.size / np.size(step) * max(float(high), 1.0))).astype(x.dtype)
    d_zero = None if zero is None else summed_like(np.where(out, -dy * s, 0).astype(x.dtype), zero)
    return np.where(out, 0, dy).astype(x.dtype), d_step, d_zero


@backward("FakeQuantize")
def fake_quantize_backward(x, step, zero, low, high, y, dy, *, slope="lsq"):
    return (*fake_quantize_grad(dy, x, step, zero, low, high, slope=slope), None, None)


@define("PowerOfTwo")
def power_of_two(x):
    fraction, exponent = np.frexp(x)  # fraction from 1/2 to 1
    return np.ldexp(np.ones_like(x), exponent - (fraction <= np.sqrt(x.dtype.type(0.5)))).astype(x.dtype)


@backward("PowerOfTwo")
def power_of_two_backward(x, y, dy):
    return (dy * y / x,)
