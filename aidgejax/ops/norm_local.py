"""Normalization without parameters: by neighbouring channels, by a norm, by mean and variance."""

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import operator, positive_axes

# ---- neighbouring channels ----------------------------------------------------------------------------


def window(size):
    """How many channels below and above a window of this size reaches: ONNX puts the odd one above."""
    return (size - 1) // 2, size // 2


def neighbours_summed(x, below, above, axis):
    """The sum over channels c - below to c + above, as far as they exist."""
    channels = x.shape[axis]
    pads = [(0, 0)] * x.ndim
    pads[axis] = (below, above)
    padded = jnp.pad(x, pads)
    cut = [slice(None)] * x.ndim
    total = None
    for k in range(below + above + 1):
        cut[axis] = slice(k, k + channels)
        total = padded[tuple(cut)] if total is None else total + padded[tuple(cut)]
    return total


def lrn_vjp(op, x, y, dy, *, size, alpha, beta, bias):
    return (op.LRNGrad(dy, x, size=size, alpha=alpha, beta=beta, bias=bias),)


@operator("LRN", full_precision=True, onnx=("", 13), vjp=lrn_vjp, layout=((0,), (0,)))
def lrn(X, *, size, alpha=1e-4, beta=0.75, bias=1.0, layout="NCHW"):
    """X / (bias + alpha / size * sum of X^2 over `size` neighbouring channels)^beta.  f[n, c, *d] -> f[n, c, *d].

    ONNX LRN-13."""
    if size < 1:
        raise GraphError(f"size is {size}: a window has at least 1 channel")
    square_sum = neighbours_summed(jnp.square(X), *window(size), -1 if layout == "NHWC" else 1)
    return X / jnp.power(bias + alpha / size * square_sum, beta)


def lrn_grad_onnx(op, dy, x, *, size, alpha, beta, bias):
    if x.shape is None or not isinstance(x.shape[1], int):
        raise GraphError(f"the gradient of LRN needs the number of channels of {x}")
    below, above = window(size)
    channels = np.arange(x.shape[1])
    reach = channels[None, :] - channels[:, None]
    band = ((-below <= reach) & (reach <= above)).astype(x.dtype)  # [c, c]: whom channel c sums over
    summed = lambda m, v: op.ReshapeLike(op.MatMul(m, op.Reshape(v, (0, x.shape[1], -1))), v)
    s = op.Add(op.Mul(summed(band, op.Mul(x, x)), alpha / size), bias)
    power = op.Pow(s, -beta)
    back = summed(np.ascontiguousarray(band.T), op.Mul(op.Mul(dy, x), op.Div(power, s)))
    return op.Sub(op.Mul(dy, power), op.Mul(op.Mul(x, back), 2 * alpha * beta / size))


@operator("LRNGrad", decompose=lrn_grad_onnx, layout=((0, 1), (0,)))
def lrn_grad(dy, x, *, size, alpha=1e-4, beta=0.75, bias=1.0, layout="NCHW"):
    """dy * s^-beta - 2 alpha beta / size * x * (sum of dy x s^(-beta - 1) over those that count x), s as in LRN.

    f[n, c, *d], f[n, c, *d] -> f[n, c, *d]."""
    axis = -1 if layout == "NHWC" else 1
    below, above = window(size)
    s = bias + alpha / size * neighbours_summed(jnp.square(x), below, above, axis)
    power = jnp.power(s, -beta)
    back = neighbours_summed(dy * x * power / s, above, below, axis)
    return dy * power - 2 * alpha * beta / size * x * back


# ---- a norm -------------------------------------------------------------------------------------------


def lp_normalization_vjp(op, x, y, dy, *, p, axis):
    axes = (axis,)
    norm = (
        op.ReduceSum(op.Abs(x), axes, keepdims=1) if p == 1 else op.Sqrt(op.ReduceSum(op.Mul(x, x), axes, keepdims=1))
    )
    along = op.ReduceSum(op.Mul(dy, y), axes, keepdims=1)
    dx = op.Div(op.Sub(dy, op.Mul(op.Sign(x) if p == 1 else y, along)), norm)
    return (op.Where(op.Equal(norm, 0.0), 0.0, dx),)


@operator("LpNormalization", full_precision=True, onnx=("", 1), vjp=lp_normalization_vjp)
def lp_normalization(input, *, p=2, axis=-1):
    """input / (its p-norm along axis), 0 where that is 0; p is 1 or 2.  f[*s] -> f[*s].  ONNX LpNormalization-1.

    The gradient there is 0 as well."""
    if p not in (1, 2):
        raise GraphError(f"p is {p}: expected 1 or 2")
    over = positive_axes((axis,), jnp.ndim(input), "axis")
    norm = jnp.sum(jnp.abs(input) if p == 1 else jnp.square(input), axis=over, keepdims=True)
    none = norm == 0
    norm = jnp.where(none, 1, norm)
    return jnp.where(none, 0, input / (norm if p == 1 else jnp.sqrt(norm)))


# ---- mean and variance --------------------------------------------------------------------------------

MVN_EPSILON = 1e-9  # ONNX adds it to the standard deviation


def mean_variance_normalization_vjp(op, x, y, dy, *, axes):
    average = lambda v: op.ReduceMean(v, axes, keepdims=1)
    centred = op.Sub(x, average(x))
    std = op.Sqrt(average(op.Mul(centred, centred)))
    outer = op.Add(std, MVN_EPSILON)
    along = op.Where(op.Equal(std, 0.0), 0.0, op.Div(op.Mul(centred, average(op.Mul(dy, y))), std))
    return (op.Div(op.Sub(op.Sub(dy, average(dy)), along), outer),)


@operator("MeanVarianceNormalization", full_precision=True, onnx=("", 13), vjp=mean_variance_normalization_vjp)
def mean_variance_normalization(X, *, axes=(0, 2, 3)):
    """(X - mean) / (standard deviation + 1e-9), both over axes.  f[*s] -> f[*s].  ONNX MeanVarianceNormalization-13."""
    over = positive_axes(axes, jnp.ndim(X))
    centred = X - jnp.mean(X, axis=over, keepdims=True)
    return centred / (jnp.sqrt(jnp.mean(jnp.square(centred), axis=over, keepdims=True)) + MVN_EPSILON)
