"""Noise and bound management of analog products: what an input row is divided by before it is converted.

Formulas and names are those of IBM's aihwkit.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import operator
from .fake_quantize import round_to


def noise_management_vjp(op, z, scale, d_scale, *, management, threshold):
    """The derivative; of several largest values the first takes it, as in torch."""
    size = op.Abs(z) if management == "ABS_MAX" else z
    peak = op.ReduceMax(size, (-1,), keepdims=1)
    first = op.Equal(op.ArgMax(size, axis=-1, keepdims=1), positions(z))
    passes = op.Greater(peak, 0.0)
    if threshold > 0:
        passes = op.And(passes, op.LessOrEqual(peak, threshold))
    dz = op.Where(op.And(first, passes), d_scale, 0.0)
    return (op.Mul(dz, op.Sign(z)) if management == "ABS_MAX" else dz,)


def positions(z):
    """The indices along the last axis of z, i[n]."""
    return np.arange(z.shape[-1], dtype=np.int64)


def noise_management_onnx(op, z, *, management, threshold):
    peak = op.ReduceMax(op.Abs(z) if management == "ABS_MAX" else z, (-1,), keepdims=1)
    if threshold > 0:
        peak = op.Min(peak, threshold)
    return op.Where(op.Greater(peak, 0.0), peak, 1.0)


@operator("NoiseManagement", vjp=noise_management_vjp, decompose=noise_management_onnx)
def noise_management(z, *, management="ABS_MAX", threshold=0.0):
    """max |z| ("ABS_MAX") or max z ("MAX") per row, at most threshold where that is > 0; 1 where it is not positive.

    f[*s, n] -> f[*s, 1].  Source: aihwkit."""
    if management not in ("ABS_MAX", "MAX"):
        raise GraphError(f"management is {management!r}, expected 'ABS_MAX' or 'MAX'")
    peak = jnp.max(jnp.abs(z) if management == "ABS_MAX" else z, axis=-1, keepdims=True)
    if threshold > 0:
        peak = jnp.minimum(peak, threshold)
    return jnp.where(peak > 0, peak, 1)


def bound_management_vjp(op, a, w, inp_noise, out_noise, divisor, scale, d_scale):
    """Not the derivative, which is 0 almost everywhere as well: no gradient passes.  Source: aihwkit."""
    return None, None, None, None, None


ASSUMED_WMAX = 0.6  # mean magnitude of the weights that the worst case assumes.  Source: aihwkit


def bound_limit(inp_bound, inp_res, max_bm_factor, max_bm_res):
    """The scale beyond which the search ends."""
    return min(max_bm_factor, max_bm_res / (2 * inp_bound * inp_res)) if inp_res > 0 else max_bm_factor


def bound_management_onnx(
    op,
    a,
    w,
    inp_noise,
    out_noise,
    divisor,
    *,
    inp_bound,
    inp_res,
    inp_asymmetry,
    out_bound,
    out_res,
    out_asymmetry,
    max_bm_factor,
    max_bm_res,
    by_row,
    test_negative,
    nm_thres,
):
    limit = bound_limit(inp_bound, inp_res, max_bm_factor, max_bm_res)
    transposed = op.Transpose(w, perm=(1, 0))
    if by_row and out_noise is not None:
        out_noise = op.Where(op.Greater(op.Abs(out_noise), out_bound / 2), 0.0, out_noise)

    def over(divided):
        u = divided
        if inp_res > 0:
            u = op.RoundTo(u, 2 * inp_bound * inp_res)
        if inp_bound > 0:
            u = op.Clip(u, -inp_bound, inp_bound)
        if inp_noise is not None:
            u = op.Add(u, inp_noise)
        o = op.MatMul(asymmetric(op, u, inp_asymmetry), transposed)
        o = asymmetric(op, o, out_asymmetry)
        if out_noise is not None:
            o = op.Add(o, out_noise)
        if out_res > 0:
            o = op.RoundTo(o, 2 * out_bound * out_res)
        size = op.Abs(o) if test_negative else o
        peak = op.ReduceMax(size, (-1,), keepdims=1) if by_row else op.ReduceMax(size, keepdims=0)
        return op.Greater(peak, out_bound)

    base = None
    if divisor is not None:
        z = op.Mul(a, divisor)
        peak = op.ReduceMax(op.Abs(z), (-1,), keepdims=1)
        positive = op.ReduceSum(op.Max(z, 0.0), (-1,), keepdims=1)
        negative = op.ReduceSum(op.Max(op.Neg(z), 0.0), (-1,), keepdims=1)
        largest = op.Mul(op.Max(positive, negative), ASSUMED_WMAX / out_bound)
        peak = op.Min(peak, nm_thres) if nm_thres > 0 else peak
        if inp_res > 0:
            largest = op.Min(largest, op.Mul(peak, max_bm_res / (2 * inp_bound * inp_res)))
        worst = op.Div(op.Max(peak, largest), divisor)
        base = op.Where(over(a), op.Where(op.Greater(worst, 0.0), worst, 1.0), 1.0)
        a = op.Mul(a, op.Reciprocal(base))
    scale, step, going = 1.0, 1.0, None
    while step <= limit:
        again = over(op.Mul(a, 1 / step))
        going = again if going is None else op.And(going, again)
        scale = op.Where(going, op.CastLike(2.0 * step, a), scale if step > 1 else op.CastLike(1.0, a))
        step *= 2
    if going is None:
        scale = op.CastLike(1.0, a)
    return scale if base is None else op.Mul(base, scale)


def asymmetric(op, v, asymmetry):
    return op.Where(op.Less(v, 0.0), op.Mul(v, 1 - asymmetry), v) if asymmetry else v


@operator("BoundManagement", vjp=bound_management_vjp, decompose=bound_management_onnx)
def bound_management(
    a,
    w,
    inp_noise=None,
    out_noise=None,
    divisor=None,
    *,
    inp_bound=1.0,
    inp_res=0.0,
    inp_asymmetry=0.0,
    out_bound=12.0,
    out_res=0.0,
    out_asymmetry=0.0,
    max_bm_factor=1000,
    max_bm_res=0.25,
    by_row=0,
    test_negative=1,
    nm_thres=0.0,
):
    """The first of 1, 2, 4, ... that a is divided by so that no output exceeds out_bound.  f[*s, n], f[m, n] -> f[].

    The output is that of converter, noise and product.  One row decides for all; by_row: each for itself, f[*s, 1].
    The search ends beyond max_bm_factor, and beyond max_bm_res / (2 inp_bound inp_res), where the inputs would be too
    coarse.  test_negative 0: positive outputs alone are tested.  Source: aihwkit (ITERATIVE).
    aihwkit draws noise anew for each trial; here it is the same in all, so by_row leaves out_noise beyond half of
    out_bound untested: no scale would make it small.

    divisor f[*s, 1] or f[], by_row alone: what the inputs z = a divisor were divided by.  A row that exceeds the bound
    is then divided by what its worst case asks for, max(max |z|, 0.6 max(sum of z > 0, of -z > 0) / out_bound), the
    second at most max |z| max_bm_res / (2 inp_bound inp_res), max |z| at most nm_thres where that is > 0; from there
    on by 2, 4, ...  Source: aihwkit (ITERATIVE_WORST_CASE of the explicit tile).
    """
    limit = bound_limit(inp_bound, inp_res, max_bm_factor, max_bm_res)
    one = jnp.ones((*jnp.shape(a)[:-1], 1) if by_row else (), jnp.result_type(a))
    if by_row and out_noise is not None:
        out_noise = jnp.where(jnp.abs(out_noise) > out_bound / 2, 0, out_noise)

    def over(scale):
        u = a * (1 / scale)
        if inp_res > 0:
            u = round_to(u, 2 * inp_bound * inp_res)
        if inp_bound > 0:
            u = jnp.clip(u, -inp_bound, inp_bound)
        if inp_noise is not None:
            u = u + inp_noise
        u = jnp.where(u < 0, u * (1 - inp_asymmetry), u) if inp_asymmetry else u
        transposed = jnp.swapaxes(w, -1, -2)
        o = (
            jnp.matmul(u[:, None], transposed)[:, 0]
            if jnp.ndim(w) == 3 and jnp.ndim(u) == 2
            else jnp.matmul(u, transposed)
        )
        o = jnp.where(o < 0, o * (1 - out_asymmetry), o) if out_asymmetry else o
        o = o if out_noise is None else o + out_noise
        if out_res > 0:
            o = round_to(o, 2 * out_bound * out_res)
        size = jnp.abs(o) if test_negative else o
        return (jnp.max(size, axis=-1, keepdims=True) if by_row else jnp.max(size)) > out_bound

    if not by_row:
        return jax.lax.while_loop(lambda s: (s <= limit) & over(s), lambda s: 2 * s, one)
    base = one
    if divisor is not None:
        base = jnp.where(
            over(one), worst_case(a * divisor, divisor, inp_bound, inp_res, out_bound, max_bm_res, nm_thres), one
        )

    def again(s, going):
        s = jnp.where(going, 2 * s, s)
        return s, going & (s <= limit) & over(base * s)

    first = (one <= limit) & over(base)
    scale, _ = jax.lax.while_loop(lambda state: jnp.any(state[1]), lambda state: again(*state), (one, first))
    return base * scale


def worst_case(z, divisor, inp_bound, inp_res, out_bound, max_bm_res, nm_thres):
    """What the rows of z would have to be divided by, had all weights the assumed size; relative to divisor."""
    peak = jnp.max(jnp.abs(z), axis=-1, keepdims=True)
    peak = jnp.minimum(peak, nm_thres) if nm_thres > 0 else peak
    sums = [jnp.sum(jnp.maximum(v, 0), axis=-1, keepdims=True) for v in (z, -z)]
    largest = jnp.maximum(*sums) * (ASSUMED_WMAX / out_bound)
    if inp_res > 0:
        largest = jnp.minimum(largest, peak * (max_bm_res / (2 * inp_bound * inp_res)))
    worst = jnp.maximum(peak, largest) / divisor
    return jnp.where(worst > 0, worst, 1)
