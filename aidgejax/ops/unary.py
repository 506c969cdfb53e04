"""One input, one output of the same shape: exponentials, roots, trigonometry, rounding, clipping."""

import math

import jax
import jax.numpy as jnp

from ..errors import GraphError
from ._registry import operator

# ---- exponentials and roots ---------------------------------------------------------------------------


def exp_vjp(op, x, y, dy):
    return (op.Mul(dy, y),)


@operator("Exp", full_precision=True, onnx=("", 13), vjp=exp_vjp, layout="same")
def exp(x):
    """e ** x.  f[*s] -> f[*s].  ONNX Exp-13."""
    return jnp.exp(x)


def log_vjp(op, x, y, dy):
    return (op.Div(dy, x),)


@operator("Log", full_precision=True, onnx=("", 13), vjp=log_vjp, layout="same")
def log(x):
    """The natural logarithm of x; NaN below 0.  f[*s] -> f[*s].  ONNX Log-13."""
    return jnp.log(x)


def sqrt_vjp(op, x, y, dy):
    return (op.Div(op.Mul(dy, 0.5), y),)


@operator("Sqrt", onnx=("", 13), vjp=sqrt_vjp, layout="same")
def sqrt(x):
    """The square root of x; NaN below 0.  f[*s] -> f[*s].  ONNX Sqrt-13.  Its slope at 0 is infinite."""
    return jnp.sqrt(x)


def reciprocal_vjp(op, x, y, dy):
    return (op.Neg(op.Mul(dy, op.Mul(y, y))),)


@operator("Reciprocal", onnx=("", 13), vjp=reciprocal_vjp, layout="same")
def reciprocal(x):
    """1 / x.  f[*s] -> f[*s].  ONNX Reciprocal-13."""
    return jnp.reciprocal(x)


def erf_vjp(op, x, y, dy):
    return (op.Mul(dy, op.Mul(op.Exp(op.Neg(op.Mul(x, x))), 2 / math.sqrt(math.pi))),)


