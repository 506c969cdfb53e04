"""Arithmetic between tensors that broadcast as NumPy's do: sums, products, powers, extremes, choices, bits."""

from functools import reduce

import jax
import jax.numpy as jnp

from ..errors import GraphError
from ..graph import Value
from ._registry import operator

# ---- sums and products --------------------------------------------------------------------------------


def add_vjp(op, a, b, y, dy):
    return dy, dy


@operator("Add", onnx=("", 14), vjp=add_vjp, broadcasts=True, layout="same")
def add(a, b):
    """a + b.  t[*s], t[*r] -> t[broadcast].  ONNX Add-14."""
    return jnp.add(a, b)


def sub_vjp(op, a, b, y, dy):
    return dy, op.Neg(dy)


@operator("Sub", onnx=("", 14), vjp=sub_vjp, broadcasts=True, layout="same")
def sub(a, b):
    """a - b.  t[*s], t[*r] -> t[broadcast].  ONNX Sub-14."""
    return jnp.subtract(a, b)


def mul_vjp(op, a, b, y, dy):
    return op.Mul(dy, b), op.Mul(dy, a)


@operator("Mul", onnx=("", 14), vjp=mul_vjp, broadcasts=True, layout="same")
def mul(a, b):
    """a * b.  t[*s], t[*r] -> t[broadcast].  ONNX Mul-14."""
    return jnp.multiply(a, b)


def div_vjp(op, a, b, y, dy):
    da = op.Div(dy, b)
    return da, op.Neg(op.Mul(da, y))


@operator("Div", onnx=("", 14), vjp=div_vjp, broadcasts=True, layout="same")
def div(a, b):
    """a / b; integers are cut off toward zero.  t[*s], t[*r] -> t[broadcast].  ONNX Div-14."""
    dtype = jnp.result_type(a, b)
    if not jnp.issubdtype(dtype, jnp.integer):
        return jnp.divide(a, b)
    return jax.lax.div(*jnp.broadcast_arrays(jnp.asarray(a, dtype), jnp.asarray(b, dtype)))


def mod_vjp(op, a, b, y, dy):
    # a - y is an exact multiple of b; which one, floored or truncated, y has decided already.
    return dy, op.Neg(op.Mul(dy, op.Round(op.Div(op.Sub(a, y), b))))


@operator("Mod", onnx=("", 13), vjp=mod_vjp, broadcasts=True, layout="same")
def mod(a, b, *, fmod=0):
    """a - floor(a / b) * b, or with fmod a - trunc(a / b) * b.  t[*s], t[*r] -> t[broadcast].  ONNX Mod-13.

    Without fmod the result has the sign of b, with it that of a.  Of floats without fmod ONNX speaks since opset 28.
    """
    return jnp.fmod(a, b) if fmod else jnp.mod(a, b)


def sum_vjp(op, *args):
    *xs, _, dy = args
    return (dy,) * len(xs)


@operator("Sum", onnx=("", 13), vjp=sum_vjp, broadcasts=True, layout="same")
def sum_(*xs):
    """x0 + x1 + ...  f[*s], f[*r], ... -> f[broadcast].  ONNX Sum-13."""
    return reduce(jnp.add, at_least_one("Sum", xs))


def mean_vjp(op, *args):
    *xs, _, dy = args
    return (op.Div(dy, float(len(xs))),) * len(xs)


@operator("Mean", onnx=("", 13), vjp=mean_vjp, broadcasts=True, layout="same")
def mean(*xs):
    """(x0 + x1 + ...) / how many.  f[*s], f[*r], ... -> f[broadcast].  ONNX Mean-13."""
    return jnp.divide(reduce(jnp.add, at_least_one("Mean", xs)), len(xs))


def at_least_one(name, xs):
    if not xs:
        raise GraphError(f"{name} got no inputs, expected one or more")
    return xs


# ---- powers -------------------------------------------------------------------------------------------


def pow_vjp(op, x, e, y, dy):
    """d x = dy e x^(e-1);  d e = dy y log(x), and 0 where x is 0 and e >= 0 (0^0 included, as in torch)."""
    if not isinstance(e, Value):
        return op.Mul(dy, power_slope(op, x, e)) if e else op.ZerosLike(y), None
    if not isinstance(x, Value):
        x = op.Add(op.ZerosLike(y), x)
    power = op.CastLike(e, y) if e.dtype != y.dtype else e
    # x^0 is 1 for every x, but 0 * 0^-1 would be NaN.
    dx = op.Mul(dy, op.Where(op.Equal(power, 0.0), 0.0, power_slope(op, x, power)))
    flat = op.And(op.Equal(x, 0.0), op.GreaterOrEqual(power, 0.0))
    de = op.Mul(dy, op.Where(flat, 0.0, op.Mul(y, op.Log(x))))
    return dx, op.CastLike(de, e) if e.dtype != y.dtype else de


