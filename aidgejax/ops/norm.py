"""Normalization with statistics that are shared along axes: layer, instance, group (batch: batch_norm.py).

Statistics are computed in float32 where the data has fewer bits, in two passes, since mean(x^2) - mean(x)^2 cancels.
"""

import jax.numpy as jnp

from ..errors import GraphError
from ._registry import broadcasts_to, operator, positive_axes


def wide(x):
    """x in the precision of statistics: at least float32."""
    return jnp.asarray(x).astype(jnp.promote_types(jnp.result_type(x), "float32"))


def moments(x, axes):
    """(mean, x - mean, biased variance) over axes, kept with size 1."""
    mean = jnp.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    return mean, centred, jnp.mean(jnp.square(centred), axis=axes, keepdims=True)


def per_channel(v, rank, layout):
    """f[c] shaped so that it broadcasts to an image of this rank."""
    return v if layout == "NHWC" or rank < 3 else jnp.reshape(v, (-1, *[1] * (rank - 2)))


def all_but_channels(rank, layout):
    return tuple(range(rank - 1)) if layout == "NHWC" else (0, *range(2, rank))


def _sum(op, a, b):
    return b if a is None else op.Add(a, b)


def _per_channel(op, v, rank):
    return op.Unsqueeze(v, tuple(range(1, rank - 1))) if rank > 2 else v


def _moments(op, x, axes):
    mean = op.ReduceMean(x, axes, keepdims=1)
    centred = op.Sub(x, mean)
    return mean, centred, op.ReduceMean(op.Mul(centred, centred), axes, keepdims=1)


def check_channels(x, layout, **vectors):
    rank = jnp.ndim(x)
    if rank < 2:
        raise GraphError(f"X has shape {list(jnp.shape(x))}: expected [n, channels, *positions]")
    channels = jnp.shape(x)[-1 if layout == "NHWC" else 1]
    for name, v in vectors.items():
        if jnp.shape(v) != (channels,):
            raise GraphError(f"{name} has shape {list(jnp.shape(v))}: expected one number per channel, [{channels}]")


# ---- layer and root mean square -----------------------------------------------------------------------


def trailing_axes(x, axis):
    (first,) = positive_axes((axis,), jnp.ndim(x), "axis")
    return tuple(range(first, jnp.ndim(x)))


def check_scale(x, **parameters):
    for name, v in parameters.items():
        if v is not None and not broadcasts_to(jnp.shape(v), jnp.shape(x)):
            raise GraphError(f"{name} of shape {list(jnp.shape(v))} does not broadcast to X's {list(jnp.shape(x))}")


def _like(op, v, like):
    """v in the dtype of `like`; no node where it has it already."""
    return v if v.dtype == like.dtype and v.dtype is not None else op.CastLike(v, like)


def layer_normalization_vjp(op, x, scale, b, y, mean, inv, dy, d_mean, d_inv, *, axis):
    axes = tuple(range(axis % x.rank, x.rank))
    normal = op.Mul(op.Sub(_like(op, x, mean), mean), inv)
    average = lambda v: op.ReduceMean(v, axes, keepdims=1)
    dx = d_scale = db = None
    if dy is not None:
        d = op.CastLike(op.Mul(dy, scale), mean)
        inner = op.Add(average(d), op.Mul(normal, average(op.Mul(d, normal))))
        dx = op.Mul(op.Sub(d, inner), inv)
        d_scale = op.SumLike(op.Mul(dy, op.CastLike(normal, dy)), scale)
        db = None if b is None else op.SumLike(dy, b)
    if d_mean is not None or d_inv is not None:
        n = op.CastLike(op.Div(op.Size(x), op.Size(mean)), mean)
        if d_mean is not None:
            dx = _sum(op, dx, op.ExpandLike(op.Div(d_mean, n), normal))
        if d_inv is not None:
            dx = _sum(op, dx, op.Mul(op.Mul(op.Mul(normal, inv), op.Mul(inv, -1.0)), op.Div(d_inv, n)))
    return op.CastLike(dx, x), d_scale, db


