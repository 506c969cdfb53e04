"""The weight of an analog tile: what a training pass does to it, and what follows an optimizer's step.

Formulas and names are those of IBM's aihwkit.
"""

import jax
import jax.numpy as jnp

from ..errors import GraphError
from ._registry import operator
from .analog import gaussian, scales_like, spread, spread_onnx
from .fake_quantize import round_to, true_quotient
from .random import its_key

MODIFIERS = ("NONE", "COPY", "ADD_NORMAL", "MULT_NORMAL", "DISCRETIZE", "DOREFA")


def weight_modifier_vjp(op, w, x, y, dy, *, per_batch_sample):
    """Not the derivative: straight through, whatever was done to the weight.  Source: aihwkit."""
    return op.ReduceSum(dy, (0,), keepdims=0) if per_batch_sample else dy, None


def weight_modifier_onnx(
    op,
    w,
    x,
    *,
    modifier,
    std_dev,
    res,
    rel_to_actual_wmax,
    assumed_wmax,
    dorefa_clip,
    sto_round,
    per_batch_sample,
    training_mode,
):
    if not training_mode or modifier in ("NONE", "COPY"):
        return op.Unsqueeze(w, (0,)) if per_batch_sample else op.Identity(w)
    wmax = op.ReduceMax(op.Abs(w), keepdims=0) if rel_to_actual_wmax else op.CastLike(float(assumed_wmax), w)
    wmax = op.Where(op.Greater(wmax, 0.0), wmax, 1.0)
    if modifier in ("DISCRETIZE", "DOREFA"):
        if modifier == "DOREFA":
            w = op.Mul(op.Tanh(w), op.Div(dorefa_clip, op.Tanh(wmax)))
            step = op.CastLike(2.0 * res, w)
        else:
            step = op.Mul(wmax, 2.0 * res)
        if sto_round:
            w = op.Add(w, op.Mul(op.RandomUniformLike(w, low=-0.5, high=0.5), step))
        return op.RoundTo(w, step) if res > 0 else w
    like = op.Add(w, op.Mul(first_of_each(op, x, w.rank), 0.0)) if per_batch_sample else w
    noise = op.Mul(op.RandomNormalLike(like), std_dev)
    return op.Add(w, op.Mul(noise, wmax if modifier == "ADD_NORMAL" else w))


def first_of_each(op, x, rank):
    """One number per sample: f[n, ...] -> f[n, 1, ...] with `rank` ones."""
    flat = op.ReduceMax(x, tuple(range(1, x.rank)), keepdims=0)
    return op.Unsqueeze(flat, tuple(range(1, rank + 1)))


@operator("WeightModifier", vjp=weight_modifier_vjp, decompose=weight_modifier_onnx, random=True)
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
    key=None,
):
    """The weight that a training pass uses: w plus noise, or rounded.  f[*s] -> f[*s] (per_batch_sample: f[n, *s]).

    ADD_NORMAL: w + std_dev wmax N;  MULT_NORMAL: w + std_dev w N;  DISCRETIZE: w rounded to steps of 2 wmax res;
    DOREFA: tanh(w) dorefa_clip / tanh(wmax) rounded to steps of 2 res;  wmax: max |w|, or assumed_wmax.
    per_batch_sample: a draw for each row of x.  Outside training w itself, f[1, *s] where a draw for each row would
    stand.  Source: aihwkit.
    """
    if modifier not in MODIFIERS:
        raise GraphError(f"modifier is {modifier!r}, expected one of {', '.join(MODIFIERS)}")
    if not training_mode or modifier in ("NONE", "COPY"):
        return w[None] if per_batch_sample else w
    dtype = jnp.result_type(w)
    wmax = jnp.maximum(jnp.max(w), -jnp.min(w)) if rel_to_actual_wmax else jnp.asarray(assumed_wmax, dtype)
    wmax = jnp.where(wmax > 0, wmax, 1)
    if modifier in ("DISCRETIZE", "DOREFA"):
        if modifier == "DOREFA":
            w = jnp.tanh(w) * (dorefa_clip / jnp.tanh(wmax))
        step = 2 * res * (wmax if modifier == "DISCRETIZE" else jnp.ones_like(wmax))
        if sto_round:
            w = w + step * (jax.random.uniform(its_key(key, None), jnp.shape(w), dtype) - 0.5)
        return round_to(w, step) if res > 0 else w
    shape = (jnp.shape(x)[0], *jnp.shape(w)) if per_batch_sample else jnp.shape(w)
    noise = std_dev * gaussian(its_key(key, None), shape, dtype)
    return w + noise * (wmax if modifier == "ADD_NORMAL" else w)


