"""Reductions; SumLike, the reduction that undoes a broadcast; and SpreadLike, the broadcast that undoes a reduction.

All take `axes` (all axes where there are none, unless noop_with_empty_axes) and keepdims.  A reduction over no axes
at all still does its own to each element: ReduceSumSquare then squares.
"""

import math

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from ..errors import GraphError
from ._channel_sums import sum_over
from ._platforms import by_platform
from ._registry import operator, positive_axes
from .slice_concat_pad import positions_in


def reduced_axes(x, axes, noop_with_empty_axes):
    """The axes that a reduction with this input `axes` goes over, counted from the front."""
    if axes is None or len(axes) == 0:
        return () if noop_with_empty_axes else tuple(range(jnp.ndim(x)))
    return positive_axes((int(a) for a in axes), jnp.ndim(x))


# ---- undoing broadcasts and reductions ----------------------------------------------------------------


def sum_like_onnx(op, x, like):
    # Sum over the axes that `like` lacks or has size 1 on; Expand's own rule of alignment, read backwards.
    if None in (x.shape, like.shape) or None in (*x.shape, *like.shape):
        raise GraphError(
            f"SumLike of {x} to {like}: without their sizes it has no decomposition into standard operators; "
            f"give every size of the graph's inputs as a number or a name, and see aidgejax.infer_shapes"
        )
    lead = x.rank - like.rank
    ones = tuple(lead + k for k, d in enumerate(like.shape) if d == 1 and x.shape[lead + k] != 1)
    if ones:
        x = op.ReduceSum(x, ones, keepdims=1)
    return op.ReduceSum(x, tuple(range(lead)), keepdims=0) if lead else x


def sum_like_vjp(op, x, like, y, dy):
    return op.ExpandLike(dy, x), None


def _row_by_row(x):
    """x, on a GPU in row-major order.  XLA would store what is summed with the summed axes innermost, and all that x is
    computed from with it: a position embedding turned every activation of a transformer into rows innermost."""
    if jnp.ndim(x) < 3 or not isinstance(x, jax.core.Tracer):
        return x
    held = lambda x: with_layout_constraint(x, Layout(tuple(range(x.ndim))))
    return by_platform(x, cuda=held, rocm=held, default=lambda x: x)


@operator("SumLike", decompose=sum_like_onnx, vjp=sum_like_vjp)
def sum_like(x, like):
    """Sum of x over the axes along which `like` would be broadcast to x.  f[*s], t[*r] -> f[*r]."""
    shape = jnp.shape(like)
    lead = jnp.ndim(x) - len(shape)
    axes = [*range(lead), *(lead + k for k, d in enumerate(shape) if d == 1 and jnp.shape(x)[lead + k] != 1)]
    return jnp.reshape(sum_over(_row_by_row(x), axes), shape) if axes else x


def spread_like_onnx(op, y, x, axes, *, keepdims, noop_with_empty_axes):
    if not keepdims and axes is not None:
        y = op.Unsqueeze(y, axes)
    return op.Expand(y, op.Shape(x))


def spread_like_vjp(op, y, x, axes, z, dz, *, keepdims, noop_with_empty_axes):
    return op.ReduceSum(dz, axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes), None, None


