"""Batch normalization: statistics of each channel, over the batch and all positions.

Statistics are computed in float32 where the data has fewer bits, in two passes, since mean(x^2) - mean(x)^2 cancels.
"""

from functools import partial

import jax.numpy as jnp

from ..errors import GraphError
from ._channel_sums import sum_over_pixels
from ._platforms import by_platform
from ._registry import operator
from .materialize import materialize
from .norm import _moments, _per_channel, _sum, all_but_channels, check_channels, per_channel, wide


def channel_sums(x, layout):
    """x summed over all but the channels, kept with size 1; stored channels last as a GPU adds them fastest."""
    rank = jnp.ndim(x)
    if layout != "NHWC" and rank > 2:
        return jnp.sum(x, all_but_channels(rank, layout), keepdims=True)
    return jnp.reshape(sum_over_pixels(x), (*[1] * (rank - 1), -1))


def batch_moments(x, layout):
    """(mean, biased variance) per channel, kept with size 1; x - mean is never written, nor x in more bits.

    On a CPU the first mean is a long sum, off by several roundings that depend on its order, and so on the number of
    devices: what is left of it is added.  Elsewhere thousands of short sums are, and one walk over x is saved.
    """
    n = x.size // x.shape[-1 if layout == "NHWC" else 1]

    def plain(x):
        return channel_sums(wide(x), layout) / n

    def corrected(x):
        mean = plain(x)
        return mean + channel_sums(wide(x) - mean, layout) / n

    def average(x):
        return by_platform(x, cpu=corrected, default=plain)

    def spread(x, mean):  # in a call of its own: two that read x - mean in one have XLA write it
        return channel_sums(jnp.square(wide(x) - mean), layout) / n

    mean = materialize(average, x)
    return mean, materialize(spread, x, mean)


def batch_normalization_vjp(
    op,
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
    epsilon,
    momentum,
    training_mode,
    unbiased_running_var,
):
    dx = d_scale = db = d_mean = d_var = None
    if dy is not None:
        dx, d_scale, db = op.BatchNormalizationGrad(
            dy, x, scale, input_mean, input_var, outputs=3, epsilon=epsilon, training_mode=training_mode
        )
    if not training_mode:
        if dy is not None:
            inv = op.Reciprocal(op.Sqrt(op.Add(input_var, epsilon)))
            slope = op.Mul(scale, inv)
            d_mean = op.Neg(op.Mul(slope, db))
            d_var = op.Mul(op.Mul(op.Mul(slope, inv), -0.5), d_scale)
        return dx, d_scale, db, d_mean, d_var
    # What reaches the running statistics goes on to the old ones and, through those of the batch, to x.
    if d_running_mean is not None:
        d_mean = op.Mul(d_running_mean, momentum)
        dx = _sum(
            op,
            dx,
            op.ExpandLike(
                _per_channel(op, op.Div(op.Mul(d_running_mean, 1 - momentum), _count(op, x, d_running_mean)), x.rank), x
            ),
        )
    if d_running_var is not None:
        d_var = op.Mul(d_running_var, momentum)
        n = _count(op, x, d_running_var)
        each = op.Div(op.Mul(d_running_var, 2 * (1 - momentum)), op.Sub(n, 1.0) if unbiased_running_var else n)
        centred = op.Sub(x, op.ReduceMean(x, all_but_channels(x.rank, "NCHW"), keepdims=1))
        dx = _sum(op, dx, op.Mul(_per_channel(op, each, x.rank), centred))
    return dx, d_scale, db, d_mean, d_var


def _count(op, x, channels):
    """How many elements of x share a channel."""
    return op.CastLike(op.Div(op.Size(x), op.Size(channels)), channels)


def batch_normalization_onnx(
    op, x, scale, b, input_mean, input_var, *, epsilon, momentum, training_mode, unbiased_running_var
):
    # Never BatchNormalization in training mode: onnxruntime computes it wrong where its statistics are not read.
    if not training_mode:
        y = op.BatchNormalization(x, scale, b, input_mean, input_var, epsilon=epsilon)
        return y, input_mean, input_var
    _, mean, var = _batch_statistics(op, x, input_mean)
    y = op.BatchNormalization(x, scale, b, mean, var, epsilon=epsilon)
    if unbiased_running_var:
        n = _count(op, x, input_var)
        var = op.Mul(var, op.Div(n, op.Sub(n, 1.0)))
    follow = lambda old, new: op.Add(op.Mul(old, momentum), op.Mul(new, 1 - momentum))
    return y, follow(input_mean, mean), follow(input_var, var)


