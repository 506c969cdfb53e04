"""singa.autograd's operations that work element by element, and its comparisons.

Each is a class, an operation as an object (`ReLU()(x)[0]`), and a function that calls it.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ._ctensor import DTYPES, dtype_number
from ._operation import Built
from ._tensor import Tensor

__all__ = [
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Clip", "Cos", "Cosh",
    "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Greater", "HardSigmoid", "Identity", "LeakyRelu", "Less", "Log",
    "Max", "Mean", "Min", "Mul", "Negative", "Not", "Or", "PRelu", "Pow", "ReLU", "Reciprocal", "Round", "Rounde",
    "SeLU", "Sigmoid", "Sign", "Sin", "Sinh", "SoftMax", "SoftPlus", "SoftSign", "Sqrt", "Sub", "Sum", "Tan",
    "Tanh", "Where", "Xor", "_and", "_not", "_or", "_xor", "abs", "acos", "acosh", "add", "add_all", "asin",
    "asinh", "atan", "atanh", "cast", "ceil", "clip", "cos", "cosh", "div", "elu", "equal", "erf", "exp", "floor",
    "greater", "hardsigmoid", "identity", "leakyrelu", "less", "log", "max", "mean", "min", "mul", "negative",
    "pow", "prelu", "reciprocal", "relu", "round", "rounde", "selu", "sigmoid", "sign", "sin", "sinh", "softmax",
    "softplus", "softsign", "sqrt", "sub", "sum", "tan", "tanh", "where",
]  # fmt: skip

# ONNX's numbers for the dtypes that Cast names.
ONNX_DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "float16": 10, "float64": 11, "bfloat16": 16}
TO_FLOAT, TO_BOOL, TO_INT = 1, 9, 6


def _class(kind: str, write: Any, doc: str, differentiable: bool = True) -> Any:
    members = {"write": staticmethod(write), "differentiable": differentiable, "__doc__": doc, "__module__": __name__}
    return type(kind, (Built,), members)


def _called(operation: Any, name: str) -> Any:
    def function(*xs: Tensor) -> Tensor:
        return operation()(*xs)[0]

    function.__name__ = function.__qualname__ = name
    function.__doc__ = operation.__doc__
    return function


def _of_one(kind: str, onnx: str) -> Any:
    """(operation, function) of one tensor: one node."""

    def write(op: Any, x: Any) -> Any:
        return getattr(op, onnx)(x)

    made = _class(kind, write, f"ONNX's {onnx}, element by element.")
    return made, _called(made, kind.lower())


ReLU, relu = _of_one("ReLU", "Relu")
Identity, identity = _of_one("Identity", "Identity")
Tanh, tanh = _of_one("Tanh", "Tanh")
Sigmoid, sigmoid = _of_one("Sigmoid", "Sigmoid")
Cos, cos = _of_one("Cos", "Cos")
Cosh, cosh = _of_one("Cosh", "Cosh")
Acos, acos = _of_one("Acos", "Acos")
Acosh, acosh = _of_one("Acosh", "Acosh")
Sin, sin = _of_one("Sin", "Sin")
Sinh, sinh = _of_one("Sinh", "Sinh")
Asin, asin = _of_one("Asin", "Asin")
Asinh, asinh = _of_one("Asinh", "Asinh")
Tan, tan = _of_one("Tan", "Tan")
Atan, atan = _of_one("Atan", "Atan")
Atanh, atanh = _of_one("Atanh", "Atanh")
Abs, abs = _of_one("Abs", "Abs")
Exp, exp = _of_one("Exp", "Exp")
Log, log = _of_one("Log", "Log")
Sqrt, sqrt = _of_one("Sqrt", "Sqrt")
Sign, sign = _of_one("Sign", "Sign")
Erf, erf = _of_one("Erf", "Erf")
Ceil, ceil = _of_one("Ceil", "Ceil")
Floor, floor = _of_one("Floor", "Floor")
SoftSign, softsign = _of_one("SoftSign", "Softsign")
SoftPlus, softplus = _of_one("SoftPlus", "Softplus")
Negative, negative = _of_one("Negative", "Neg")
Reciprocal, reciprocal = _of_one("Reciprocal", "Reciprocal")
Rounde, rounde = _of_one("Rounde", "Round")


class Round(Built):
    """The nearest integer; a half goes away from zero (Rounde: to the even one)."""

    @staticmethod
    def write(op: Any, x: Any) -> Any:
        return op.Round(x, halves="away")


def round(x: Tensor) -> Tensor:
    """The nearest integer; a half goes away from zero (rounde: to the even one)."""
    return Round()(x)[0]


class LeakyRelu(Built):
    """x, or a * x where x is negative; the slope at 0 is 0."""

    def __init__(self, a: float) -> None:
        super().__init__(alpha=float(a))

    @staticmethod
    def write(op: Any, x: Any, alpha: float) -> Any:
        return op.LeakyRelu(x, alpha=alpha, slope_at_zero=0.0)


def leakyrelu(x: Tensor, a: float = 0.01) -> Tensor:
    """x, or a * x where x is negative; the slope at 0 is 0."""
    return LeakyRelu(a)(x)[0]


class Elu(Built):
    """x, or alpha * (exp(x) - 1) where x is negative."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha=float(alpha))

    @staticmethod
    def write(op: Any, x: Any, alpha: float) -> Any:
        return op.Elu(x, alpha=alpha)