@operator("SpreadLike", decompose=spread_like_onnx, vjp=spread_like_vjp, static=("axes",))
def spread_like(y, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """y, the result of reducing x over axes, repeated along them: ReduceSum's gradient.
    t[*r], u[*s], i64[k] -> t[*s]."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    if not keepdims:
        y = jnp.reshape(y, [1 if k in over else d for k, d in enumerate(jnp.shape(x))])
    return jnp.broadcast_to(y, jnp.shape(x))


# ---- sums ---------------------------------------------------------------------------------------------
# In the rules, `how` is keepdims and noop_with_empty_axes: with the same axes, what SpreadLike undoes.


def summed(x, axes, keepdims, noop_with_empty_axes):
    over = reduced_axes(x, axes, noop_with_empty_axes)
    return sum_over(x, over, keepdims=bool(keepdims))


def reduce_sum_vjp(op, x, axes, y, dy, **how):
    return op.SpreadLike(dy, x, axes, **how), None


@operator("ReduceSum", full_precision=True, onnx=("", 13), vjp=reduce_sum_vjp, static=("axes",))
def reduce_sum(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """Sum over axes; 0 where there is nothing.  t[*s], i64[k] -> t[*r].  ONNX ReduceSum-13."""
    return summed(x, axes, keepdims, noop_with_empty_axes)


def reduce_mean_vjp(op, x, axes, y, dy, **how):
    count = elements_per_element(x, y) or op.CastLike(op.Div(op.Size(x), op.Size(dy)), dy)
    return op.SpreadLike(op.Div(dy, count), x, axes, **how), None


def elements_per_element(x, y):
    """How many elements of x there are per element of y, its reduction; None where the shapes do not say."""
    if x.shape is None or y.shape is None or None in x.shape:
        return None
    named = [sorted(d for d in v.shape if isinstance(d, str)) for v in (x, y)]
    sizes = [math.prod(d for d in v.shape if isinstance(d, int)) for v in (x, y)]
    return sizes[0] / sizes[1] if named[0] == named[1] and sizes[1] else None


@operator("ReduceMean", full_precision=True, onnx=("", 18), vjp=reduce_mean_vjp, static=("axes",))
def reduce_mean(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """Mean over axes; NaN where there is nothing; of integers, rounded towards 0.  t[*s], i64[k] -> t[*r].
    ONNX ReduceMean-18."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    if jnp.issubdtype(jnp.result_type(x), jnp.floating):
        return jnp.mean(x, axis=over, keepdims=bool(keepdims))
    total = summed(x, axes, keepdims, noop_with_empty_axes)
    return jax.lax.div(total, jnp.asarray(math.prod(jnp.shape(x)[k] for k in over), total.dtype))


def reduce_sum_square_vjp(op, x, axes, y, dy, **how):
    return op.Mul(op.Mul(x, 2.0), op.SpreadLike(dy, x, axes, **how)), None


@operator("ReduceSumSquare", full_precision=True, onnx=("", 18), vjp=reduce_sum_square_vjp, static=("axes",))
def reduce_sum_square(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """Sum of x * x over axes; 0 where there is nothing.  t[*s], i64[k] -> t[*r].  ONNX ReduceSumSquare-18."""
    return summed(jnp.square(x), axes, keepdims, noop_with_empty_axes)


def reduce_l1_vjp(op, x, axes, y, dy, **how):
    return op.Mul(op.Sign(x), op.SpreadLike(dy, x, axes, **how)), None  # 0 has slope 0


@operator("ReduceL1", full_precision=True, onnx=("", 18), vjp=reduce_l1_vjp, static=("axes",))
def reduce_l1(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """Sum of |x| over axes; 0 where there is nothing.  t[*s], i64[k] -> t[*r].  ONNX ReduceL1-18."""
    return summed(jnp.abs(x), axes, keepdims, noop_with_empty_axes)


def reduce_l2_vjp(op, x, axes, y, dy, **how):
    # The norm of a zero vector has slope 0, as in torch.
    slope = op.Div(dy, op.Where(op.Equal(y, 0.0), 1.0, y))
    return op.Mul(x, op.SpreadLike(slope, x, axes, **how)), None


@operator("ReduceL2", full_precision=True, onnx=("", 18), vjp=reduce_l2_vjp, static=("axes",))
def reduce_l2(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """sqrt(sum of x * x) over axes; 0 where there is nothing.  t[*s], i64[k] -> t[*r].  ONNX ReduceL2-18."""
    squares = summed(jnp.square(x), axes, keepdims, noop_with_empty_axes)
    return jnp.sqrt(squares).astype(jnp.result_type(x))


def reduce_log_sum_vjp(op, x, axes, y, dy, **how):
    return op.SpreadLike(op.Div(dy, op.Exp(y)), x, axes, **how), None


@operator("ReduceLogSum", full_precision=True, onnx=("", 18), vjp=reduce_log_sum_vjp, static=("axes",))
def reduce_log_sum(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """log(sum of x) over axes; -inf where there is nothing.  f[*s], i64[k] -> f[*r].  ONNX ReduceLogSum-18."""
    check_floating(x)
    return jnp.log(summed(x, axes, keepdims, noop_with_empty_axes))


def reduce_log_sum_exp_vjp(op, x, axes, y, dy, **how):
    # Where all x are -inf, so is y; their slope is 0 as in torch, not exp(-inf + inf).
    y = op.Where(op.Equal(y, -math.inf), 0.0, y)
    share = op.Exp(op.Sub(x, op.SpreadLike(y, x, axes, **how)))
    return op.Mul(share, op.SpreadLike(dy, x, axes, **how)), None


@operator("ReduceLogSumExp", full_precision=True, onnx=("", 18), vjp=reduce_log_sum_exp_vjp, static=("axes",))
def reduce_log_sum_exp(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """log(sum of exp(x)) over axes, without overflow; -inf where there is nothing.  f[*s], i64[k] -> f[*r].
    ONNX ReduceLogSumExp-18."""
    check_floating(x)
    over = reduced_axes(x, axes, noop_with_empty_axes)
    top = jnp.max(x, axis=over, keepdims=True, initial=-math.inf)
    top = jnp.where(jnp.isfinite(top), top, 0)
    y = jnp.log(jnp.sum(jnp.exp(x - top), axis=over, keepdims=True)) + top
    return y if keepdims else jnp.squeeze(y, over)


def check_floating(x):
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise GraphError(f"a logarithm of {jnp.result_type(x).name}: expected a floating-point tensor; cast it first")


# ---- products and extremes ----------------------------------------------------------------------------


def reduce_prod_vjp(op, x, axes, y, dy, **how):
    # The product of the others: y / x, except where there are zeros.  Then it is 0, unless x is the only zero.
    zero = op.Equal(x, 0.0)
    others = op.Where(zero, 1.0, x)
    product = op.SpreadLike(op.Mul(dy, op.ReduceProd(others, axes, **how)), x, axes, **how)
    zero = op.CastLike(zero, x)
    zeros = op.SpreadLike(op.ReduceSum(zero, axes, **how), x, axes, **how)
    return op.Where(op.Equal(zeros, zero), op.Div(product, others), 0.0), None


@operator("ReduceProd", full_precision=True, onnx=("", 18), vjp=reduce_prod_vjp, static=("axes",))
def reduce_prod(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    """Product over axes; 1 where there is nothing.  t[*s], i64[k] -> t[*r].  ONNX ReduceProd-18."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    return jnp.prod(x, axis=over, keepdims=bool(keepdims), dtype=jnp.result_type(x))


def extreme_vjp(op, x, axes, y, dy, *, ties, **how):
    hit = op.Equal(x, op.SpreadLike(y, x, axes, **how))
    if ties == "split":
        hit = op.CastLike(hit, dy)
        share = op.Div(dy, op.ReduceSum(hit, axes, **how))
        return op.Mul(hit, op.SpreadLike(share, x, axes, **how)), None
    place = positions_in(op, x)
    first = op.ReduceMin(op.Where(hit, place, op.Size(x)), axes, **how)
    hit = op.Equal(place, op.SpreadLike(first, x, axes, **how))
    return op.Where(hit, op.SpreadLike(dy, x, axes, **how), 0.0), None


def extreme(find, x, axes, keepdims, noop_with_empty_axes, ties):
    if ties not in ("split", "first"):
        raise GraphError(f"ties is {ties!r}, expected 'split' or 'first'")
    over = reduced_axes(x, axes, noop_with_empty_axes)
    empty = 0 in (jnp.shape(x)[k] for k in over)
    initial = {"initial": of_nothing(jnp.result_type(x), highest=find is jnp.min)} if empty else {}
    return find(x, axis=over, keepdims=bool(keepdims), **initial)


def of_nothing(dtype, highest):
    """The minimum (or maximum) of no elements: the highest (or lowest) there is."""
    if jnp.issubdtype(dtype, jnp.floating):
        return math.inf if highest else -math.inf
    if jnp.issubdtype(dtype, jnp.bool_):
        return highest
    return jnp.iinfo(dtype).max if highest else jnp.iinfo(dtype).min


def reduce_max_onnx(op, x, axes, *, ties, **how):
    return op.ReduceMax(x, axes, **how)


@operator("ReduceMax", onnx=("", 18), vjp=extreme_vjp, decompose=reduce_max_onnx, static=("axes",))
def reduce_max(x, axes=None, *, keepdims=1, noop_with_empty_axes=0, ties="split"):
    """The largest over axes; -inf, or the lowest integer, where there is nothing.  t[*s], i64[k] -> t[*r].
    ties: who takes the gradient, all equally ("split", as torch.amax) or the "first".  ONNX ReduceMax-18."""
    return extreme(jnp.max, x, axes, keepdims, noop_with_empty_axes, ties)


def reduce_min_onnx(op, x, axes, *, ties, **how):
    return op.ReduceMin(x, axes, **how)


@operator("ReduceMin", onnx=("", 18), vjp=extreme_vjp, decompose=reduce_min_onnx, static=("axes",))
def reduce_min(x, axes=None, *, keepdims=1, noop_with_empty_axes=0, ties="split"):
    """The smallest over axes; inf, or the highest integer, where there is nothing.  t[*s], i64[k] -> t[*r].
    ties: who takes the gradient, all equally ("split", as torch.amin) or the "first".  ONNX ReduceMin-18."""
    return extreme(jnp.min, x, axes, keepdims, noop_with_empty_axes, ties)
