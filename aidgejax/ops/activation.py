"""Activations: one tensor in, one of the same shape out.

At a kink the slope is that of the branch to which ONNX's definition gives the point (Elu and PRelu: x >= 0, slope 1;
Selu and ThresholdedRelu: the lower branch); the flat ends of HardSigmoid and HardSwish include their corners.  Where
systems differ, the operator has a named attribute.
"""

import math

import jax
import jax.numpy as jnp

from ..errors import GraphError
from ._registry import operator, positive_axes

# ---- the rectifiers -----------------------------------------------------------------------------------


def relu_vjp(op, x, y, dy, *, slope_at_zero):
    # The slope at exactly 0 is 0, as in ONNX Runtime; jax.numpy.maximum would say 1/2.  TVM says 1.
    positive = op.GreaterOrEqual(x, 0.0) if slope_at_zero else op.Greater(x, 0.0)
    return (op.Where(positive, dy, 0.0),)


def relu_onnx(op, x, *, slope_at_zero):
    return op.Relu(x)


@operator("Relu", onnx=("", 14), vjp=relu_vjp, decompose=relu_onnx, layout="same")
def relu(x, *, slope_at_zero=0.0):
    """max(x, 0).  t[*s] -> t[*s].  ONNX Relu-14; slope_at_zero: 0.0, or 1.0 as in TVM."""
    return jnp.maximum(x, 0)


def leaky_relu_vjp(op, x, y, dy, *, alpha, slope_at_zero):
    dx = op.Where(op.Greater(x, 0.0), dy, op.Mul(dy, alpha))
    return (dx if slope_at_zero is None else op.Where(op.Equal(x, 0.0), op.Mul(dy, slope_at_zero), dx),)


def leaky_relu_onnx(op, x, *, alpha, slope_at_zero):
    return op.LeakyRelu(x, alpha=alpha)


@operator("LeakyRelu", onnx=("", 16), vjp=leaky_relu_vjp, decompose=leaky_relu_onnx, layout="same")
def leaky_relu(x, *, alpha=0.01, slope_at_zero=None):
    """x where x >= 0, else alpha * x.  f[*s] -> f[*s].  ONNX LeakyRelu-16.

    slope_at_zero: None for alpha, as in ONNX Runtime and torch, or a number: 0.0 in SINGA.
    """
    return jnp.where(x >= 0, x, x * alpha)


def prelu_vjp(op, x, slope, y, dy):
    negative = op.Less(x, 0.0)
    return op.Where(negative, op.Mul(dy, slope), dy), op.Where(negative, op.Mul(dy, x), 0.0)


@operator("PRelu", onnx=("", 16), weights=("slope",), vjp=prelu_vjp, broadcasts=True, layout="same")
def prelu(x, slope):
    """x where x >= 0, else slope * x.  t[*s], t[*r] -> t[*s]; slope broadcasts to x.  ONNX PRelu-16."""
    aligned = zip(reversed(jnp.shape(slope)), reversed(jnp.shape(x)), strict=False)
    if jnp.ndim(slope) > jnp.ndim(x) or any(s not in (1, d) for s, d in aligned):
        raise GraphError(
            f"PRelu's slope of shape {list(jnp.shape(slope))} does not broadcast to x of shape "
            f"{list(jnp.shape(x))}; one slope per channel of an image has shape [c, 1, 1]"
        )
    return jnp.where(x < 0, jnp.multiply(slope, x), x)


def thresholded_relu_vjp(op, x, y, dy, *, alpha):
    return (op.Where(op.Greater(x, alpha), dy, 0.0),)


@operator("ThresholdedRelu", onnx=("", 10), vjp=thresholded_relu_vjp, layout="same")
def thresholded_relu(x, *, alpha=1.0):
    """x where x > alpha, else 0.  f[*s] -> f[*s].  ONNX ThresholdedRelu-10."""
    return jnp.where(x > alpha, x, 0)


def shrink_vjp(op, x, y, dy, *, lambd):
    kept = op.Or(op.Less(x, -lambd), op.Greater(x, lambd))
    return (op.Where(kept, dy, 0.0),)


@operator("Shrink", onnx=("", 9), vjp=shrink_vjp, layout="same")
def shrink(x, *, bias=0.0, lambd=0.5):
    """x - bias where x > lambd, x + bias where x < -lambd, else 0.  t[*s] -> t[*s].  ONNX Shrink-9."""
    x = jnp.asarray(x)
    moved = jnp.where(x < -lambd, x + bias, jnp.where(x > lambd, x - bias, 0))
    return moved.astype(x.dtype)


# ---- linear above 0, exponential below ----------------------------------------------------------------


def elu_vjp(op, x, y, dy, *, alpha):
    return (op.Where(op.GreaterOrEqual(x, 0.0), dy, op.Mul(dy, op.Mul(exp_below(op, x), alpha))),)


@operator("Elu", onnx=("", 6), vjp=elu_vjp, layout="same")
def elu(x, *, alpha=1.0):
    """x where x >= 0, else alpha * (exp(x) - 1).  f[*s] -> f[*s].  ONNX Elu-6."""
    return jnp.where(x >= 0, x, alpha * jnp.expm1(jnp.minimum(x, 0)))