@operator("Erf", onnx=("", 13), vjp=erf_vjp, layout="same")
def erf(x):
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.  f[*s] -> f[*s].  ONNX Erf-13."""
    return jax.lax.erf(jnp.asarray(x))


# ---- signs --------------------------------------------------------------------------------------------


def neg_vjp(op, x, y, dy):
    return (op.Neg(dy),)


@operator("Neg", onnx=("", 13), vjp=neg_vjp, layout="same")
def neg(x):
    """-x.  t[*s] -> t[*s].  ONNX Neg-13."""
    return jnp.negative(x)


def abs_vjp(op, x, y, dy, *, slope_at_zero):
    dx = op.Mul(dy, op.Sign(x))
    return (op.Where(op.Equal(x, 0.0), op.Mul(dy, slope_at_zero), dx) if slope_at_zero else dx,)


def abs_onnx(op, x, *, slope_at_zero):
    return op.Abs(x)


@operator("Abs", onnx=("", 13), vjp=abs_vjp, decompose=abs_onnx, layout="same")
def abs_(x, *, slope_at_zero=0.0):
    """|x|.  t[*s] -> t[*s].  ONNX Abs-13; slope_at_zero: 0.0, or 1.0 as in TVM."""
    return jnp.abs(x)


def flat_vjp(op, x, y, dy):
    """No gradient passes: the result is constant between its jumps, and what it does at a jump is nobody's business.

    Straight-through estimators, which let it pass, are other operators.
    """
    return (None,)


@operator("Sign", onnx=("", 13), vjp=flat_vjp, layout="same")
def sign(x):
    """1 above 0, -1 below, 0 at 0.  t[*s] -> t[*s].  ONNX Sign-13.  No gradient passes."""
    return jnp.sign(x)


# ---- rounding and clipping ----------------------------------------------------------------------------


@operator("Floor", onnx=("", 13), vjp=flat_vjp, layout="same")
def floor(x):
    """The largest integer not above x.  f[*s] -> f[*s].  ONNX Floor-13.  No gradient passes."""
    return jnp.floor(x)


@operator("Ceil", onnx=("", 13), vjp=flat_vjp, layout="same")
def ceil(x):
    """The smallest integer not below x.  f[*s] -> f[*s].  ONNX Ceil-13.  No gradient passes."""
    return jnp.ceil(x)


def round_onnx(op, x, *, halves):
    size = op.Abs(x)
    whole = op.Floor(size)
    up = op.CastLike(op.GreaterOrEqual(op.Sub(size, whole), 0.5), x)
    return op.Mul(op.Sign(x), op.Add(whole, up))


@operator("Round", onnx=("", 11), vjp=flat_vjp, decompose=round_onnx, layout="same")
def round_(x, *, halves="even"):
    """The integer nearest to x.  f[*s] -> f[*s].  ONNX Round-11.  No gradient passes.

    halves: what becomes of 0.5, 1.5, ...: "even", as ONNX says, or "away" from zero, as in Aidge.
    """
    if halves not in ("even", "away"):
        raise GraphError(f"halves is {halves!r}, expected 'even' or 'away'")
    if halves == "even":
        return jnp.round(x)
    whole = jnp.floor(jnp.abs(x))
    return jnp.sign(x) * jnp.where(jnp.abs(x) - whole >= 0.5, whole + 1, whole)


def clip_vjp(op, x, low, high, y, dy):
    """x where it lies within the bounds, both included, as everywhere; a bound for those that it replaces."""
    within = [op.GreaterOrEqual(x, low)] if low is not None else []
    within += [op.LessOrEqual(x, high)] if high is not None else []
    dx = op.Where(op.And(*within) if len(within) == 2 else within[0], dy, 0.0) if within else dy
    below = None if low is None else op.Less(x, low)
    if high is None:
        return dx, None if low is None else op.Where(below, dy, 0.0), None
    above = op.Greater(x if low is None else op.Max(x, low), high)  # low > high: all become high
    d_low = None if low is None else op.Where(above, 0.0, op.Where(below, dy, 0.0))
    return dx, d_low, op.Where(above, dy, 0.0)


@operator("Clip", onnx=("", 13), settings=("low", "high"), vjp=clip_vjp, broadcasts=True, layout="same")
def clip(x, low=None, high=None):
    """min(max(x, low), high), each bound a scalar or absent.  t[*s], t[], t[] -> t[*s].  ONNX Clip-13.

    Where low > high the result is high.  The gradient passes where low <= x <= high, as in ONNX Runtime, Aidge, SINGA
    and torch; what is cut off belongs to the bound.
    """
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and jnp.size(bound) != 1:
            raise GraphError(f"Clip's bound {name!r} has shape {list(jnp.shape(bound))}, expected a scalar")
    if low is not None:
        x = jnp.maximum(x, jnp.squeeze(low) if jnp.ndim(low) else low)
    return x if high is None else jnp.minimum(x, jnp.squeeze(high) if jnp.ndim(high) else high)


# ---- trigonometry -------------------------------------------------------------------------------------


def sin_vjp(op, x, y, dy):
    return (op.Mul(dy, op.Cos(x)),)


@operator("Sin", onnx=("", 7), vjp=sin_vjp, layout="same")
def sin(x):
    """The sine of x, in radians.  f[*s] -> f[*s].  ONNX Sin-7."""
    return jnp.sin(x)


def cos_vjp(op, x, y, dy):
    return (op.Neg(op.Mul(dy, op.Sin(x))),)


@operator("Cos", onnx=("", 7), vjp=cos_vjp, layout="same")
def cos(x):
    """The cosine of x, in radians.  f[*s] -> f[*s].  ONNX Cos-7."""
    return jnp.cos(x)


def tan_vjp(op, x, y, dy):
    return (op.Mul(dy, op.Add(op.Mul(y, y), 1.0)),)


@operator("Tan", onnx=("", 7), vjp=tan_vjp, layout="same")
def tan(x):
    """The tangent of x, in radians.  f[*s] -> f[*s].  ONNX Tan-7."""
    return jnp.tan(x)


def asin_vjp(op, x, y, dy):
    return (op.Div(dy, op.Sqrt(one_minus_square(op, x))),)


@operator("Asin", onnx=("", 7), vjp=asin_vjp, layout="same")
def asin(x):
    """The angle in [-pi/2, pi/2] whose sine is x.  f[*s] -> f[*s].  ONNX Asin-7."""
    return jnp.arcsin(x)


def acos_vjp(op, x, y, dy):
    return (op.Neg(op.Div(dy, op.Sqrt(one_minus_square(op, x)))),)


@operator("Acos", onnx=("", 7), vjp=acos_vjp, layout="same")
def acos(x):
    """The angle in [0, pi] whose cosine is x.  f[*s] -> f[*s].  ONNX Acos-7."""
    return jnp.arccos(x)


def atan_vjp(op, x, y, dy):
    return (op.Div(dy, op.Add(op.Mul(x, x), 1.0)),)


@operator("Atan", onnx=("", 7), vjp=atan_vjp, layout="same")
def atan(x):
    """The angle in (-pi/2, pi/2) whose tangent is x.  f[*s] -> f[*s].  ONNX Atan-7."""
    return jnp.arctan(x)


def sinh_vjp(op, x, y, dy):
    return (op.Mul(dy, op.Cosh(x)),)


@operator("Sinh", onnx=("", 9), vjp=sinh_vjp, layout="same")
def sinh(x):
    """(e^x - e^-x) / 2.  f[*s] -> f[*s].  ONNX Sinh-9."""
    return jnp.sinh(x)


def cosh_vjp(op, x, y, dy):
    return (op.Mul(dy, op.Sinh(x)),)


@operator("Cosh", onnx=("", 9), vjp=cosh_vjp, layout="same")
def cosh(x):
    """(e^x + e^-x) / 2.  f[*s] -> f[*s].  ONNX Cosh-9."""
    return jnp.cosh(x)


def asinh_vjp(op, x, y, dy):
    # cosh(y) is sqrt(x^2 + 1) without a square that could overflow.
    return (op.Div(dy, op.Cosh(y)),)


@operator("Asinh", onnx=("", 9), vjp=asinh_vjp, layout="same")
def asinh(x):
    """The y with sinh(y) = x.  f[*s] -> f[*s].  ONNX Asinh-9."""
    return jnp.arcsinh(x)


def acosh_vjp(op, x, y, dy):
    # Two roots: x^2 could overflow, and near 1 it would cancel.
    return (op.Div(op.Div(dy, op.Sqrt(op.Sub(x, 1.0))), op.Sqrt(op.Add(x, 1.0))),)


@operator("Acosh", onnx=("", 9), vjp=acosh_vjp, layout="same")
def acosh(x):
    """The y >= 0 with cosh(y) = x; NaN below 1.  f[*s] -> f[*s].  ONNX Acosh-9."""
    return jnp.arccosh(x)


def atanh_vjp(op, x, y, dy):
    return (op.Div(dy, one_minus_square(op, x)),)


@operator("Atanh", onnx=("", 9), vjp=atanh_vjp, layout="same")
def atanh(x):
    """The y with tanh(y) = x; NaN outside [-1, 1].  f[*s] -> f[*s].  ONNX Atanh-9."""
    return jnp.arctanh(x)


def one_minus_square(op, x):
    """1 - x^2 as (1 - x)(1 + x), which does not cancel near 1."""
    return op.Mul(op.Sub(1.0, x), op.Add(x, 1.0))