@operator(
    "BatchNormalization",
    full_precision=True,
    onnx=("", 15),
    weights=("scale", "B", "input_mean", "input_var"),
    vjp=batch_normalization_vjp,
    decompose=batch_normalization_onnx,
    layout=((0,), (0,)),
    updates={3: 1, 4: 2},
    outputs=3,
)
def batch_normalization(
    X,
    scale,
    B,
    input_mean,
    input_var,
    *,
    epsilon=1e-5,
    momentum=0.9,
    training_mode=0,
    unbiased_running_var=0,
    layout="NCHW",
):
    """scale * (X - mean) / sqrt(var + epsilon) + B per channel.  f[n, c, *d], 4 times f[c] -> f[n, c, *d], f[c], f[c].

    In training mean and (biased) var are the batch's, and the other outputs are the running statistics to go on with,
    input * momentum + batch * (1 - momentum); otherwise input_mean and input_var serve, and are handed through.
    unbiased_running_var: 1 lets the running variance follow that of the sample, n / (n - 1) times as large, as in
    torch and SINGA.  ONNX BatchNormalization-15.
    """
    check_channels(X, layout, scale=scale, B=B, input_mean=input_mean, input_var=input_var)
    x, rank = wide(X), jnp.ndim(X)
    channels = lambda v: per_channel(wide(v), rank, layout)
    if training_mode:
        mean, var = batch_moments(X, layout)
    else:
        mean, var = channels(input_mean), channels(input_var)
    slope = materialize(lambda s, v: s / jnp.sqrt(v + epsilon), channels(scale), var)
    y = (x - mean) * slope + channels(B)
    y = y.astype(jnp.result_type(X))
    if not training_mode:
        return y, input_mean, input_var
    n = x.size // scale.size
    if unbiased_running_var:
        if n < 2:
            raise GraphError(
                "the variance of a sample needs more than one value per channel; "
                "take a larger batch, or unbiased_running_var=0"
            )
        var = var * (n / (n - 1))
    follow = lambda old, new: (old * momentum + jnp.reshape(new, old.shape) * (1 - momentum)).astype(old.dtype)
    return y, follow(input_mean, mean), follow(input_var, var)


def batch_normalization_grad_onnx(op, dy, x, scale, mean, var, *, epsilon, training_mode):
    """In as few walks over dy and x as there can be: products of numbers per channel cost nothing."""
    channels = lambda v: _per_channel(op, v, x.rank)
    axes = all_but_channels(x.rank, "NCHW")
    if training_mode:
        centred, mean, var = _batch_statistics(op, x, mean)
    else:
        centred = op.Sub(x, channels(mean))
    inv = op.Reciprocal(op.Sqrt(op.Add(var, epsilon)))
    slope = op.Mul(scale, inv)
    db, d_scale = op.ReduceSum(dy, axes, keepdims=0), op.Mul(op.ReduceSum(op.Mul(dy, centred), axes, keepdims=0), inv)
    dx = op.Mul(dy, channels(slope))
    if training_mode:  # what goes through the statistics: slope / n * (-d_scale * normal - db)
        share = op.Neg(op.Div(slope, _count(op, x, db)))
        dx = op.Add(dx, op.BatchNormalization(x, op.Mul(share, d_scale), op.Mul(share, db), mean, var, epsilon=epsilon))
    return dx, d_scale, db


def _batch_statistics(op, x, like):
    """(x - mean, mean, biased variance), the latter two per channel, shaped as `like`."""
    mean, centred, var = _moments(op, x, all_but_channels(x.rank, "NCHW"))
    return centred, op.ReshapeLike(mean, like), op.ReshapeLike(var, like)


@operator("BatchNormalizationGrad", decompose=batch_normalization_grad_onnx, layout=((0, 1), (0,)), outputs=3)
def batch_normalization_grad(dy, x, scale, mean, var, *, epsilon=1e-5, training_mode=0, layout="NCHW"):
    """(dx, d scale, dB) of batch normalization.  f[n, c, *d], f[n, c, *d], 3 times f[c] -> f[n, c, *d], f[c], f[c].

    In training through the statistics of x, which are computed again: inside one program XLA finds that they are those
    of the forward; mean and var are not read then."""
    rank, dtype = jnp.ndim(x), jnp.result_type(x)
    channels = lambda v: per_channel(wide(v), rank, layout)
    added = partial(channel_sums, layout=layout)
    mean, spread = batch_moments(x, layout) if training_mode else (channels(mean), channels(var))

    def sums(dy, x, mean):
        d = wide(dy)
        return added(d), added(d * (wide(x) - mean))

    db, d_scale = materialize(sums, dy, x, mean)
    inv = 1 / jnp.sqrt(spread + epsilon)
    d_scale, slope = d_scale * inv, channels(scale) * inv

    def through_all(dy, x, mean, inv, slope, d_scale, db):
        n = x.size // scale.size
        return ((wide(dy) - db / n - (wide(x) - mean) * (inv * (d_scale / n))) * slope).astype(dtype)

    def past_statistics(dy, slope):
        return (wide(dy) * slope).astype(dtype)

    if training_mode:
        dx = materialize(through_all, dy, x, mean, inv, slope, d_scale, db)
    else:
        dx = materialize(past_statistics, dy, slope)
    out = jnp.result_type(scale)
    return dx, jnp.reshape(d_scale, -1).astype(out), jnp.reshape(db, -1).astype(out)
