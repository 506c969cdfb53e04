"""Operators that work element by element."""

from __future__ import annotations

from typing import Any

from .....dtypes import is_float
from .....graph import Value
from ...errors import RelaxTypeError
from ..expr import Call, one_tensor, relax_operator, two_tensors

maximum = two_tensors("maximum", "Max", ties="first")
minimum = two_tensors("minimum", "Min", ties="last")

equal = two_tensors("equal", "Equal")
greater = two_tensors("greater", "Greater")
greater_equal = two_tensors("greater_equal", "GreaterOrEqual")
less = two_tensors("less", "Less")
less_equal = two_tensors("less_equal", "LessOrEqual")
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
    return Call("relax.clip", (x,), lambda op, x: op.Clip(x, min, max))


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
def floor_mod(x1: Any, x2: Any) -> Call:
    """x1 - x2 floor(x1 / x2), which has the sign of x2."""
    return Call("relax.floor_mod", (x1, x2), _floor_mod)


@relax_operator
def floor_divide(x1: Any, x2: Any) -> Call:
    """floor(x1 / x2), of whole numbers too."""

    def write(op: Any, a: Any, b: Any) -> Value:
        return op.Floor(op.Div(a, b)) if _is_float(a, b) else op.Div(op.Sub(a, op.Mod(a, b)), b)

    return Call("relax.floor_divide", (x1, x2), write)


def _floor_mod(op: Any, a: Any, b: Any) -> Value:
    return op.Sub(a, op.Mul(op.Floor(op.Div(a, b)), b)) if _is_float(a, b) else op.Mod(a, b)


def _is_float(*operands: Any) -> bool:
    return any(is_float(v.dtype) for v in operands if hasattr(v, "dtype"))


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