def elu(x: Tensor, alpha: float = 1) -> Tensor:
    """x, or alpha * (exp(x) - 1) where x is negative."""
    return Elu(alpha)(x)[0]


class SeLU(Built):
    """gamma * x, or gamma * alpha * (exp(x) - 1) where x is not positive."""

    def __init__(self, alpha: float = 1.67326, gamma: float = 1.0507) -> None:
        super().__init__(alpha=float(alpha), gamma=float(gamma))

    @staticmethod
    def write(op: Any, x: Any, alpha: float, gamma: float) -> Any:
        return op.Selu(x, alpha=alpha, gamma=gamma)


def selu(x: Tensor, alpha: float = 1.67326, gamma: float = 1.0507) -> Tensor:
    """gamma * x, or gamma * alpha * (exp(x) - 1) where x is not positive."""
    return SeLU(alpha, gamma)(x)[0]


class HardSigmoid(Built):
    """alpha * x + gamma, kept between 0 and 1."""

    def __init__(self, alpha: float = 0.2, gamma: float = 0.5) -> None:
        super().__init__(alpha=float(alpha), beta=float(gamma))

    @staticmethod
    def write(op: Any, x: Any, alpha: float, beta: float) -> Any:
        return op.HardSigmoid(x, alpha=alpha, beta=beta)


def hardsigmoid(x: Tensor, alpha: float = 0.2, gamma: float = 0.5) -> Tensor:
    """alpha * x + gamma, kept between 0 and 1."""
    return HardSigmoid(alpha, gamma)(x)[0]


class Clip(Built):
    """x kept between min and max; the gradient passes on the closed interval."""

    def __init__(self, min: float | None = None, max: float | None = None) -> None:
        super().__init__(low=None if min is None else float(min), high=None if max is None else float(max))

    @staticmethod
    def write(op: Any, x: Any, low: float | None, high: float | None) -> Any:
        return op.Clip(x, low, high) if low is not None or high is not None else op.Identity(x)


