"""Aidge's quantizers in NumPy."""

import numpy as np

from ._definition import backward, define


def half_away(x):
    """C's round."""
    return np.copysign(np.trunc(np.abs(x) + (np.abs(x) - np.trunc(np.abs(x)) >= 0.5)), x)


@define("LSQ")
def lsq(x, step, *, range):
    return (half_away(np.clip(x / step, *range)) * step).astype(x.dtype)


@backward("LSQ")
def lsq_backward(x, step, y, dy, *, range):
    low, high = range
    z = x / step
    inner = (z > low) & (z < high)
    error = np.where(inner, half_away(z) - z, np.where(z <= low, low, high))
    return dy * inner, np.reshape((dy * error).sum() / np.sqrt(x.size * high), np.shape(step))


@define("DoReFa")
def dorefa(x, *, range=255, mode="Default"):
    one = x.dtype.type
    if mode == "Symmetric":
        return np.rint(x * one(range)) / one(range)
    return one(2) * (np.rint((x * one(0.5) + one(0.5)) * one(range)) / one(range)) - one(1)


@backward("DoReFa")
def dorefa_backward(x, y, dy):
    return (dy,)


@define("CGPACT")
def cgpact(x, alpha, *, range=255):
    return (half_away(np.clip(x / alpha, 0, 1) * range) / range * alpha).astype(x.dtype)


@backward("CGPACT")
def cgpact_backward(x, alpha, y, dy, *, range=255):
    z = x / alpha
    error = half_away(z * range) / range - z
    slope = np.select([x <= 0, x >= alpha], [np.zeros_like(z), np.ones_like(z)], error)
    return dy * ((x > 0) & (x <= alpha)), np.reshape((dy * slope).sum(), np.shape(alpha))


@define("TanhClamp")
def tanh_clamp(x):
    t = np.tanh(x)
    return t / np.abs(t).max(), np.abs(t).max().reshape(1)


@backward("TanhClamp")
def tanh_clamp_backward(x, y, scaling, dy, d_scaling):
    return (dy * (1 - np.tanh(x) ** 2) / scaling,)


@define("ScaleAdjust")
def scale_adjust(x):
    inverse = np.sqrt(x.size / x.shape[0] * x.var(ddof=1)).astype(x.dtype)
    return x / inverse, inverse.reshape(1)


@backward("ScaleAdjust")
def scale_adjust_backward(x, y, inverse, dy, d_inverse):
    return (dy / inverse,)


@define("FixedQ")
def fixed_q(x, *, nb_bits=8, span=4.0, is_output_unsigned=False):
    levels = 2 ** (nb_bits if is_output_unsigned else nb_bits - 1)
    step = x.dtype.type(span / levels)
    low = 0 if is_output_unsigned else -levels
    return np.clip(half_away(x / step), x.dtype.type(low), x.dtype.type(levels - 1)) * step


@backward("FixedQ")
def fixed_q_backward(x, y, dy):
    return (dy,)
