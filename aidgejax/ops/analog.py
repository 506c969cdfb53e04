"""Analog in-memory products: the learned input range, converters with noise and bounds, weights in a tile.

Formulas and names are those of IBM's aihwkit; aidgejax/analog writes the graphs that use these operators.  A rule
that is not a derivative says so first, and whose it is.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._flat_walks import in_rows, stored_in_rows
from ._registry import operator
from .materialize import materialize
from .random import its_key

# ---- input range --------------------------------------------------------------------------------------


MANY = 4096


def spread(x):
    """Standard deviation of all values of x as of a sample; exactly 0 where they are all alike, NaN for one value."""
    if x.size < 2:
        return jnp.full((), math.nan, x.dtype)
    high, low = jnp.max(x), jnp.min(x)
    size = jnp.maximum(jnp.abs(high), jnp.abs(low))  # squares of large values would overflow
    scaled = x / jnp.where(size > 0, size, 1)
    if x.size < MANY:
        squares = jnp.sum(jnp.square(scaled - jnp.mean(scaled)))
    else:
        # One walk for both sums, from the mean of a sixteenth of the values.  What is subtracted is at most 16 times
        # what is left, since that sixteenth, too, lies as far from the mean of all as the point where the sums start.
        off = scaled - jnp.mean(scaled.reshape(-1)[: x.size // 16])
        squares = jnp.maximum(jnp.sum(jnp.square(off)) - jnp.square(jnp.sum(off)) / x.size, 0)
    std = size * jnp.sqrt(squares / (x.size - 1))
    return jnp.where(high == low, 0, std)


def spread_onnx(op, x):
    high, low = op.ReduceMax(x, keepdims=0), op.ReduceMin(x, keepdims=0)
    size = op.Max(op.Abs(high), op.Abs(low))
    scaled = op.Div(x, op.Where(op.Greater(size, 0.0), size, 1.0))
    centred = op.Sub(scaled, op.ReduceMean(scaled, keepdims=0))
    n = op.CastLike(op.Size(x), x)
    std = op.Mul(size, op.Sqrt(op.Div(op.ReduceSum(op.Mul(centred, centred), keepdims=0), op.Sub(n, 1.0))))
    return op.Where(op.Equal(high, low), 0.0, std)


def input_range_init_vjp(op, x, input_range, update_idx, moved, counted, d_moved, d_counted):
    """Not the derivative: the new range takes the place of the parameter, so its gradient is the parameter's.

    Source: aihwkit, which overwrites the parameter's data (periphery.py, apply_input_range)."""
    return None, d_moved, None


def input_range_init_onnx(op, x, input_range, update_idx, *, init_from_data, init_std_alpha, training_mode):
    if not training_mode or init_from_data <= 0:
        return op.Identity(input_range), op.Identity(update_idx)
    std = spread_onnx(op, x)
    early = op.Less(update_idx, float(init_from_data))
    found = op.And(early, op.Greater(std, 0.0))
    mean = op.Div(op.Add(op.Mul(update_idx, input_range), op.Mul(std, init_std_alpha)), op.Add(update_idx, 1.0))
    moved = op.Where(early, op.Abs(op.Where(found, mean, input_range)), input_range)
    return moved, op.Where(found, op.Add(update_idx, 1.0), update_idx)


@operator(
    "InputRangeInit",
    vjp=input_range_init_vjp,
    decompose=input_range_init_onnx,
    updates={1: 0, 2: 1},
    updates_parameters=True,
    outputs=2,
    layout=((0,), ()),
)
def input_range_init(
    x, input_range, update_idx, *, init_from_data=100, init_std_alpha=3.0, training_mode=0, layout="NCHW"
):
    """(k r + init_std_alpha std(x)) / (k + 1) and k + 1, while k < init_from_data.  f[*s], f[1], f[1] -> f[1], f[1].

    In training alone; then also r <- |r|.  A batch whose values are all alike, or not finite, or only one, counts
    for nothing.  std is of all values of x as of a sample (divided by n - 1).  Source: aihwkit.
    """
    check_range(input_range, update_idx)
    if not training_mode or init_from_data <= 0:
        return input_range, update_idx

    def init(x, r, k):
        std = spread(x)
        found = std > 0
        mean = (k * r + init_std_alpha * std) / (k + 1)
        return jnp.abs(jnp.where(found, mean, r)), jnp.where(found, k + 1, k)

    def keep(x, r, k):
        return r, k

    x = jnp.asarray(x)
    dtypes = [jnp.result_type(a) for a in (input_range, update_idx)]
    moved = jax.lax.cond(
        jnp.reshape(update_idx, ()) < init_from_data,
        lambda *a: tuple(v.astype(d) for v, d in zip(init(*a), dtypes, strict=True)),
        keep,
        x,
        jnp.asarray(input_range),
        jnp.asarray(update_idx),
    )
    return moved


def check_range(*ones):
    for r in ones:
        if jnp.size(r) != 1:
            raise GraphError(f"the range and its counter are one number each, [1]; got shape {list(jnp.shape(r))}")