def clip(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """x kept between min and max; the gradient passes on the closed interval."""
    return Clip(min, max)(x)[0]


class Cast(Built):
    """x with another dtype (tensor.int32, ...).  No gradient passes."""

    differentiable = False

    def __init__(self, to: Any) -> None:
        super().__init__(to=ONNX_DTYPES[DTYPES[dtype_number(to)]])

    @staticmethod
    def write(op: Any, x: Any, to: int) -> Any:
        return op.Cast(x, to=to)


def cast(x: Tensor, to: Any) -> Tensor:
    """x with another dtype (tensor.int32, ...).  No gradient passes."""
    return Cast(to)(x)[0]


class SoftMax(Built):
    """Softmax over all axes from `axis` on, taken together, as in ONNX before opset 13."""

    def __init__(self, axis: int = 1) -> None:
        super().__init__(axis=int(axis))

    @staticmethod
    def write(op: Any, x: Any, axis: int) -> Any:
        axis = axis + x.rank if axis < 0 else axis
        if axis == x.rank - 1:
            return op.Softmax(x, axis=-1)
        return op.ReshapeLike(op.Softmax(op.Flatten(x, axis=axis), axis=-1), x)


def softmax(x: Tensor, axis: int = 1) -> Tensor:
    """Softmax over all axes from `axis` on, taken together, as in ONNX before opset 13."""
    return SoftMax(axis)(x)[0]


# ---- of two ---------------------------------------------------------------------------------------------


def _of_two(kind: str) -> Any:
    """(operation, function) of two tensors that broadcast."""

    def write(op: Any, a: Any, b: Any) -> Any:
        return getattr(op, kind)(a, b)

    made = _class(kind, write, f"ONNX's {kind}; the tensors broadcast, and gradients are summed back.")

    def function(a: Tensor, b: Tensor) -> Tensor:
        return made()(a, b)[0]

    function.__name__ = function.__qualname__ = kind.lower()
    function.__doc__ = made.__doc__
    return made, function


Add, add = _of_two("Add")
Sub, sub = _of_two("Sub")
Mul, mul = _of_two("Mul")
Div, div = _of_two("Div")
Pow, pow = _of_two("Pow")


class PRelu(Built):
    """x where x >= 0, else slope * x; both broadcast (in ONNX's PRelu the slope alone does)."""

    @staticmethod
    def write(op: Any, x: Any, slope: Any) -> Any:
        padded = (1,) * (x.rank - slope.rank) + slope.shape if slope.rank <= x.rank else None
        if padded and all(d in (1, n) for d, n in zip(padded, x.shape, strict=True)):
            return op.PRelu(x, slope)
        return op.Where(op.Less(x, 0.0), op.Mul(slope, x), x)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """x where x >= 0, else slope * x; both broadcast."""
    return PRelu()(x, slope)[0]


def _comparison(kind: str) -> Any:
    def write(op: Any, a: Any, b: Any) -> Any:
        return op.Cast(getattr(op, kind)(a, b), to=TO_FLOAT)

    made = _class(kind, write, f"ONNX's {kind} as 0.0 or 1.0.  No gradient passes.", differentiable=False)

    def function(x: Tensor, y: Tensor) -> Tensor:
        return made()(x, y)[0]

    function.__name__ = function.__qualname__ = kind.lower()
    function.__doc__ = made.__doc__
    return made, function


Less, less = _comparison("Less")
Greater, greater = _comparison("Greater")
Equal, equal = _comparison("Equal")


def _logic(kind: str) -> Any:
    def write(op: Any, *xs: Any) -> Any:
        return op.Cast(getattr(op, kind)(*(op.Cast(x, to=TO_BOOL) for x in xs)), to=TO_FLOAT)

    doc = f"Logical {kind.lower()} of what is not zero, as 0.0 or 1.0.  No gradient passes."
    made = _class(kind, write, doc, differentiable=False)
    return made, _called(made, f"_{kind.lower()}")


And, _and = _logic("And")
Or, _or = _logic("Or")
Xor, _xor = _logic("Xor")
Not, _not = _logic("Not")


class Where(Built):
    """x where the condition (a Tensor or an array) is not zero, else y: Where(condition)(x, y)."""

    def __init__(self, condition: Any) -> None:
        super().__init__((condition if isinstance(condition, Tensor) else jnp.asarray(condition),))

    @staticmethod
    def write(op: Any, x: Any, y: Any, condition: Any) -> Any:
        return op.Where(op.Cast(condition, to=TO_BOOL), x, y)


def where(x: Tensor, y: Tensor, condition: Any) -> Tensor:
    """x where the condition (a Tensor or an array) is not zero, else y."""
    return Where(condition)(x, y)[0]


# ---- of several -----------------------------------------------------------------------------------------


def _of_several(kind: str, doc: str, **attributes: Any) -> Any:
    def write(op: Any, *xs: Any) -> Any:
        return getattr(op, kind)(*xs, **attributes)

    made = _class(kind, write, doc)

    def function(*l: Tensor) -> Tensor:  # noqa: E741  (SINGA's name)
        return made()(*l)[0]

    function.__name__ = function.__qualname__ = kind.lower()
    function.__doc__ = doc
    return made, function


Sum, sum = _of_several("Sum", "The tensors added up, element by element.")
Mean, mean = _of_several("Mean", "The mean of the tensors, element by element.")
Max, max = _of_several(
    "Max", "The largest of the tensors, element by element; of equal ones the first gets the gradient.", ties="first"
)
Min, min = _of_several(
    "Min", "The smallest of the tensors, element by element; of equal ones the first gets the gradient.", ties="first"
)


def add_all(*xs: Tensor) -> Tensor:
    """The tensors added up one after the other."""
    total = xs[0]
    for x in xs[1:]:
        total = add(total, x)
    return total
