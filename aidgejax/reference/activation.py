"""Activations in NumPy."""

import math

import numpy as np

from ._definition import backward, define
from .unary import each


@define("Relu")
def relu(x, *, slope_at_zero=0.0):
    return np.where(x > 0, x, np.zeros_like(x))


@backward("Relu")
def relu_backward(x, y, dy, *, slope_at_zero=0.0):
    return (np.where(x == 0, dy * slope_at_zero, np.where(x > 0, dy, 0)),)


@define("LeakyRelu")
def leaky_relu(x, *, alpha=0.01, slope_at_zero=None):
    return np.where(x < 0, alpha * x, x)


@backward("LeakyRelu")
def leaky_relu_backward(x, y, dy, *, alpha=0.01, slope_at_zero=None):
    at_zero = alpha if slope_at_zero is None else slope_at_zero
    return (np.where(x == 0, dy * at_zero, np.where(x > 0, dy, dy * alpha)),)


@define("PRelu")
def prelu(x, slope):
    return np.where(x < 0, slope * x, x)


@backward("PRelu")
def prelu_backward(x, slope, y, dy):
    return np.where(x < 0, dy * slope, dy), np.where(x < 0, dy * x, 0)


@define("ThresholdedRelu")
def thresholded_relu(x, *, alpha=1.0):
    return np.where(x > alpha, x, 0)


@backward("ThresholdedRelu")
def thresholded_relu_backward(x, y, dy, *, alpha=1.0):
    return (np.where(x > alpha, dy, 0),)


@define("Elu")
def elu(x, *, alpha=1.0):
    return np.where(x < 0, alpha * np.expm1(x), x)


@backward("Elu")
def elu_backward(x, y, dy, *, alpha=1.0):
    return (np.where(x < 0, dy * alpha * np.exp(x), dy),)


@define("Selu")
def selu(x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    return np.where(x <= 0, gamma * alpha * np.expm1(x), gamma * x)


@backward("Selu")
def selu_backward(x, y, dy, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    return (np.where(x <= 0, dy * gamma * alpha * np.exp(x), dy * gamma),)


@define("Celu")
def celu(x, *, alpha=1.0):
    return np.maximum(0, x) + np.minimum(0, alpha * np.expm1(x / alpha))


@backward("Celu")
def celu_backward(x, y, dy, *, alpha=1.0):
    return (np.where(x < 0, dy * np.exp(x / alpha), dy),)


@define("Sigmoid")
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@backward("Sigmoid")
def sigmoid_backward(x, y, dy):
    return (dy * sigmoid(x) * sigmoid(-x),)


@define("Tanh")
def tanh(x):
    return np.tanh(x)


@backward("Tanh")
def tanh_backward(x, y, dy):
    return (dy / np.square(np.cosh(x)),)


@define("Softplus")
def softplus(x):
    return np.logaddexp(x, 0)


@backward("Softplus")
def softplus_backward(x, y, dy):
    return (dy * sigmoid(x),)


@define("Softsign")
def softsign(x):
    return x / (1 + np.abs(x))


@backward("Softsign")
def softsign_backward(x, y, dy):
    return (dy / np.square(1 + np.abs(x)),)


@define("HardSigmoid")
def hard_sigmoid(x, *, alpha=0.2, beta=0.5):
    return np.clip(alpha * x + beta, 0, 1)


@backward("HardSigmoid")
def hard_sigmoid_backward(x, y, dy, *, alpha=0.2, beta=0.5):
    line = alpha * x + beta
    return (np.where((line > 0) & (line < 1), dy * alpha, 0),)


@define("HardSwish")
def hard_swish(x):
    return x * np.clip(x / 6 + 0.5, 0, 1)


@backward("HardSwish")
def hard_swish_backward(x, y, dy):
    return (np.where(x <= -3, 0, np.where(x >= 3, dy, dy * (2 * x + 3) / 6)),)


@define("Swish")
def swish(x, *, alpha=1.0):
    return x * sigmoid(alpha * x)


@backward("Swish")
def swish_backward(x, y, dy, *, alpha=1.0):
    return (dy * (sigmoid(alpha * x) + alpha * x * sigmoid(alpha * x) * sigmoid(-alpha * x)),)


@define("Mish")
def mish(x):
    return x * np.tanh(softplus(x))


@backward("Mish")
def mish_backward(x, y, dy):
    return (dy * (np.tanh(softplus(x)) + x * sigmoid(x) / np.square(np.cosh(softplus(x)))),)


@define("Gelu")
def gelu(x, *, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * each(math.erfc, -x / math.sqrt(2))


@backward("Gelu")
def gelu_backward(x, y, dy, *, approximate="none"):
    if approximate == "tanh":
        u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
        return (dy * 0.5 * (1 + np.tanh(u) + x / np.square(np.cosh(u)) * du),)
    density = np.exp(-np.square(x) / 2) / math.sqrt(2 * math.pi)
    return (dy * (0.5 * each(math.erfc, -x / math.sqrt(2)) + x * density),)


@define("Softmax")
def softmax(x, *, axis=-1):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


@backward("Softmax")
def softmax_backward(x, y, dy, *, axis=-1):
    """dy times the Jacobian diag(y) - y y^T, row by row."""
    rows, d_rows = np.moveaxis(y, axis, -1), np.moveaxis(dy, axis, -1)
    d = np.empty_like(d_rows)
    for k in np.ndindex(rows.shape[:-1]):
        d[k] = (np.diag(rows[k]) - np.outer(rows[k], rows[k])) @ d_rows[k]
    return (np.moveaxis(d, -1, axis),)


@define("LogSoftmax")
def log_softmax(x, *, axis=-1):
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


@backward("LogSoftmax")
def log_softmax_backward(x, y, dy, *, axis=-1):
    return (dy - softmax(x, axis=axis) * np.sum(dy, axis=axis, keepdims=True),)


@define("Hardmax")
def hardmax(x, *, axis=-1):
    rows = np.moveaxis(x, axis, -1)
    y = np.zeros_like(rows)
    for k in np.ndindex(rows.shape[:-1]):
        y[(*k, np.argmax(rows[k]))] = 1
    return np.moveaxis(y, -1, axis)


@backward("Hardmax")
def hardmax_backward(x, y, dy, *, axis=-1):
    return (np.zeros_like(dy),)


@define("Shrink")
def shrink(x, *, bias=0.0, lambd=0.5):
    return np.select([x < -lambd, x > lambd], [x + bias, x - bias], 0).astype(x.dtype)


@define("SwiGLU")
def swiglu(a, b, *, alpha=1.0):
    return (a / (1 + np.exp(-alpha * a)) * b).astype(a.dtype)
