"""singa.autograd's operations that multiply and reduce."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import GraphError
from ._ctensor import raw
from ._elementwise import TO_INT
from ._operation import Built
from ._tensor import Tensor

__all__ = [
    "AddBias", "CosSim", "Embedding", "Gemm", "Matmul", "ReduceMean", "ReduceSum", "add_bias", "cossim", "embedding",
    "gemm", "matmul", "reduce_mean", "reduce_sum",
]  # fmt: skip


def ints(values: Any) -> tuple[int, ...]:
    """Sizes, axes or repeats, given as an integer, a list, an array or a Tensor."""
    return tuple(int(v) for v in np.atleast_1d(np.asarray(raw(values))))


class Matmul(Built):
    """x @ w; leading axes are a batch."""

    @staticmethod
    def write(op: Any, x: Any, w: Any) -> Any:
        if x.rank < 2 or w.rank < 2 or x.shape[-1] != w.shape[-2]:
            raise GraphError(f"a product needs the last axis of {x} to be as long as the last but one of {w}")
        return op.MatMul(x, w)


def matmul(x: Tensor, w: Tensor) -> Tensor:
    """x @ w; leading axes are a batch."""
    return Matmul()(x, w)[0]


class AddBias(Built):
    """b, of shape (n,) or (1, n), added to every row of x; with axis=1 to every column."""

    def __init__(self, axis: int = 0) -> None:
        super().__init__(axis=axis)

    @staticmethod
    def write(op: Any, x: Any, b: Any, axis: int) -> Any:
        long = x.shape[-1] if axis == 0 else x.shape[0]
        if x.rank < 2 or axis not in (0, 1) or math.prod(b.shape) != long or max(b.shape, default=0) != long:
            raise GraphError(
                f"a bias added along axis {axis} (0 or 1) of {x} has shape [{long}] or "
                f"{[1, long] if axis == 0 else [long, 1]}; got {b}"
            )
        return op.Add(x, b if axis == 0 else op.Reshape(b, (long, *(1,) * (x.rank - 1))))


def add_bias(x: Tensor, b: Tensor, axis: int = 0) -> Tensor:
    """b, of shape (n,) or (1, n), added to every row of x; with axis=1 to every column."""
    return AddBias(axis)(x, b)[0]


class Gemm(Built):
    """alpha * A' @ B' + beta * C; a prime transposes where transA, transB say so."""

    def __init__(self, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0) -> None:
        super().__init__(alpha=float(alpha), beta=float(beta), transA=int(transA), transB=int(transB))

    @staticmethod
    def write(op: Any, a: Any, b: Any, c: Any = None, **attributes: Any) -> Any:
        return op.Gemm(a, b, c, **attributes)


def gemm(
    A: Tensor,
    B: Tensor,
    C: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha * A' @ B' + beta * C; a prime transposes where transA, transB say so."""
    return Gemm(alpha, beta, transA, transB)(A, B, *(() if C is None else (C,)))[0]


class CosSim(Built):
    """The cosine of the angle between corresponding rows."""

    @staticmethod
    def write(op: Any, a: Any, b: Any) -> Any:
        def dot(x: Any, y: Any) -> Any:
            return op.ReduceSum(op.Mul(x, y), (-1,), keepdims=0)

        return op.Div(dot(a, b), op.Sqrt(op.Mul(dot(a, a), dot(b, b))))


def cossim(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle between corresponding rows."""
    return CosSim()(a, b)[0]


class Embedding(Built):
    """The rows of w that x names."""

    @staticmethod
    def write(op: Any, x: Any, w: Any) -> Any:
        return op.Gather(w, op.Cast(x, to=TO_INT), axis=0)


def embedding(x: Tensor, w: Tensor) -> Tensor:
    """The rows of w that x names."""
    return Embedding()(x, w)[0]


# ---- reductions ---------------------------------------------------------------------------------------


def _reduce(op: Any, x: Any, onnx: str, axes: tuple | None, keepdims: int) -> Any:
    axes = axes or tuple(range(x.rank))
    y = getattr(op, onnx)(x, axes, keepdims=keepdims)
    everything = len({a % x.rank for a in axes}) == x.rank
    return op.Reshape(y, (1,)) if everything and not keepdims else y


class ReduceSum(Built):
    """The sum over axes (all by default).  There are no scalars: what is left of everything is (1,)."""

    def __init__(self, axes: Any = None, keepdims: int = 1) -> None:
        super().__init__(axes=None if axes is None else ints(axes), keepdims=int(keepdims))

    @staticmethod
    def write(op: Any, x: Any, axes: tuple | None, keepdims: int) -> Any:
        return _reduce(op, x, "ReduceSum", axes, keepdims)


def reduce_sum(x: Tensor, axes: Any = None, keepdims: int = 1) -> Tensor:
    """The sum over axes (all by default).  There are no scalars: what is left of everything is (1,)."""
    return ReduceSum(axes, keepdims)(x)[0]


class ReduceMean(Built):
    """The mean over axes (all by default)."""

    def __init__(self, axes: Any = None, keepdims: int = 1) -> None:
        super().__init__(axes=None if axes is None else ints(axes), keepdims=int(keepdims))

    @staticmethod
    def write(op: Any, x: Any, axes: tuple | None, keepdims: int) -> Any:
        return _reduce(op, x, "ReduceMean", axes, keepdims)


def reduce_mean(x: Tensor, axes: Any = None, keepdims: int = 1) -> Tensor:
    """The mean over axes (all by default)."""
    return ReduceMean(axes, keepdims)(x)[0]