def power_slope(op, x, e):
    """e x^(e-1)"""
    if isinstance(e, Value):
        return op.Mul(e, op.Pow(x, op.Sub(e, 1.0)))
    return op.Mul(x if e == 2 else op.Pow(x, float(e - 1)), float(e))


@operator("Pow", onnx=("", 13), vjp=pow_vjp, broadcasts=True, layout="same")
def pow_(x, e):
    """x ** e, in the dtype of x.  t[*s], u[*r] -> t[broadcast].  ONNX Pow-13."""
    y = jnp.power(x, e)
    return y if isinstance(x, int | float) else y.astype(jnp.result_type(x))


# ---- extremes -----------------------------------------------------------------------------------------


def extreme_vjp(op, *args, ties):
    """dy goes where the input is the extreme y; among ties in equal parts, or to the first or the last alone."""
    *xs, y, dy = args
    if len(xs) == 1:
        return (dy,)
    wins = [op.Equal(x, y) for x in xs]
    if ties == "split":
        share = op.Div(dy, reduce(op.Add, [op.CastLike(w, dy) for w in wins]))
        return tuple(op.Where(w, share, 0.0) for w in wins)
    order = range(len(xs)) if ties == "first" else range(len(xs) - 1, -1, -1)
    shares, left = {}, dy
    for k in order:
        shares[k] = op.Where(wins[k], left, 0.0)
        left = op.Where(wins[k], 0.0, left)
    return tuple(shares[k] for k in range(len(xs)))


def max_onnx(op, *xs, ties):
    return op.Max(*xs)


@operator("Max", onnx=("", 13), vjp=extreme_vjp, decompose=max_onnx, broadcasts=True, layout="same")
def max_(*xs, ties="split"):
    """The largest of x0, x1, ...; NaN where one is NaN.  t[*s], t[*r], ... -> t[broadcast].  ONNX Max-13.

    ties: who gets the gradient where several inputs are largest: "split" in equal parts (ONNX Runtime, Aidge),
    "first" (SINGA, TVM) or "last".
    """
    check_ties(ties)
    return reduce(jnp.maximum, at_least_one("Max", xs))


def min_onnx(op, *xs, ties):
    return op.Min(*xs)


@operator("Min", onnx=("", 13), vjp=extreme_vjp, decompose=min_onnx, broadcasts=True, layout="same")
def min_(*xs, ties="split"):
    """The smallest of x0, x1, ...; NaN where one is NaN.  t[*s], t[*r], ... -> t[broadcast].  ONNX Min-13.

    ties: as for Max: "split" (ONNX Runtime, Aidge), "first" (SINGA) or "last" (TVM).
    """
    check_ties(ties)
    return reduce(jnp.minimum, at_least_one("Min", xs))


def check_ties(ties):
    if ties not in ("split", "first", "last"):
        raise GraphError(f"ties is {ties!r}, expected 'split', 'first' or 'last'")


# ---- choices and bits ---------------------------------------------------------------------------------


def where_vjp(op, condition, a, b, y, dy):
    return None, op.Where(condition, dy, 0.0), op.Where(condition, 0.0, dy)


@operator("Where", onnx=("", 16), settings=("condition",), vjp=where_vjp, broadcasts=True, layout="same")
def where(condition, a, b):
    """a where condition, else b.  bool[*s], t[*r], t[*q] -> t[broadcast].  ONNX Where-16."""
    return jnp.where(condition, a, b)


@operator("BitShift", onnx=("", 11), broadcasts=True, layout="same")
def bit_shift(x, y, *, direction):
    """x with its bits moved y places, direction "LEFT" or "RIGHT".  u[*s], u[*r] -> u[broadcast].  ONNX BitShift-11."""
    if direction not in ("LEFT", "RIGHT"):
        raise GraphError(f"direction is {direction!r}, expected 'LEFT' or 'RIGHT'")
    return jnp.left_shift(x, y) if direction == "LEFT" else jnp.right_shift(x, y)


@operator("BitwiseAnd", onnx=("", 18), broadcasts=True, layout="same")
def bitwise_and(a, b):
    """a and b, bit by bit.  i[*s], i[*r] -> i[broadcast].  ONNX BitwiseAnd-18."""
    return jnp.bitwise_and(a, b)


@operator("BitwiseOr", onnx=("", 18), broadcasts=True, layout="same")
def bitwise_or(a, b):
    """a or b, bit by bit.  i[*s], i[*r] -> i[broadcast].  ONNX BitwiseOr-18."""
    return jnp.bitwise_or(a, b)


@operator("BitwiseXor", onnx=("", 18), broadcasts=True, layout="same")
def bitwise_xor(a, b):
    """Either a or b, bit by bit.  i[*s], i[*r] -> i[broadcast].  ONNX BitwiseXor-18."""
    return jnp.bitwise_xor(a, b)


@operator("BitwiseNot", onnx=("", 18), layout="same")
def bitwise_not(x):
    """Every bit of x turned.  i[*s] -> i[*s].  ONNX BitwiseNot-18."""
    return jnp.bitwise_not(x)
