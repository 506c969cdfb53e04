"""Normalization in NumPy."""

import numpy as np

from ._definition import backward, define


def wide(x):
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def channels(v, x):
    """f[c] against f[n, c, *d]"""
    return wide(v).reshape(-1, *[1] * (x.ndim - 2))


@define("BatchNormalization")
def batch_normalization(
    x, scale, b, input_mean, input_var, *, epsilon=1e-5, momentum=0.9, training_mode=0, unbiased_running_var=0
):
    mean, var = input_mean, input_var
    running = mean, var
    if training_mode:
        by_channel = wide(np.moveaxis(x, 1, 0).reshape(x.shape[1], -1))
        mean, var = by_channel.mean(axis=1), by_channel.var(axis=1)
        new = mean, by_channel.var(axis=1, ddof=1) if unbiased_running_var else var
        running = tuple(
            (old * momentum + now * (1 - momentum)).astype(old.dtype) for old, now in zip(running, new, strict=True)
        )
    y = channels(scale, x) * (wide(x) - channels(mean, x)) / np.sqrt(channels(var, x) + epsilon) + channels(b, x)
    return y.astype(x.dtype), *running


def batch_gradient(dy, x, scale, mean, var, epsilon, training_mode):
    """(dx, d scale, db, d mean, d var), by the chain rule in the order of the formula."""
    axes = (0, *range(2, x.ndim))
    n = x.size // x.shape[1]
    if training_mode:
        mean, var = x.mean(axis=axes), x.var(axis=axes)
    centred, std = x - channels(mean, x), np.sqrt(channels(var, x) + epsilon)
    d_normal = dy * channels(scale, x)
    d_var = (d_normal * centred * -0.5 / std**3).sum(axis=axes)
    d_mean = -(d_normal / std).sum(axis=axes)
    dx = d_normal / std
    if training_mode:
        dx = dx + channels(d_var, x) * 2 * centred / n + channels(d_mean, x) / n
    return dx.astype(x.dtype), (dy * centred / std).sum(axis=axes), dy.sum(axis=axes), d_mean, d_var


@backward("BatchNormalization")
def batch_normalization_backward(
    x,
    scale,
    b,
    input_mean,
    input_var,
    y,
    running_mean,
    running_var,
    dy,
    d_running_mean,
    d_running_var,
    *,
    epsilon=1e-5,
    momentum=0.9,
    training_mode=0,
    unbiased_running_var=0,
):
    dx, d_scale, db, d_mean, d_var = batch_gradient(dy, x, scale, input_mean, input_var, epsilon, training_mode)
    if not training_mode:
        return dx, d_scale, db, d_mean + d_running_mean, d_var + d_running_var
    n = x.size // x.shape[1]
    to_mean, to_var = (1 - momentum) * d_running_mean, (1 - momentum) * d_running_var
    centred = x - x.mean(axis=(0, *range(2, x.ndim)), keepdims=True)
    dx = dx + channels(to_mean, x) / n + 2 * channels(to_var, x) * centred / (n - 1 if unbiased_running_var else n)
    return dx, d_scale, db, momentum * d_running_mean, momentum * d_running_var


@define("BatchNormalizationGrad")
def batch_normalization_grad(dy, x, scale, mean, var, *, epsilon=1e-5, training_mode=0):
    return batch_gradient(dy, x, scale, mean, var, epsilon, training_mode)[:3]


def trailing(x, axis):
    return tuple(range(axis % x.ndim, x.ndim))


