"""singa.autograd's operations that work element by element, and its comparisons."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ._ctensor import DTYPES, dtype_number
from ._operation import apply
from ._tensor import Tensor

__all__ = [
    "_and",
    "_not",
    "_or",
    "_xor",
    "abs",
    "acos",
    "acosh",
    "add",
    "add_all",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cast",
    "ceil",
    "clip",
    "cos",
    "cosh",
    "div",
    "elu",
    "equal",
    "erf",
    "exp",
    "floor",
    "greater",
    "hardsigmoid",
    "identity",
    "leakyrelu",
    "less",
    "log",
    "max",
    "mean",
    "min",
    "mul",
    "negative",
    "pow",
    "prelu",
    "reciprocal",
    "relu",
    "round",
    "rounde",
    "selu",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "softsign",
    "sqrt",
    "sub",
    "sum",
    "tan",
    "tanh",
    "where",
]

# ONNX's numbers for the dtypes that Cast names.
ONNX_DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "float16": 10, "float64": 11, "bfloat16": 16}
TO_FLOAT, TO_BOOL, TO_INT = 1, 9, 6
# How the operations that take no arguments are written, by the names of SINGA's operation classes: ReLU()(x)[0].
WRITERS: dict[str, Any] = {}


def _of_one(kind: str, onnx: str) -> Any:
    """A function of one tensor that is one operator."""

    def write(op: Any, x: Any, **attributes: Any) -> Any:
        return getattr(op, onnx)(x, **attributes)

    def function(x: Tensor) -> Tensor:
        return apply(kind, write, x)

    function.__name__ = function.__qualname__ = kind.lower()
    function.__doc__ = f"ONNX's {onnx}, element by element."
    WRITERS[kind] = write
    return function


relu = _of_one("ReLU", "Relu")
identity = _of_one("Identity", "Identity")
tanh, sigmoid = _of_one("Tanh", "Tanh"), _of_one("Sigmoid", "Sigmoid")
cos, cosh, acos, acosh = (_of_one(n, n) for n in ("Cos", "Cosh", "Acos", "Acosh"))
sin, sinh, asin, asinh = (_of_one(n, n) for n in ("Sin", "Sinh", "Asin", "Asinh"))
tan, atan, atanh = (_of_one(n, n) for n in ("Tan", "Atan", "Atanh"))
abs, exp, log, sqrt, sign = (_of_one(n, n) for n in ("Abs", "Exp", "Log", "Sqrt", "Sign"))
erf, ceil, floor = (_of_one(n, n) for n in ("Erf", "Ceil", "Floor"))
softsign, softplus = _of_one("SoftSign", "Softsign"), _of_one("SoftPlus", "Softplus")
negative, reciprocal = _of_one("Negative", "Neg"), _of_one("Reciprocal", "Reciprocal")
rounde = _of_one("RoundE", "Round")


def _round(op: Any, x: Any) -> Any:
    return op.Round(x, halves="away")


def round(x: Tensor) -> Tensor:
    """The nearest integer; a half goes away from zero (rounde: to the even one)."""
    return apply("Round", _round, x)


def _leaky_relu(op: Any, x: Any, alpha: float) -> Any:
    return op.LeakyRelu(x, alpha=alpha, slope_at_zero=0.0)


def leakyrelu(x: Tensor, a: float = 0.01) -> Tensor:
    """x, or a * x where x is negative; the slope at 0 is 0."""
    return apply("LeakyRelu", _leaky_relu, x, alpha=float(a))


def _elu(op: Any, x: Any, alpha: float) -> Any:
    return op.Elu(x, alpha=alpha)


def elu(x: Tensor, alpha: float = 1) -> Tensor:
    """x, or alpha * (exp(x) - 1) where x is negative."""
    return apply("Elu", _elu, x, alpha=float(alpha))


def _selu(op: Any, x: Any, alpha: float, gamma: float) -> Any:
    return op.Selu(x, alpha=alpha, gamma=gamma)


def selu(x: Tensor, alpha: float = 1.67326, gamma: float = 1.0507) -> Tensor:
    """gamma * x, or gamma * alpha * (exp(x) - 1) where x is not positive."""
    return apply("SeLU", _selu, x, alpha=float(alpha), gamma=float(gamma))


def _hard_sigmoid(op: Any, x: Any, alpha: float, beta: float) -> Any:
    return op.HardSigmoid(x, alpha=alpha, beta=beta)


def hardsigmoid(x: Tensor, alpha: float = 0.2, gamma: float = 0.5) -> Tensor:
    """alpha * x + gamma, kept between 0 and 1."""
    return apply("HardSigmoid", _hard_sigmoid, x, alpha=float(alpha), beta=float(gamma))


def _clip(op: Any, x: Any, low: float | None, high: float | None) -> Any:
    return op.Clip(x, low, high) if low is not None or high is not None else op.Identity(x)


def clip(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """x kept between min and max; the gradient passes on the closed interval."""
    return apply("Clip", _clip, x, low=None if min is None else float(min), high=None if max is None else float(max))


def _cast(op: Any, x: Any, to: int) -> Any:
    return op.Cast(x, to=to)


def cast(x: Tensor, to: Any) -> Tensor:
    """x with another dtype (tensor.int32, ...).  No gradient passes."""
    return apply("Cast", _cast, x, differentiable=False, to=ONNX_DTYPES[DTYPES[dtype_number(to)]])


def _softmax(op: Any, x: Any, axis: int) -> Any:
    axis = axis + x.rank if axis < 0 else axis
    if axis == x.rank - 1:
        return op.Softmax(x, axis=-1)
    return op.ReshapeLike(op.Softmax(op.Flatten(x, axis=axis), axis=-1), x)


def softmax(x: Tensor, axis: int = 1) -> Tensor:
    """Softmax over all axes from `axis` on, taken together, as in ONNX before opset 13."""
    return apply("SoftMax", _softmax, x, axis=int(axis))


# ---- of two ---------------------------------------------------------------------------------------------


def _of_two(kind: str, onnx: str) -> Any:
    """A function of two tensors that broadcast."""

    def write(op: Any, a: Any, b: Any) -> Any:
        return getattr(op, onnx)(a, b)

    def function(a: Tensor, b: Tensor) -> Tensor:
        return apply(kind, write, a, b)

    function.__name__ = function.__qualname__ = kind.lower()
    function.__doc__ = f"ONNX's {onnx}; the tensors broadcast, and gradients are summed back."
    WRITERS[kind] = write
    return function


add, sub, mul, div, pow = (_of_two(n, n) for n in ("Add", "Sub", "Mul", "Div", "Pow"))
prelu = _of_two("PRelu", "PRelu")


def _comparison(kind: str, onnx: str) -> Any:
    def write(op: Any, a: Any, b: Any) -> Any:
        return op.Cast(getattr(op, onnx)(a, b), to=TO_FLOAT)

    def function(x: Tensor, y: Tensor) -> Tensor:
        return apply(kind, write, x, y, differentiable=False)

    function.__name__ = function.__qualname__ = kind.lower()
    function.__doc__ = f"ONNX's {onnx} as 0.0 or 1.0.  No gradient passes."
    return function


less, greater, equal = (_comparison(n, n) for n in ("Less", "Greater", "Equal"))


def _logic(kind: str) -> Any:
    def write(op: Any, *xs: Any) -> Any:
        return op.Cast(getattr(op, kind)(*(op.Cast(x, to=TO_BOOL) for x in xs)), to=TO_FLOAT)

    def function(*xs: Tensor) -> Tensor:
        return apply(kind, write, *xs, differentiable=False)

    function.__name__ = function.__qualname__ = f"_{kind.lower()}"
    function.__doc__ = f"Logical {kind.lower()} of what is not zero, as 0.0 or 1.0.  No gradient passes."
    return function


_and, _or, _xor, _not = (_logic(n) for n in ("And", "Or", "Xor", "Not"))


def _where(op: Any, x: Any, y: Any, condition: Any) -> Any:
    return op.Where(op.Cast(condition, to=TO_BOOL), x, y)


def where(x: Tensor, y: Tensor, condition: Any) -> Tensor:
    """x where the condition (a Tensor or an array) is not zero, else y."""
    condition = condition if isinstance(condition, Tensor) else jnp.asarray(condition)
    return apply("Where", _where, x, y, extras=(condition,))


# ---- of several -----------------------------------------------------------------------------------------


def _sum(op: Any, *xs: Any) -> Any:
    return op.Sum(*xs)


def _mean(op: Any, *xs: Any) -> Any:
    return op.Mean(*xs)


def _max(op: Any, *xs: Any) -> Any:
    return op.Max(*xs, ties="first")


def _min(op: Any, *xs: Any) -> Any:
    return op.Min(*xs, ties="first")


def sum(*l: Tensor) -> Tensor:  # noqa: E741  (SINGA's name)
    """The tensors added up, element by element."""
    return apply("Sum", _sum, *l)


def mean(*l: Tensor) -> Tensor:  # noqa: E741
    """The mean of the tensors, element by element."""
    return apply("Mean", _mean, *l)


def max(*l: Tensor) -> Tensor:  # noqa: E741
    """The largest of the tensors, element by element; of equal ones the first gets the gradient."""
    return apply("Max", _max, *l)


def min(*l: Tensor) -> Tensor:  # noqa: E741
    """The smallest of the tensors, element by element; of equal ones the first gets the gradient."""
    return apply("Min", _min, *l)


def add_all(*xs: Tensor) -> Tensor:
    """The tensors added up one after the other."""
    total = xs[0]
    for x in xs[1:]:
        total = add(total, x)
    return total