def clip_weight_onnx(op, w, *, clip, sigma, fixed_value):
    if clip == "FIXED_VALUE":
        return op.Clip(w, -float(fixed_value), float(fixed_value)) if fixed_value > 0 else op.Identity(w)
    bound = op.Mul(spread_onnx(op, w), sigma)
    if fixed_value > 0:
        bound = op.Min(bound, fixed_value)
    return op.Min(op.Max(w, op.Neg(bound)), bound)


@operator("ClipWeight", decompose=clip_weight_onnx)
def clip_weight(w, *, clip="LAYER_GAUSSIAN", sigma=2.5, fixed_value=-1.0):
    """w cut to +-fixed_value ("FIXED_VALUE") or +-sigma std(w) ("LAYER_GAUSSIAN").  f[*s] -> f[*s].

    LAYER_GAUSSIAN: std as of a sample; fixed_value, where > 0, bounds it too.  After an optimizer's step.
    Source: aihwkit."""
    if clip not in ("FIXED_VALUE", "LAYER_GAUSSIAN"):
        raise GraphError(f"clip is {clip!r}, expected 'FIXED_VALUE' or 'LAYER_GAUSSIAN'")
    if clip == "FIXED_VALUE":
        return jnp.clip(w, -fixed_value, fixed_value) if fixed_value > 0 else w
    bound = sigma * spread(w)
    bound = jnp.minimum(bound, fixed_value) if fixed_value > 0 else bound
    return jnp.minimum(jnp.maximum(w, -bound), bound)


def remap_weight_onnx(op, w, scales, alpha, *, remap, relative, remapped_wmax, max_scale_range, max_scale_ref):
    by_row = remap == "CHANNELWISE_SYMMETRIC"
    merged = scales if alpha is None else op.Mul(scales, alpha)
    whole = w if relative else op.Mul(w, scales_like(op, merged, w.rank))
    axes = tuple(range(1, w.rank)) if by_row else tuple(range(w.rank))
    peak = op.ReduceMax(op.Abs(whole), axes, keepdims=1)
    if remapped_wmax != 1:
        peak = op.Div(peak, float(remapped_wmax))
    peak = op.Where(op.Greater(peak, 0.0), peak, 1.0)
    ones = None if alpha is None else op.Add(op.ZerosLike(alpha), 1.0)
    new = op.Reshape(peak, (-1,))
    if not relative:
        return op.Div(whole, peak), new, ones
    new = op.Mul(merged, new)
    if not by_row or max_scale_range <= 0:
        return op.Div(w, peak), new, ones
    low = op.Max(op.ReduceMin(merged, keepdims=0), max(max_scale_ref, 0.0))
    new = op.Min(new, op.Mul(low, float(max_scale_range)))
    return op.Mul(w, scales_like(op, op.Div(merged, new), w.rank)), new, ones


@operator("RemapWeight", decompose=remap_weight_onnx, outputs=3)
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
    """The weight spread over the tile's range, its new scales, and ones for alpha, which the scales take up.

    f[o, *k], f[o or 1] twice -> f[o, *k], f[o or 1] twice.  M is the maximum of all of |W|, or of each row
    ("CHANNELWISE_SYMMETRIC"), divided by remapped_wmax; 1 where it is 0.  After an optimizer's step.
    W = w scales alpha: W / M and M.  relative (the explicit tile's): W = w: W / M and M scales alpha, so that rows keep
    their relative scales.  max_scale_range > 0 (relative, by rows): no new scale exceeds max_scale_range times the
    smallest old one (or max_scale_ref if that is larger); the weight takes the rest.  Source: aihwkit."""
    if remap not in ("LAYERWISE_SYMMETRIC", "CHANNELWISE_SYMMETRIC"):
        raise GraphError(f"remap is {remap!r}, expected 'LAYERWISE_SYMMETRIC' or 'CHANNELWISE_SYMMETRIC'")
    ones = (1,) * (jnp.ndim(w) - 1)
    by_row = remap == "CHANNELWISE_SYMMETRIC"
    merged = scales if alpha is None else scales * alpha
    whole = w if relative else w * jnp.reshape(merged, (-1, *ones))
    peak = jnp.max(jnp.abs(whole), axis=tuple(range(1 if by_row else 0, jnp.ndim(w))), keepdims=True) / remapped_wmax
    peak = jnp.where(peak > 0, peak, 1)
    new = jnp.reshape(peak, (-1,))
    alpha = None if alpha is None else jnp.ones_like(alpha)
    if not relative:
        return true_quotient(whole, peak), new, alpha
    new = merged * new
    if not by_row or max_scale_range <= 0:
        return true_quotient(w, peak), new, alpha
    low = jnp.maximum(jnp.min(merged), max(max_scale_ref, 0.0))
    new = jnp.minimum(new, low * max_scale_range)
    return w * jnp.reshape(merged / new, (-1, *ones)), new, alpha