def input_range_vjp(op, x, r, y, dy, *, straight_through, **rule):
    """Not the derivative in r: aihwkit's rule, see InputRangeGrad.

    x: the derivative, both bounds included; with straight_through it passes everywhere (the C++ tile)."""
    dr = op.InputRangeGrad(x, r, dy, **rule)
    return dy if straight_through else op.Where(op.LessOrEqual(op.Abs(x), op.Abs(r)), dy, 0.0), dr


def input_range_grad_onnx(op, x, r, dy, *, decay, input_min_percentage, gradient_scale, gradient_relative, divides):
    high = op.Where(op.GreaterOrEqual(x, r), op.Min(dy, 0.0), 0.0)
    low = op.Where(op.LessOrEqual(x, op.Neg(r)), op.Max(dy, 0.0), 0.0)
    dr = op.ReshapeLike(op.ReduceSum(op.Sub(high, low), keepdims=0), r)
    if gradient_relative:
        dr = op.Mul(dr, op.Mul(r, gradient_scale))
    if divides:
        cut = op.Min(op.Max(x, op.Neg(op.Abs(r))), op.Abs(r))
        dr = op.Sub(dr, op.Div(op.ReduceSum(op.Mul(dy, cut), keepdims=0), r))
    if decay > 0:
        inside = op.ReduceMean(op.CastLike(op.Less(op.Abs(x), r), x), keepdims=0)
        dr = op.Add(dr, op.Where(op.Greater(inside, input_min_percentage), op.Mul(r, decay), 0.0))
    return dr


@operator("InputRangeGrad", decompose=input_range_grad_onnx, layout=((0, 2), ()))
def input_range_grad(
    x,
    r,
    dy,
    *,
    decay=0.001,
    input_min_percentage=0.95,
    gradient_scale=1.0,
    gradient_relative=1,
    divides=0,
    layout="NCHW",
):
    """What moves the range r of inputs x that were cut off.  f[*s], f[1], f[*s] -> f[1].

    Pulled wider by clipped inputs whose gradient points outward, times r and gradient_scale where it is
    gradient_relative; plus decay * r where more than input_min_percentage (a fraction) of the inputs lie inside.
    divides: and what r takes as the divisor of the cut inputs y, -sum(dy y) / r, where dy is the gradient of y.
    Source: aihwkit (tiles/periphery.py), which both of its tiles share."""

    def pull(x, dy, r, widening, narrowing):
        high = jnp.where(x >= r, jnp.minimum(dy, 0), 0)
        pull = (high - jnp.where(x <= -r, jnp.maximum(dy, 0), 0)) * widening
        return pull - dy * jnp.clip(x, -jnp.abs(r), jnp.abs(r)) * narrowing if divides else pull

    widening = r * gradient_scale if gradient_relative else jnp.ones_like(r)
    dr = jnp.reshape(jnp.sum(stored_in_rows(pull, x, dy, r, widening, 1 / r)), jnp.shape(r))
    if decay > 0:
        inside = jnp.mean(stored_in_rows(lambda x, r: (jnp.abs(x) < r).astype(x.dtype), x, r))
        dr = dr + jnp.where(inside > input_min_percentage, r * decay, 0)
    return dr


def input_range_onnx(op, x, r, **rule):
    return op.Min(op.Max(x, op.Neg(op.Abs(r))), op.Abs(r))


@operator("InputRange", vjp=input_range_vjp, decompose=input_range_onnx, layout="same")
def input_range(
    x,
    r,
    *,
    decay=0.001,
    input_min_percentage=0.95,
    gradient_scale=1.0,
    gradient_relative=1,
    straight_through=0,
    divides=0,
):
    """min(max(x, -|r|), |r|).  f[*s], f[1] -> f[*s].  The attributes belong to the rule for r.  Source: aihwkit."""
    bound = jnp.reshape(jnp.abs(r), ())
    return in_rows(lambda x, bound: jnp.minimum(jnp.maximum(x, -bound), bound), x, bound)


def output_clipping_vjp(op, y, r, x, out, d_out, *, bound, output_min_percentage, share):
    """Not the derivative in r: aihwkit's manage_output_clipping, grad -= (1 - p) * r where p < output_min_percentage.

    p: the fraction of outputs that are not clipped; with share "input_size" their number is divided by the number of
    inputs instead, as the original's C++ tile does."""
    clipped = op.ReduceSum(op.CastLike(op.GreaterOrEqual(op.Abs(y), bound), y), keepdims=0)
    p = op.Sub(1.0, op.Div(clipped, op.CastLike(op.Size(x if share == "input_size" else y), y)))
    return d_out, op.Where(op.Less(p, output_min_percentage), op.Mul(op.Sub(p, 1.0), r), 0.0), None


def output_clipping_onnx(op, y, r, x, *, bound, output_min_percentage, share):
    return op.Identity(y)


