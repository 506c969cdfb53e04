"""Analog tiles in NumPy, from aihwkit's formulas (specs, sections 3 and 6)."""

import numpy as np

from ._definition import backward, define
from .fake_quantize import round_to


def std_of_sample(x):
    """0 where all values are alike, NaN where there is one."""
    if x.size < 2:
        return x.dtype.type(np.nan)
    if x.min() == x.max():
        return x.dtype.type(0)
    return x.astype(np.float64).std(ddof=1).astype(x.dtype)


@define("InputRangeInit")
def input_range_init(x, input_range, update_idx, *, init_from_data=100, init_std_alpha=3.0, training_mode=0):
    r, k = input_range, update_idx
    if not training_mode or not k[0] < init_from_data:
        return r, k
    s = std_of_sample(x)
    if s > 0:
        r, k = ((k * r + init_std_alpha * s) / (k + 1)).astype(r.dtype), k + 1
    return np.abs(r), k


@define("InputRange")
def input_range(x, r, **rule):
    bound = np.abs(np.reshape(r, ()))
    return np.clip(x, -bound, bound)


@define("InputRangeGrad")
def input_range_grad(
    x, r, dy, *, decay=0.001, input_min_percentage=0.95, gradient_scale=1.0, gradient_relative=1, divides=0
):
    g = dy[(x >= r) & (dy < 0)].sum() - dy[(x <= -r) & (dy > 0)].sum()
    if gradient_relative:
        g = g * r * gradient_scale
    if divides:
        g = g - (dy * input_range(x, r)).sum() / r
    if decay > 0 and (np.abs(x) < r).mean() > input_min_percentage:
        g = g + decay * r
    return np.broadcast_to(g, np.shape(r)).astype(x.dtype)


@backward("InputRange")
def input_range_backward(x, r, y, dy, *, straight_through=0, **rule):
    dx = dy if straight_through else np.where(np.abs(x) <= np.abs(r), dy, 0)
    return dx, input_range_grad(x, r, dy, **rule)


@define("OutputClipping")
def output_clipping(y, r, x, *, bound, output_min_percentage=0.95, share="output_size"):
    return y


@backward("OutputClipping")
def output_clipping_backward(y, r, x, out, d_out, *, bound, output_min_percentage=0.95, share="output_size"):
    p = 1 - np.count_nonzero(np.abs(y) >= bound) / (x.size if share == "input_size" else y.size)
    return d_out, -(1 - p) * r if p < output_min_percentage else np.zeros_like(r), None


@define("StopGradient")
def stop_gradient(x):
    return x


@define("GradientThrough")
def gradient_through(for_input, for_weight, y, r=None, *, bound=0.0):
    return y


@backward("GradientThrough")
def gradient_through_backward(for_input, for_weight, y, r, out, d_out, *, bound=0.0):
    ends = np.abs(y) >= bound if bound > 0 else np.zeros(y.shape, bool)
    return np.where(ends, 0, d_out), d_out if r is None else d_out / r, None, None


@define("TileWeight")
def tile_weight(w, mapping_scales):
    return w


@backward("TileWeight")
def tile_weight_backward(w, mapping_scales, y, dy):
    return dy / mapping_scales.reshape(-1, *[1] * (w.ndim - 1)) ** 2, None


@define("GaussianNoise")
def gaussian_noise(like, *, rng=None, drawn=()):
    return (np.random.default_rng() if rng is None else rng).normal(size=like.shape).astype(like.dtype)


@define("WeightModifier")
def weight_modifier(
    w,
    x=None,
    *,
    modifier="NONE",
    std_dev=0.0,
    res=0.0,
    rel_to_actual_wmax=1,
    assumed_wmax=1.0,
    dorefa_clip=0.6,
    sto_round=0,
    per_batch_sample=0,
    training_mode=0,
    rng=None,
    drawn=(),
):
    if not training_mode or modifier in ("NONE", "COPY"):
        return w[None] if per_batch_sample else w
    wmax = np.abs(w).max() if rel_to_actual_wmax else w.dtype.type(assumed_wmax)
    wmax = wmax if wmax > 0 else w.dtype.type(1)
    rng = np.random.default_rng() if rng is None else rng
    if modifier in ("DISCRETIZE", "DOREFA"):
        step = 2 * res * (wmax if modifier == "DISCRETIZE" else 1)
        if modifier == "DOREFA":
            w = np.tanh(w) * (w.dtype.type(dorefa_clip) / np.tanh(wmax))
        if sto_round:
            w = w + (rng.uniform(-0.5, 0.5, w.shape) * step).astype(w.dtype)
        return round_to(w, step) if res > 0 else w
    shape = (x.shape[0], *w.shape) if per_batch_sample else w.shape
    noise = rng.normal(0, std_dev, shape).astype(w.dtype)
    return w + noise * (wmax if modifier == "ADD_NORMAL" else w)


@define("ClipWeight")
def clip_weight(w, *, clip="LAYER_GAUSSIAN", sigma=2.5, fixed_value=-1.0):
    bound = w.dtype.type(np.inf if fixed_value <= 0 else fixed_value)
    if clip == "LAYER_GAUSSIAN":
        bound = min(w.dtype.type(sigma) * std_of_sample(w), bound)
    return np.clip(w, -bound, bound)


@define("RemapWeight")
def remap_weight(
    w,
    scales,
    alpha=None,
    *,
    remap="LAYERWISE_SYMMETRIC",
    relative=0,
    remapped_wmax=1.0,
    max_scale_range=0.0,
    max_scale_ref=0.0,
):
    rows = lambda v: v.reshape(-1, *[1] * (w.ndim - 1))
    old = scales * (1 if alpha is None else alpha)
    whole = w if relative else w * rows(old)
    most = np.abs(whole).reshape(len(w), -1).max(axis=1) / w.dtype.type(remapped_wmax)
    most = most if remap == "CHANNELWISE_SYMMETRIC" else most.max().reshape(1)
    most = np.where(most > 0, most, most.dtype.type(1))
    ones = None if alpha is None else np.ones_like(alpha)
    if not relative:
        return whole / rows(most), most, ones
    new = most * old
    if remap == "CHANNELWISE_SYMMETRIC" and max_scale_range > 0:
        new = np.minimum(new, w.dtype.type(max_scale_range) * max(old.min(), w.dtype.type(max_scale_ref), 0))
        return w * rows(old / new), new, ones
    return w / rows(most), new, ones