def selu_vjp(op, x, y, dy, *, alpha, gamma):
    below = op.Mul(exp_below(op, x), gamma * alpha)
    return (op.Mul(dy, op.Where(op.Greater(x, 0.0), gamma, below)),)


@operator("Selu", onnx=("", 6), vjp=selu_vjp, layout="same")
def selu(x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    """gamma * x where x > 0, else gamma * alpha * (exp(x) - 1).  f[*s] -> f[*s].  ONNX Selu-6."""
    return gamma * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0)))


def celu_vjp(op, x, y, dy, *, alpha):
    return (op.Mul(dy, op.Exp(op.Div(op.Min(x, 0.0), alpha))),)


@operator("Celu", onnx=("", 12), vjp=celu_vjp, layout="same")
def celu(x, *, alpha=1.0):
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1)).  f[*s] -> f[*s].  ONNX Celu-12 (float32 alone until 28)."""
    return jnp.where(x >= 0, x, alpha * jnp.expm1(jnp.minimum(x, 0) / alpha))


def exp_below(op, x):
    """exp(x) where x < 0; above, where it might overflow and is not used, 1."""
    return op.Exp(op.Min(x, 0.0))


# ---- sigmoids -----------------------------------------------------------------------------------------


def sigmoid_vjp(op, x, y, dy):
    return (op.Mul(dy, op.Mul(y, op.Sub(1.0, y))),)


@operator("Sigmoid", onnx=("", 13), vjp=sigmoid_vjp, layout="same")
def sigmoid(x):
    """1 / (1 + exp(-x)).  f[*s] -> f[*s].  ONNX Sigmoid-13."""
    return jax.nn.sigmoid(x)


def tanh_vjp(op, x, y, dy):
    return (op.Mul(dy, op.Sub(1.0, op.Mul(y, y))),)


@operator("Tanh", onnx=("", 13), vjp=tanh_vjp, layout="same")
def tanh(x):
    """The hyperbolic tangent of x.  f[*s] -> f[*s].  ONNX Tanh-13."""
    return jnp.tanh(x)


def softplus_vjp(op, x, y, dy):
    return (op.Mul(dy, op.Sigmoid(x)),)


@operator("Softplus", onnx=("", 1), vjp=softplus_vjp, layout="same")
def softplus(x):
    """log(1 + exp(x)).  f[*s] -> f[*s].  ONNX Softplus-1."""
    return jax.nn.softplus(x)


def softsign_vjp(op, x, y, dy):
    scale = op.Add(op.Abs(x), 1.0)
    return (op.Div(op.Div(dy, scale), scale),)


@operator("Softsign", onnx=("", 1), vjp=softsign_vjp, layout="same")
def softsign(x):
    """x / (1 + |x|).  f[*s] -> f[*s].  ONNX Softsign-1."""
    return x / (1 + jnp.abs(x))


def hard_sigmoid_vjp(op, x, y, dy, *, alpha):
    inside = op.And(op.Greater(y, 0.0), op.Less(y, 1.0))
    return (op.Where(inside, op.Mul(dy, alpha), 0.0),)


@operator("HardSigmoid", onnx=("", 6), vjp=hard_sigmoid_vjp, layout="same")
def hard_sigmoid(x, *, alpha=0.2, beta=0.5):
    """max(0, min(1, alpha * x + beta)).  f[*s] -> f[*s].  ONNX HardSigmoid-6.  The slope at both corners is 0."""
    return jnp.maximum(0, jnp.minimum(1, alpha * x + beta))


# ---- x times a gate -----------------------------------------------------------------------------------


def hard_swish_vjp(op, x, y, dy):
    between = op.Mul(dy, op.Add(op.Div(x, 3.0), 0.5))
    return (op.Where(op.Less(x, 3.0), op.Where(op.Greater(x, -3.0), between, 0.0), dy),)


@operator("HardSwish", onnx=("", 14), vjp=hard_swish_vjp, layout="same")
def hard_swish(x):
    """x * max(0, min(1, x / 6 + 1/2)).  f[*s] -> f[*s].  ONNX HardSwish-14.  The slope is 0 at -3 and 1 at 3."""
    return x * jnp.maximum(0, jnp.minimum(1, x / 6 + 0.5))


def swish_vjp(op, x, y, dy, *, alpha):
    gate = op.Sigmoid(x if alpha == 1 else op.Mul(x, alpha))
    bend = op.Mul(y, op.Sub(1.0, gate))
    return (op.Mul(dy, op.Add(gate, bend if alpha == 1 else op.Mul(bend, alpha))),)


@operator("Swish", onnx=("", 24), vjp=swish_vjp, layout="same")
def swish(x, *, alpha=1.0):
    """x * sigmoid(alpha * x); SiLU with alpha 1.  f[*s] -> f[*s].  ONNX Swish-24."""
    return x * jax.nn.sigmoid(alpha * x)


def swiglu_vjp(op, a, b, y, dy, *, alpha):
    value = op.Swish(a, alpha=alpha)
    return swish_vjp(op, a, value, op.Mul(dy, b), alpha=alpha)[0], op.Mul(dy, value)


def swiglu_onnx(op, a, b, *, alpha):
    return op.Mul(op.Mul(a, op.Sigmoid(a if alpha == 1 else op.Mul(a, alpha))), b)


@operator("SwiGLU", onnx=("", 28), vjp=swiglu_vjp, decompose=swiglu_onnx, layout="same")
def swiglu(a, b, *, alpha=1.0):
    """a * sigmoid(alpha * a) * b.  f[*s], f[*s] -> f[*s].  ONNX SwiGLU-28."""
    if jnp.shape(a) != jnp.shape(b):
        raise GraphError(f"A and B have shapes {list(jnp.shape(a))} and {list(jnp.shape(b))}: they are of one shape")
    return a * jax.nn.sigmoid(alpha * a) * b


def mish_vjp(op, x, y, dy):
    gate = op.Tanh(op.Softplus(x))
    slope = op.Mul(op.Sub(1.0, op.Mul(gate, gate)), op.Sigmoid(x))
    return (op.Mul(dy, op.Add(gate, op.Mul(x, slope))),)


@operator("Mish", onnx=("", 18), vjp=mish_vjp, layout="same")
def mish(x):
    """x * tanh(softplus(x)).  f[*s] -> f[*s].  ONNX Mish-18."""
    return x * jnp.tanh(jax.nn.softplus(x))


CUBIC = 0.044715  # of the approximation by tanh: tanh(sqrt(2 / pi) * (x + CUBIC * x^3))


def gelu_vjp(op, x, y, dy, *, approximate):
    if approximate == "tanh":
        z = op.Clip(x, -10.0, 10.0)  # beyond, the gate is 0 or 1 in any precision, and a cube could overflow
        square = op.Mul(z, z)
        t = op.Tanh(op.Mul(op.Mul(z, op.Add(op.Mul(square, CUBIC), 1.0)), math.sqrt(2 / math.pi)))
        gate = op.Mul(op.Add(t, 1.0), 0.5)
        inner = op.Mul(op.Add(op.Mul(square, 3 * CUBIC), 1.0), math.sqrt(2 / math.pi) / 2)
        density = op.Mul(op.Sub(1.0, op.Mul(t, t)), inner)
    else:
        z = x
        gate = op.Mul(op.Add(op.Erf(op.Mul(x, math.sqrt(0.5))), 1.0), 0.5)
        density = op.Mul(op.Exp(op.Mul(op.Mul(x, x), -0.5)), 1 / math.sqrt(2 * math.pi))
    return (op.Mul(dy, op.Add(gate, op.Mul(z, density))),)


@operator("Gelu", onnx=("", 20), vjp=gelu_vjp, layout="same")
def gelu(x, *, approximate="none"):
    """x * P(normal variable < x).  f[*s] -> f[*s].  ONNX Gelu-20; approximate: "none", or "tanh" for its formula."""
    if approximate not in ("none", "tanh"):
        raise GraphError(f"approximate is {approximate!r}, expected 'none' or 'tanh'")
    return jax.nn.gelu(x, approximate=approximate == "tanh")


# ---- along an axis ------------------------------------------------------------------------------------


def softmax_vjp(op, x, y, dy, *, axis):
    mean = op.ReduceSum(op.Mul(dy, y), (axis,), keepdims=1)
    return (op.Mul(y, op.Sub(dy, mean)),)


@operator("Softmax", full_precision=True, onnx=("", 13), vjp=softmax_vjp)
def softmax(x, *, axis=-1):
    """exp(x) / its sum along axis.  f[*s] -> f[*s].  ONNX Softmax-13."""
    return jax.nn.softmax(x, axis=one_axis(x, axis))


def log_softmax_vjp(op, x, y, dy, *, axis):
    total = op.ReduceSum(dy, (axis,), keepdims=1)
    return (op.Sub(dy, op.Mul(op.Exp(y), total)),)


@operator("LogSoftmax", full_precision=True, onnx=("", 13), vjp=log_softmax_vjp)
def log_softmax(x, *, axis=-1):
    """x - log of the sum of exp(x) along axis.  f[*s] -> f[*s].  ONNX LogSoftmax-13."""
    return jax.nn.log_softmax(x, axis=one_axis(x, axis))


def hardmax_vjp(op, x, y, dy, *, axis):
    """No gradient passes, as from Sign: the result is constant between its jumps."""
    return (None,)


@operator("Hardmax", onnx=("", 13), vjp=hardmax_vjp)
def hardmax(x, *, axis=-1):
    """1 at the first largest element along axis, else 0.  f[*s] -> f[*s].  ONNX Hardmax-13.  No gradient passes."""
    at = one_axis(x, axis)
    return jax.nn.one_hot(jnp.argmax(x, axis=at), jnp.shape(x)[at], axis=at, dtype=jnp.result_type(x))


def one_axis(x, axis):
    return positive_axes((axis,), jnp.ndim(x), "axis")[0]