@operator("OutputClipping", vjp=output_clipping_vjp, decompose=output_clipping_onnx, layout=((0, 2), (0,)))
def output_clipping(y, r, x, *, bound, output_min_percentage=0.95, share="output_size", layout="NCHW"):
    """y; its rule widens the range r where too many |y| >= bound.  f[*s], f[1], f[*t] -> f[*s].  Source: aihwkit."""
    if share not in ("output_size", "input_size"):
        raise GraphError(f"share is {share!r}, expected 'output_size' or 'input_size'")
    return y


# ---- whose gradient it is -----------------------------------------------------------------------------


def stop_gradient_vjp(op, x, y, dy):
    return (None,)


def stop_gradient_onnx(op, x):
    return op.Identity(x)


@operator("StopGradient", vjp=stop_gradient_vjp, decompose=stop_gradient_onnx, layout="same")
def stop_gradient(x):
    """x; no gradient passes.  t[*s] -> t[*s]."""
    return x


def gradient_through_vjp(op, for_input, for_weight, y, r, out, d_out, *, bound):
    """Not the derivative: y is what is computed, the gradients are those of two perfect products.

    The input's ends where |y| >= bound; the weight's does not, and is divided by the range r.
    Source: aihwkit's C++ tile (backward and update of InferenceTile)."""
    dx = d_out if bound <= 0 else op.Where(op.GreaterOrEqual(op.Abs(y), bound), 0.0, d_out)
    return dx, d_out if r is None else op.Div(d_out, r), None, None


def gradient_through_onnx(op, for_input, for_weight, y, r, *, bound):
    return op.Identity(y)


@operator("GradientThrough", vjp=gradient_through_vjp, decompose=gradient_through_onnx, layout=((0, 1, 2), (0,)))
def gradient_through(for_input, for_weight, y, r=None, *, bound=0.0, layout="NCHW"):
    """y, with the gradients of for_input and for_weight.  f[*s] three times, f[1] -> f[*s].

    bound: where the input's gradient ends, 0 for nowhere.  Source: aihwkit's C++ tile."""
    return y


def tile_weight_vjp(op, w, mapping_scales, y, dy):
    """Not the derivative: dy / mapping_scales^2, so that a step of SGD on the tile's weight moves the logical weight
    as SGD on that would.  Source: aihwkit (the weight's gradient hook)."""
    m = scales_like(op, mapping_scales, w.rank)
    return op.Div(dy, op.Mul(m, m)), None


def tile_weight_onnx(op, w, mapping_scales):
    return op.Identity(w)


def scales_like(op, scales, rank):
    """f[out] or f[1] shaped so that it multiplies the rows of a weight."""
    return op.Unsqueeze(scales, tuple(range(1, rank)))


@operator("TileWeight", vjp=tile_weight_vjp, decompose=tile_weight_onnx)
def tile_weight(w, mapping_scales):
    """w, the weight as the tile holds it: logical weight / mapping_scales.  f[out, *k], f[out or 1] -> f[out, *k]."""
    return w


# ---- the product --------------------------------------------------------------------------------------


def gaussian_noise_vjp(op, like, drawn, d_drawn):
    return (None,)


def gaussian_noise_onnx(op, like):
    return op.RandomNormalLike(like)


@operator("GaussianNoise", vjp=gaussian_noise_vjp, decompose=gaussian_noise_onnx, layout="same", random=True)
def gaussian_noise(like, *, key=None):
    """Draws from the standard normal distribution, cheaply.  f[*s] -> f[*s].  With images inside a program of layout
    "NHWC" they fall differently than in one of "NCHW"."""
    return gaussian(its_key(key, None), jnp.shape(like), jnp.result_type(like))


def gaussian(key, shape, dtype):
    """Standard normal draws from a hash of the key and of each element's number.

    Threefry and the inverse error function would cost more than the product that is disturbed.  Here each element's
    number is hashed by a 32-bit finalizer (multiply, xor, shift), the four bytes are summed, and an odd polynomial of
    the sum sets right the moments: the second, fourth and sixth are those of the normal distribution, whose
    distribution function it meets within 1.3e-3.  No draw lies beyond 4.6, where a true one would be one of 200,000;
    draws lie at least 1/150 apart.
    """
    words = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    words = jnp.reshape(words, -1).astype("uint32")

    def drawn(words):
        x = jax.lax.iota("uint32", math.prod(shape)) + words[0]
        x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D) + words[-1]
        x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
        x = x ^ (x >> 16)
        pairs = (x & np.uint32(0x00FF00FF)) + ((x >> 8) & np.uint32(0x00FF00FF))
        total = (pairs & np.uint32(0xFFFF)) + (pairs >> 16)
        z = (total.astype("int32").astype("float32") - 4 * 127.5) * np.float32((4 * (256**2 - 1) / 12) ** -0.5)
        square = z * z
        return z * (np.float32(0.97150851) + square * (np.float32(8.80752e-4) + square * np.float32(2.33169e-3)))

    return jnp.reshape(materialize(drawn, words), shape).astype(dtype)
