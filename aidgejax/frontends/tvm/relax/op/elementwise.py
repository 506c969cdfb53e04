"""Operators that work element by element."""

from __future__ import annotations

import math
from typing import Any

from .....graph import Value
from ...errors import RelaxTypeError
from ..expr import Call, one_tensor, relax_operator, two_tensors
from ._call import number_of

maximum = two_tensors("maximum", "Max", ties="first")
minimum = two_tensors("minimum", "Min", ties="last")

equal = two_tensors("equal", "Equal")
logical_and = two_tensors("logical_and", "And")
logical_or = two_tensors("logical_or", "Or")
logical_xor = two_tensors("logical_xor", "Xor")
logical_not = one_tensor("logical_not", "Not")
bitwise_and = two_tensors("bitwise_and", "BitwiseAnd")
bitwise_or = two_tensors("bitwise_or", "BitwiseOr")
bitwise_xor = two_tensors("bitwise_xor", "BitwiseXor")
bitwise_not = one_tensor("bitwise_not", "BitwiseNot")
isnan = one_tensor("isnan", "IsNaN")
isinf = one_tensor("isinf", "IsInf")
mod = two_tensors("mod", "Mod", fmod=1)

abs = one_tensor("abs", "Abs", slope_at_zero=1.0)
acos = one_tensor("acos", "Acos")
acosh = one_tensor("acosh", "Acosh")
asin = one_tensor("asin", "Asin")
asinh = one_tensor("asinh", "Asinh")
atan = one_tensor("atan", "Atan")
atanh = one_tensor("atanh", "Atanh")
ceil = one_tensor("ceil", "Ceil")
cos = one_tensor("cos", "Cos")
cosh = one_tensor("cosh", "Cosh")
erf = one_tensor("erf", "Erf")
exp = one_tensor("exp", "Exp")
floor = one_tensor("floor", "Floor")
log = one_tensor("log", "Log")
round = one_tensor("round", "Round")
sigmoid = one_tensor("sigmoid", "Sigmoid")
sign = one_tensor("sign", "Sign")
sin = one_tensor("sin", "Sin")
sinh = one_tensor("sinh", "Sinh")
sqrt = one_tensor("sqrt", "Sqrt")
tan = one_tensor("tan", "Tan")
tanh = one_tensor("tanh", "Tanh")


@relax_operator
def not_equal(x1: Any, x2: Any) -> Call:
    return Call("relax.not_equal", (x1, x2), lambda op, a, b: op.Not(op.Equal(a, b)))


@relax_operator
def square(x: Any) -> Call:
    return Call("relax.square", (x,), lambda op, x: op.Mul(x, x))


@relax_operator
def rsqrt(x: Any) -> Call:
    return Call("relax.rsqrt", (x,), lambda op, x: op.Reciprocal(op.Sqrt(x)))


@relax_operator
def clip(x: Any, min: float, max: float) -> Call:
    """x between two numbers; the gradient passes where it lies within, both included."""
    low, high = number_of(min), number_of(max)
    return Call("relax.clip", (x,), lambda op, x: op.Clip(x, low, high))


@relax_operator
def where(condition: Any, x1: Any, x2: Any) -> Call:
    """x1 where condition, else x2; the three broadcast, and so does the gradient."""

    def write(op: Any, condition: Any, a: Any, b: Any) -> Value:
        if isinstance(condition, Value) and condition.dtype != "bool":
            raise RelaxTypeError(
                f"relax.where needs a condition of dtype bool, got {condition}; compare, e.g. greater(c, const(0))"
            )
        return op.Where(condition, a, b)

    return Call("relax.where", (condition, x1, x2), write)


@relax_operator
def isfinite(x: Any) -> Call:
    return Call("relax.isfinite", (x,), lambda op, x: op.Not(op.Or(op.IsNaN(x), op.IsInf(x))))


@relax_operator
def trunc(x: Any) -> Call:
    """x without what stands behind the point."""
    return Call("relax.trunc", (x,), lambda op, x: op.Mul(op.Sign(x), op.Floor(op.Abs(x))))


@relax_operator
def left_shift(x1: Any, x2: Any) -> Call:
    """x1 * 2^x2, of integers."""
    return Call("relax.left_shift", (x1, x2), lambda op, a, b: op.Mul(a, _power_of_two(op, b)))


@relax_operator
def right_shift(x1: Any, x2: Any) -> Call:
    """floor(x1 / 2^x2), of integers."""

    def write(op: Any, a: Any, b: Any) -> Value:
        by = _power_of_two(op, b)
        return op.Div(op.Sub(a, op.Mod(a, by)), by)

    return Call("relax.right_shift", (x1, x2), write)


def _power_of_two(op: Any, b: Any) -> Value:
    return op.Pow(op.Add(op.ZerosLike(b), 2), b)


@relax_operator
def atan2(x1: Any, x2: Any) -> Call:
    """The angle of the point (x2, x1), from -pi to pi; 0 at the origin."""

    def write(op: Any, y: Any, x: Any) -> Value:
        upright = op.Equal(x, 0.0)
        half_turn = op.Add(op.ZerosLike(y), math.pi)
        side = op.Where(op.Less(y, 0.0), op.Neg(half_turn), half_turn)
        angle = op.Atan(op.Div(y, op.Where(upright, 1.0, x)))
        angle = op.Add(angle, op.Where(op.Less(x, 0.0), side, 0.0))
        return op.Where(upright, op.Mul(op.Sign(y), math.pi / 2), angle)

    return Call("relax.atan2", (x1, x2), write)


@relax_operator
def ewise_fma(x1: Any, x2: Any, x3: Any) -> Call:
    """x1 * x2 + x3."""
    return Call("relax.ewise_fma", (x1, x2, x3), lambda op, a, b, c: op.Add(op.Mul(a, b), c))


@relax_operator
def log_add_exp(x1: Any, x2: Any) -> Call:
    """log(e^x1 + e^x2), without an overflow on the way."""

    def write(op: Any, a: Any, b: Any) -> Value:
        return op.Add(op.Max(a, b), op.Softplus(op.Neg(op.Abs(op.Sub(a, b)))))

    return Call("relax.log_add_exp", (x1, x2), write)


@relax_operator
def masked_fill(x: Any, mask: Any, value: Any) -> Call:
    """value where mask, else x."""
    return Call("relax.masked_fill", (mask, value, x), lambda op, mask, value, x: op.Where(mask, value, x))
