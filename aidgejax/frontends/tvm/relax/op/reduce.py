"""Operators that sum something up: reductions, running sums, matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .....graph import Value
from ...errors import RelaxTypeError
from ..expr import Call, astype, relax_operator
from ._call import axes_of, code_of, listed


def _reduction(name: str, onnx: str) -> Callable[..., Call]:
    def function(x: Any, axis: Any = None, keepdims: bool = False) -> Call:
        axes = axes_of(axis)
        return Call(f"relax.{name}", (x,), lambda op, x: getattr(op, onnx)(x, axes, keepdims=int(keepdims)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{onnx} over an axis, several, or (None) all."
    return relax_operator(function)


sum = _reduction("sum", "ReduceSum")
mean = _reduction("mean", "ReduceMean")
max = _reduction("max", "ReduceMax")
min = _reduction("min", "ReduceMin")
prod = _reduction("prod", "ReduceProd")


def biased_variance(op: Any, x: Any, axes: tuple[int, ...] | None, keepdims: int) -> Value:
    centred = op.Sub(x, op.ReduceMean(x, axes, keepdims=1))
    return op.ReduceMean(op.Mul(centred, centred), axes, keepdims=keepdims)


@relax_operator
def variance(x: Any, axis: Any = None, keepdims: bool = False) -> Call:
    """The mean square distance from the mean (biased)."""
    axes = axes_of(axis)
    return Call("relax.variance", (x,), lambda op, x: biased_variance(op, x, axes, int(keepdims)))


@relax_operator
def std(x: Any, axis: Any = None, keepdims: bool = False) -> Call:
    """The square root of `variance`."""
    axes = axes_of(axis)
    return Call("relax.std", (x,), lambda op, x: op.Sqrt(biased_variance(op, x, axes, int(keepdims))))


def _extreme_place(name: str, onnx: str) -> Callable[..., Call]:
    def function(x: Any, axis: int | None = None, keepdims: bool = False) -> Call:
        def write(op: Any, x: Any) -> Value:
            if axis is None:
                return getattr(op, onnx)(op.Reshape(x, (-1,)), axis=0, keepdims=int(keepdims))
            return getattr(op, onnx)(x, axis=axis, keepdims=int(keepdims))

        return Call(f"relax.{name}", (x,), write)

    function.__name__ = function.__qualname__ = name
    return relax_operator(function)


argmax = _extreme_place("argmax", "ArgMax")
argmin = _extreme_place("argmin", "ArgMin")


@relax_operator
def cumsum(data: Any, axis: int | None = None, dtype: str | None = None, exclusive: bool | None = None) -> Call:
    """Running sums along an axis; without one, of the flattened tensor."""
    return running("cumsum", "CumSum", data, axis, dtype, exclusive)


def running(name: str, onnx: str, data: Any, axis: int | None, dtype: str | None, exclusive: bool | None) -> Call:
    """The call of cumsum or cumprod."""

    def write(op: Any, x: Any) -> Value:
        x, along = (op.Reshape(x, (-1,)), 0) if axis is None else (x, int(axis))
        return getattr(op, onnx)(x, along, exclusive=int(bool(exclusive)))

    call = Call(f"relax.{name}", (data,), write)
    return call if dtype is None else astype(call, dtype)


def _same_dtype(name: str, a: Any, b: Any) -> None:
    if a.dtype != b.dtype:
        raise RelaxTypeError(f"relax.{name} takes two tensors of one dtype, got {a} and {b}")


def _converted(op: Any, dtype: str | None, *operands: Any) -> list[Any]:
    """The operands in the dtype that the result is to have."""
    if dtype in (None, "", "void"):
        return list(operands)
    return [v if v.dtype == dtype else op.Cast(v, to=code_of(str(dtype))) for v in operands]


@relax_operator
def matmul(x1: Any, x2: Any, out_dtype: str | None = None) -> Call:
    """Matrix product; leading axes broadcast, a vector is a row on the left and a column on the right."""

    def write(op: Any, a: Any, b: Any) -> Value:
        _same_dtype("matmul", a, b)
        return op.MatMul(*_converted(op, out_dtype, a, b))

    return Call("relax.matmul", (x1, x2), write)


@relax_operator
def linear(data: Any, weight: Any, bias: Any = None, out_dtype: str | None = None) -> Call:
    """data @ weight.T + bias, with weight [out, in]."""

    def write(op: Any, x: Any, w: Any, b: Any) -> Value:
        product = op.MatMul(*_converted(op, out_dtype, x, op.Transpose(w)))
        return product if b is None else op.Add(product, b)

    return Call("relax.linear", (data, weight, bias), write)


@relax_operator
def einsum(operands: Sequence[Any], subscripts: str) -> Call:
    return Call(
        "relax.einsum",
        listed(operands),
        lambda op, xs: op.Einsum(*xs, equation=subscripts),
    )
