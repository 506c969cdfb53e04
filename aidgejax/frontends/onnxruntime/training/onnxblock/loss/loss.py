"""onnxruntime.training.onnxblock.loss: losses as blocks; what each computes is in onnxio/artifacts/losses.py.

reduction: "mean", "sum" or "none".  The target is the graph's tensor of that name, or a new input.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from ......errors import SettingError
from ......onnxio.artifacts import losses
from ..._errors import TrainingError, WrongType
from ..model_accessor import accessor
from ..onnxblock import Block


class _Loss(Block):
    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in losses.REDUCTIONS:
            raise TrainingError(f"Reduction {reduction} not supported: expected one of {', '.join(losses.REDUCTIONS)}")
        self._reduction = reduction

    def _append(self, loss: Callable[..., str], prediction: str, target: str, **settings: Any) -> str:
        self._info(prediction)
        try:
            return loss(accessor(), prediction, target, reduction=self._reduction, **settings)
        except SettingError as e:
            raise TrainingError(str(e)) from None
        except (TypeError, ValueError) as e:
            raise WrongType(f"{type(self).__name__}: {e}") from None


class MSELoss(_Loss):
    """(prediction - target)^2, reduced."""

    def build(self, loss_input_name: str, target_name: str = "target") -> str:
        return self._append(losses.mse, loss_input_name, target_name)


class L1Loss(_Loss):
    """|prediction - target|, reduced."""

    def build(self, loss_input_name: str, target_name: str = "target") -> str:
        return self._append(losses.l1, loss_input_name, target_name)


class BCEWithLogitsLoss(_Loss):
    """-weight * (pos_weight * t * log s + (1 - t) * log(1 - s)), s = sigmoid(x), reduced; finite for any score x."""

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self._weight, self._pos_weight = weight, pos_weight

    def build(self, loss_input_name: str, target_name: str = "target") -> str:
        return self._append(
            losses.bce_with_logits, loss_input_name, target_name, weight=self._weight, pos_weight=self._pos_weight
        )


class CrossEntropyLoss(_Loss):
    """-weight[label] * log softmax(scores)[label]; "mean" divides by the weights of what is not ignored.

    scores [n, classes], labels int64 [n]; or [n, s, classes] and [n, s]: the labels have the scores' shape without its
    last axis.
    """

    def __init__(self, weight: Any = None, reduction: str = "mean", ignore_index: int | None = None) -> None:
        super().__init__(reduction)
        if ignore_index is not None and not isinstance(ignore_index, Integral):
            raise WrongType(f"CrossEntropyLoss: ignore_index is {ignore_index!r}; expected the number of a class")
        self._weight, self._ignore = weight, ignore_index

    def build(self, scores_input_name: str, labels_name: str = "labels") -> str:
        return self._append(
            losses.cross_entropy, scores_input_name, labels_name, weight=self._weight, ignore_index=self._ignore
        )