@operator(
    "LayerNormalization",
    full_precision=True,
    onnx=("", 17),
    weights=("Scale", "B"),
    vjp=layer_normalization_vjp,
    outputs=3,
    residual_outputs=(1, 2),
)
def layer_normalization(X, Scale, B=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    """Scale * (X - Mean) * InvStdDev + B, over axis and all after it.  f[*s], f[*r], f[*r] -> f[*s], f[*m], f[*m].

    Mean and InvStdDev = 1 / sqrt(variance + epsilon) have size 1 along those axes.  stash_type: 1 asks for at least
    float32 inside; float64 stays float64.  ONNX LayerNormalization-17.
    """
    check_scale(X, Scale=Scale, B=B)
    mean, centred, var = moments(wide(X), trailing_axes(X, axis))
    inv = 1 / jnp.sqrt(var + epsilon)
    y = (centred * inv).astype(jnp.result_type(X)) * Scale
    return y if B is None else y + B, mean, inv


def rms_normalization_vjp(op, x, scale, y, dy, *, axis, epsilon):
    axes = tuple(range(axis % x.rank, x.rank))
    wide_x = op.Cast(x, to=1) if x.dtype in ("float16", "bfloat16") else x
    mean_square = op.ReduceMean(op.Mul(wide_x, wide_x), axes, keepdims=1)
    inv = op.Reciprocal(op.Sqrt(op.Add(mean_square, epsilon)))
    normal = op.Mul(wide_x, inv)
    d = op.CastLike(op.Mul(dy, scale), normal)
    dx = op.Mul(op.Sub(d, op.Mul(normal, op.ReduceMean(op.Mul(d, normal), axes, keepdims=1))), inv)
    return op.CastLike(dx, x), op.SumLike(op.Mul(dy, op.CastLike(normal, dy)), scale)


@operator("RMSNormalization", full_precision=True, onnx=("", 23), weights=("scale",), vjp=rms_normalization_vjp)
def rms_normalization(X, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    """scale * X / sqrt(mean(X^2) + epsilon), the mean over axis and all after it.  f[*s], f[*r] -> f[*s].

    stash_type as in LayerNormalization.  ONNX RMSNormalization-23.
    """
    check_scale(X, scale=scale)
    x = wide(X)
    mean_square = jnp.mean(jnp.square(x), axis=trailing_axes(X, axis), keepdims=True)
    return (x / jnp.sqrt(mean_square + epsilon)).astype(jnp.result_type(X)) * scale


# ---- group and instance -------------------------------------------------------------------------------


def by_group(x, groups, layout):
    """(x with its channel axis split in two, axes of the statistics).  f[n, c, *d] -> f[n, g, c / g, *d]."""
    n, *rest = x.shape
    if layout == "NHWC":
        x = jnp.reshape(x, (*x.shape[:-1], groups, x.shape[-1] // groups))
        return x, (*range(1, x.ndim - 2), x.ndim - 1)
    return jnp.reshape(x, (n, groups, rest[0] // groups, *rest[1:])), tuple(range(2, x.ndim + 1))


def check_groups(x, groups, layout):
    channels = jnp.shape(x)[-1 if layout == "NHWC" else 1]
    if groups < 1 or channels % groups:
        raise GraphError(f"num_groups is {groups}: expected a divisor of the {channels} channels of X")


def normalized_by_group(x, groups, epsilon, layout):
    """(x - mean) / std in the shape of x, 1 / std per group, and the axes to sum over for a group."""
    split, axes = by_group(wide(x), groups, layout)
    _, centred, var = moments(split, axes)
    inv = 1 / jnp.sqrt(var + epsilon)
    return jnp.reshape(centred * inv, jnp.shape(x)), inv, axes


def group_normalization_vjp(op, x, scale, bias, y, dy, *, num_groups, epsilon):
    return op.GroupNormalizationGrad(dy, x, scale, outputs=3, num_groups=num_groups, epsilon=epsilon)


@operator(
    "GroupNormalization",
    full_precision=True,
    onnx=("", 21),
    weights=("scale", "bias"),
    vjp=group_normalization_vjp,
    layout=((0,), (0,)),
)
def group_normalization(X, scale, bias, *, num_groups, epsilon=1e-5, stash_type=1, layout="NCHW"):
    """scale * (X - mean) / sqrt(var + epsilon) + bias, mean and var per row and group of channels.

    f[n, c, *d], f[c], f[c] -> f[n, c, *d].  stash_type as in LayerNormalization.  ONNX GroupNormalization-21.
    """
    check_channels(X, layout, scale=scale, bias=bias)
    check_groups(X, num_groups, layout)
    normal = normalized_by_group(X, num_groups, epsilon, layout)[0].astype(jnp.result_type(X))
    channels = lambda v: per_channel(v, jnp.ndim(X), layout)
    return normal * channels(scale) + channels(bias)


def group_normalization_grad_onnx(op, dy, x, scale, *, num_groups, epsilon):
    flat = (0, num_groups, -1)
    _, centred, var = _moments(op, op.Reshape(x, flat), (2,))
    inv = op.Reciprocal(op.Sqrt(op.Add(var, epsilon)))
    normal = op.Mul(centred, inv)
    d = op.Reshape(op.Mul(dy, _per_channel(op, scale, x.rank)), flat)
    average = lambda v: op.ReduceMean(v, (2,), keepdims=1)
    dx = op.Mul(op.Sub(op.Sub(d, average(d)), op.Mul(normal, average(op.Mul(d, normal)))), inv)
    axes = all_but_channels(x.rank, "NCHW")
    d_scale = op.ReduceSum(op.Mul(dy, op.ReshapeLike(normal, x)), axes, keepdims=0)
    return op.ReshapeLike(dx, x), d_scale, op.ReduceSum(dy, axes, keepdims=0)


@operator("GroupNormalizationGrad", decompose=group_normalization_grad_onnx, layout=((0, 1), (0,)), outputs=3)
def group_normalization_grad(dy, x, scale, *, num_groups, epsilon=1e-5, layout="NCHW"):
    """(dx, d scale, d bias) of group normalization.  f[n, c, *d], f[n, c, *d], f[c] -> f[n, c, *d], f[c], f[c]."""
    rank, d = jnp.ndim(x), wide(dy)
    normal, inv, axes = normalized_by_group(x, num_groups, epsilon, layout)
    over = all_but_channels(rank, layout)
    d_scale, db = jnp.sum(d * normal, axis=over), jnp.sum(d, axis=over)
    d, _ = by_group(d * per_channel(wide(scale), rank, layout), num_groups, layout)
    normal, _ = by_group(normal, num_groups, layout)
    average = lambda v: jnp.mean(v, axis=axes, keepdims=True)
    dx = jnp.reshape((d - average(d) - normal * average(d * normal)) * inv, jnp.shape(x))
    out = jnp.result_type(scale)
    return dx.astype(jnp.result_type(x)), d_scale.astype(out), db.astype(out)


def instance_normalization_vjp(op, x, scale, b, y, dy, *, epsilon):
    if x.shape is None or not isinstance(x.shape[1], int):
        raise GraphError(f"the gradient of InstanceNormalization needs the number of channels of {x}")
    return op.GroupNormalizationGrad(dy, x, scale, outputs=3, num_groups=x.shape[1], epsilon=epsilon)


@operator(
    "InstanceNormalization",
    full_precision=True,
    onnx=("", 6),
    weights=("scale", "B"),
    gradient_exports="yes, with a number of channels that is known",
    vjp=instance_normalization_vjp,
    layout=((0,), (0,)),
)
def instance_normalization(input, scale, B, *, epsilon=1e-5, layout="NCHW"):
    """scale * (input - mean) / sqrt(var + epsilon) + B, mean and var per row and channel.

    f[n, c, *d], f[c], f[c] -> f[n, c, *d].  ONNX InstanceNormalization-6.
    """
    check_channels(input, layout, scale=scale, B=B)
    groups = jnp.shape(scale)[0]
    return group_normalization(input, scale, B, num_groups=groups, epsilon=epsilon, layout=layout)
