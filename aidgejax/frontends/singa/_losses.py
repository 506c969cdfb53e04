"""singa.autograd's losses: each gives one number, of shape (1,).  No gradient passes to a target."""

from __future__ import annotations

import math
from typing import Any

from ...errors import GraphError
from ._elementwise import TO_FLOAT, TO_INT
from ._errors import DoesNotFit, NotATensor
from ._operation import Built
from ._tensor import Tensor

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "MeanSquareError",
    "RankingLoss",
    "SoftMaxCrossEntropy",
    "binary_cross_entropy",
    "cross_entropy",
    "mse_loss",
    "ranking_loss",
    "softmax_cross_entropy",
]


def _mean_of_rows(op: Any, each: Any, rank: int) -> Any:
    """Summed over everything but the first axis, of which the mean is taken.  f[n, *s] -> f[1]."""
    rows = op.ReduceSum(each, tuple(range(1, rank)), keepdims=0) if rank > 1 else each
    return op.ReduceMean(rows, (0,), keepdims=1)


def _target(kind: str, t: Any) -> Tensor:
    if not isinstance(t, Tensor):
        raise NotATensor(f"{kind}: its target is a Tensor, got {type(t).__name__}")
    return t


def _softmax_cross_entropy(op: Any, x: Any, t: Any) -> Any:
    if x.rank != 2 or t.rank > 2 or (math.prod(t.shape) != x.shape[0] and t.shape != x.shape):
        raise GraphError(
            f"softmax_cross_entropy takes scores [n, classes], and as target n class indices or one row "
            f"of class weights per row; got {x} and {t}"
        )
    if math.prod(t.shape) == x.shape[0]:
        labels = op.Cast(op.Reshape(t, (-1,)), to=TO_INT)
        loss, _ = op.SoftmaxCrossEntropyLoss(x, labels, outputs=2)
    else:
        t = op.Cast(t, to=TO_FLOAT) if not t.is_float else t
        loss, _ = op.SoftLabelCrossEntropy(x, op.Div(t, op.ReduceSum(t, (1,), keepdims=1)), outputs=2)
    return op.Reshape(loss, (1,))


def softmax_cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    """The mean over rows of -sum q * log softmax(x).

    t: class indices, one per row, or a row of class weights each (one-hot, counts, probabilities), which is divided by
    its sum to give q; of any dtype.  A class that does not exist raises where t was filled from an array; inside a
    compiled step it makes the loss NaN.
    """
    return SoftMaxCrossEntropy(t)(x)[0]


def _cross_entropy(op: Any, p: Any, t: Any) -> Any:
    if p.shape != t.shape:
        raise GraphError(f"input and target shape different: {p} and {t}")
    t = op.CastLike(t, p)
    # Where t is 0 nothing is asked of p, which may be 0 too.
    each = op.Mul(t, op.Log(op.Where(op.Equal(t, 0.0), 1.0, p)))
    return op.Neg(_mean_of_rows(op, each, p.rank))


def cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    """-sum t * log x / n: x are probabilities, and n is the number of rows."""
    return CrossEntropy(t)(x)[0]


def _binary_cross_entropy(op: Any, p: Any, t: Any) -> Any:
    if p.shape != t.shape:
        raise GraphError(f"input and target shape different: {p} and {t}")
    each = op.BinaryCrossEntropy(p, op.CastLike(t, p), reduction="none", epsilon=1e-4, slope="shifted")
    return _mean_of_rows(op, each, p.rank)


def binary_cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    """-sum (t * log(x + 1e-4) + (1 - t) * log(1.0001 - x)) / n, n the number of rows."""
    return BinaryCrossEntropy(t)(x)[0]


def _mse(op: Any, x: Any, t: Any) -> Any:
    if x.shape == t.shape:
        return op.Reshape(op.MeanSquaredError(x, op.CastLike(t, x)), (1,))
    padded = (1,) * (x.rank - t.rank) + t.shape if t.rank <= x.rank else None
    if padded is None or any(d not in (1, n) for d, n in zip(padded, x.shape, strict=True)):
        raise GraphError(f"input and target shape different: {x} and {t}, which does not broadcast to it")
    return op.Reshape(op.MeanSquaredError(x, op.Expand(op.CastLike(t, x), x.shape)), (1,))


def mse_loss(x: Tensor, t: Tensor) -> Tensor:
    """The mean over all elements of (x - t)^2."""
    if isinstance(x, Tensor) and isinstance(t, Tensor) and x.shape != t.shape:
        raise DoesNotFit(
            f"mse_loss: input and target shape different: {x.name}:{list(x.shape)} and {t.name}:{list(t.shape)}"
        )
    return MeanSquareError(t)(x)[0]


def _ranking(op: Any, pos: Any, neg: Any, margin: float) -> Any:
    if pos.shape != neg.shape:
        raise GraphError(f"the scores of positive and negative examples differ in shape: {pos} and {neg}")
    return op.Reshape(op.ReduceMean(op.Relu(op.Add(op.Sub(neg, pos), margin)), keepdims=0), (1,))


def ranking_loss(pos: Tensor, neg: Tensor, M: float = 0.2) -> Tensor:
    """The mean of max(0, M - pos + neg)."""
    return RankingLoss(M)(pos, neg)[0]


# ---- the same as operations that hold their target: MeanSquareError(t)(x)[0] -----------------------------


class _AgainstTarget(Built):
    """A loss that holds its target."""

    def __init__(self, t: Tensor) -> None:
        super().__init__((_target(type(self).__name__, t),))


class SoftMaxCrossEntropy(_AgainstTarget):
    """See softmax_cross_entropy."""

    write = staticmethod(_softmax_cross_entropy)

    def _do_forward(self, *xs: Tensor) -> tuple[Tensor, ...]:
        t, labels = self.extras[0], self.extras[0].data.host
        if labels is not None and xs[0].ndim() == 2 and labels.size == xs[0].shape[0]:
            classes = xs[0].shape[1]
            if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
                raise DoesNotFit(
                    f"softmax_cross_entropy: target {t.name} has class {labels.min():g} to "
                    f"{labels.max():g}, but {xs[0].name} has scores for the classes 0 to {classes - 1}"
                )
        return super()._do_forward(*xs)


class CrossEntropy(_AgainstTarget):
    """See cross_entropy."""

    write = staticmethod(_cross_entropy)


class BinaryCrossEntropy(_AgainstTarget):
    """See binary_cross_entropy."""

    write = staticmethod(_binary_cross_entropy)


class MeanSquareError(_AgainstTarget):
    """The mean over the elements of x of (x - t)^2; unlike for mse_loss, t may broadcast to x, as in SINGA."""

    write = staticmethod(_mse)


class RankingLoss(Built):
    """See ranking_loss."""

    write = staticmethod(_ranking)

    def __init__(self, M: float = 0.2) -> None:
        super().__init__(margin=float(M))