@define("LayerNormalization")
def layer_normalization(x, scale, b=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    axes = trailing(x, axis)
    mean = wide(x).mean(axis=axes, keepdims=True)
    inv = 1 / np.sqrt(wide(x).var(axis=axes, keepdims=True) + epsilon)
    y = ((x - mean) * inv).astype(x.dtype) * scale
    return y if b is None else y + b, mean, inv


@backward("LayerNormalization")
def layer_normalization_backward(x, scale, b, y, mean, inv, dy, d_mean, d_inv, *, axis=-1, epsilon=1e-5, stash_type=1):
    axes = trailing(x, axis)
    n = x.size // mean.size
    d_normal = dy * scale
    d_inv = d_inv + (d_normal * (x - mean)).sum(axis=axes, keepdims=True)
    d_mean = d_mean - (d_normal * inv).sum(axis=axes, keepdims=True)
    dx = d_normal * inv + d_mean / n - d_inv * inv**3 * (x - mean) / n
    return dx, dy * (x - mean) * inv, dy


@define("RMSNormalization")
def rms_normalization(x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    rms = np.sqrt((wide(x) ** 2).mean(axis=trailing(x, axis), keepdims=True) + epsilon)
    return (x / rms).astype(x.dtype) * scale


@backward("RMSNormalization")
def rms_normalization_backward(x, scale, y, dy, *, axis=-1, epsilon=1e-5, stash_type=1):
    axes = trailing(x, axis)
    rms = np.sqrt((x**2).mean(axis=axes, keepdims=True) + epsilon)
    d = dy * scale
    return d / rms - x * (d * x).mean(axis=axes, keepdims=True) / rms**3, dy * x / rms


def grouped(x, groups):
    return wide(x).reshape(x.shape[0], groups, -1)


@define("GroupNormalization")
def group_normalization(x, scale, bias, *, num_groups, epsilon=1e-5, stash_type=1):
    g = grouped(x, num_groups)
    normal = (g - g.mean(axis=2, keepdims=True)) / np.sqrt(g.var(axis=2, keepdims=True) + epsilon)
    shape = (-1, *[1] * (x.ndim - 2))
    return normal.reshape(x.shape).astype(x.dtype) * scale.reshape(shape) + bias.reshape(shape)


@define("GroupNormalizationGrad")
def group_normalization_grad(dy, x, scale, *, num_groups, epsilon=1e-5):
    g = grouped(x, num_groups)
    n = g.shape[2]
    centred, std = g - g.mean(axis=2, keepdims=True), np.sqrt(g.var(axis=2, keepdims=True) + epsilon)
    d = grouped(dy * channels(scale, x), num_groups)
    d_var = (d * centred * -0.5 / std**3).sum(axis=2, keepdims=True)
    dx = d / std + 2 * d_var * centred / n - (d / std).mean(axis=2, keepdims=True)
    axes = (0, *range(2, x.ndim))
    return dx.reshape(x.shape), (dy * (centred / std).reshape(x.shape)).sum(axis=axes), dy.sum(axis=axes)


@backward("GroupNormalization")
def group_normalization_backward(x, scale, bias, y, dy, *, num_groups, epsilon=1e-5, stash_type=1):
    return group_normalization_grad(dy, x, scale, num_groups=num_groups, epsilon=epsilon)


@define("InstanceNormalization")
def instance_normalization(x, scale, b, *, epsilon=1e-5):
    return group_normalization(x, scale, b, num_groups=x.shape[1], epsilon=epsilon)


@backward("InstanceNormalization")
def instance_normalization_backward(x, scale, b, y, dy, *, epsilon=1e-5):
    return group_normalization_grad(dy, x, scale, num_groups=x.shape[1], epsilon=epsilon)


def lrn_windows(x, size):
    """(channel, the channels it counts) for every channel."""
    for c in range(x.shape[1]):
        first = max(0, c - (size - 1) // 2)
        yield c, slice(first, min(x.shape[1] - 1, c + -((1 - size) // 2)) + 1)


def lrn_base(x, size, alpha, bias):
    total = np.zeros_like(x)
    for c, counted in lrn_windows(x, size):
        total[:, c] = (x[:, counted] ** 2).sum(axis=1)
    return bias + alpha / size * total


@define("LRN")
def lrn(x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    return x / lrn_base(x, size, alpha, bias) ** beta


@define("LRNGrad")
def lrn_grad(dy, x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    s = lrn_base(x, size, alpha, bias)
    dx = dy * s**-beta
    d_s = -beta * dy * x * s ** (-beta - 1)
    for c, counted in lrn_windows(x, size):
        dx[:, counted] += 2 * alpha / size * x[:, counted] * d_s[:, c : c + 1]
    return dx


@backward("LRN")
def lrn_backward(x, y, dy, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    return (lrn_grad(dy, x, size=size, alpha=alpha, beta=beta, bias=bias),)


def lp_norm(x, p, axis):
    norm = np.abs(x).sum(axis=axis, keepdims=True) if p == 1 else np.sqrt((x * x).sum(axis=axis, keepdims=True))
    return np.where(norm == 0, np.inf, norm).astype(x.dtype)


@define("LpNormalization")
def lp_normalization(x, *, p=2, axis=-1):
    return x / lp_norm(x, p, axis)


@backward("LpNormalization")
def lp_normalization_backward(x, y, dy, *, p=2, axis=-1):
    norm = lp_norm(x, p, axis)
    d_norm = -(dy * x).sum(axis=axis, keepdims=True) / norm**2
    return (dy / norm + d_norm * (np.sign(x) if p == 1 else x / norm),)


@define("MeanVarianceNormalization")
def mean_variance_normalization(x, *, axes=(0, 2, 3)):
    axes = tuple(axes)
    return (x - x.mean(axis=axes, keepdims=True)) / (x.std(axis=axes, keepdims=True) + x.dtype.type(1e-9))


@backward("MeanVarianceNormalization")
def mean_variance_normalization_backward(x, y, dy, *, axes=(0, 2, 3)):
    axes = tuple(axes)
    centred, std = x - x.mean(axis=axes, keepdims=True), x.std(axis=axes, keepdims=True)
    outer = std + 1e-9
    d_std = -(dy * centred / outer**2).sum(axis=axes, keepdims=True)
    d_centred = dy / outer + d_std * centred / (std * (x.size // std.size))
    return (d_centred - d_centred.mean(axis=axes, keepdims=True),)
