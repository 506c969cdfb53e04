"""onnxruntime.training.onnxblock.loss: losses as blocks, spelled in standard operators.

reduction: "mean", "sum" or "none".  The target is the graph's tensor of that name, or a new input.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from onnx import TensorProto

from .._errors import TrainingError, WrongType
from ._block import Block

REDUCTIONS = ("none", "mean", "sum")


class _Loss(Block):
    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise TrainingError(f"Reduction {reduction} not supported: expected one of {', '.join(REDUCTIONS)}")
        self._reduction = reduction

    def _reduced(self, each: str) -> str:
        if self._reduction == "none":
            return each
        return self._node({"mean": "ReduceMean", "sum": "ReduceSum"}[self._reduction], each, stem="loss", keepdims=0)


class MSELoss(_Loss):
    """(prediction - target)^2, reduced."""

    def build(self, loss_input_name: str, target_name: str = "target") -> str:
        target = self._input(target_name, self._info(loss_input_name))
        d = self._node("Sub", loss_input_name, target)
        return self._reduced(self._node("Mul", d, d))


class L1Loss(_Loss):
    """|prediction - target|, reduced."""

    def build(self, loss_input_name: str, target_name: str = "target") -> str:
        target = self._input(target_name, self._info(loss_input_name))
        return self._reduced(self._node("Abs", self._node("Sub", loss_input_name, target)))


class BCEWithLogitsLoss(_Loss):
    """-weight * (pos_weight * t * log s + (1 - t) * log(1 - s)), s = sigmoid(x), reduced; finite for any score x.

    Written as weight * ((1 - t) * x + (1 + (pos_weight - 1) * t) * softplus(-x)).
    """

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self._weight, self._pos_weight = weight, pos_weight

    def build(self, loss_input_name: str, target_name: str = "target") -> str:
        x = loss_input_name
        t = self._input(target_name, self._info(x))
        one = self._constant(1.0)
        soft = self._node("Softplus", self._node("Neg", x))
        if self._pos_weight is not None:
            steep = self._constant(np.asarray(self._pos_weight, np.float32) - 1, "pos_weight")
            soft = self._node("Mul", soft, self._node("Add", self._node("Mul", steep, t), one))
        each = self._node("Add", self._node("Mul", self._node("Sub", one, t), x), soft)
        if self._weight is not None:
            each = self._node("Mul", each, self._constant(self._weight, "weight"))
        return self._reduced(each)


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
        info = self._info(scores_input_name)
        rank = len(info.type.tensor_type.shape.dim)
        if rank < 2:
            raise TrainingError(
                f"CrossEntropyLoss needs scores of shape [n, classes], and {scores_input_name!r} has {rank} axes"
            )
        labels = self._input(labels_name, info, TensorProto.INT64, lambda shape: shape[:-1])
        scores = scores_input_name
        if rank > 2:  # ONNX has the classes on axis 1
            scores = self._node("Transpose", scores, perm=[0, rank - 1, *range(1, rank - 1)])
        weight = [] if self._weight is None else [self._constant(np.reshape(self._weight, -1), "weight")]
        classes = info.type.tensor_type.shape.dim[-1].dim_value
        if self._weight is not None and classes and np.size(self._weight) != classes:
            raise TrainingError(
                f"CrossEntropyLoss: {np.size(self._weight)} weights for the {classes} classes of "
                f"{scores_input_name!r}; expected one per class"
            )
        attrs = {} if self._ignore is None else {"ignore_index": int(self._ignore)}
        return self._node(
            "SoftmaxCrossEntropyLoss", scores, labels, *weight, stem="loss", reduction=self._reduction, **attrs
        )
