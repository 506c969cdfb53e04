"""Losses appended to a ModelProto in standard operators; the target is the tensor of that name, or a new input.

Each returns the name of the loss.  reduction: "mean", "sum" or "none".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from ...errors import SettingError
from .model_builder import ModelBuilder

REDUCTIONS = ("none", "mean", "sum")


def mse(to: ModelBuilder, prediction: str, target: str = "target", reduction: str = "mean") -> str:
    """(prediction - target)^2"""
    target = to.input(target, to.known(prediction))
    d = to.node("Sub", prediction, target)
    return _reduced(to, to.node("Mul", d, d), reduction)


def l1(to: ModelBuilder, prediction: str, target: str = "target", reduction: str = "mean") -> str:
    """|prediction - target|"""
    target = to.input(target, to.known(prediction))
    return _reduced(to, to.node("Abs", to.node("Sub", prediction, target)), reduction)


def bce_with_logits(
    to: ModelBuilder,
    scores: str,
    target: str = "target",
    reduction: str = "mean",
    weight: Any = None,
    pos_weight: Any = None,
) -> str:
    """-weight * (pos_weight * t * log s + (1 - t) * log(1 - s)), s = sigmoid(x); finite for any score x.

    Written as weight * ((1 - t) * x + (1 + (pos_weight - 1) * t) * softplus(-x)).
    """
    _say_if_twice(to, scores, "Sigmoid", "BCEWithLogitsLoss")
    t = to.input(target, to.known(scores))
    dtype = to.dtype(scores)
    one = to.constant(1.0, dtype=dtype)
    soft = to.node("Softplus", to.node("Neg", scores))
    if pos_weight is not None:
        steep = to.constant(np.asarray(pos_weight, np.float32) - 1, "pos_weight", dtype)
        soft = to.node("Mul", soft, to.node("Add", to.node("Mul", steep, t), one))
    each = to.node("Add", to.node("Mul", to.node("Sub", one, t), scores), soft)
    if weight is not None:
        each = to.node("Mul", each, to.constant(weight, "weight", dtype))
    return _reduced(to, each, reduction)


def cross_entropy(
    to: ModelBuilder,
    scores: str,
    labels: str = "labels",
    reduction: str = "mean",
    weight: Any = None,
    ignore_index: int | None = None,
) -> str:
    """-weight[label] * log softmax(scores)[label]; "mean" divides by the weights of what is not ignored.

    scores [n, classes], labels int64 [n]; [n, s, classes] and [n, s], or of images [n, classes, h, w] and [n, h, w]:
    the labels have the scores' shape without the classes.  Raises SettingError for scores without an axis of classes,
    or weights of another number than theirs.
    """
    _say_if_twice(to, scores, "Softmax", "CrossEntropyLoss")
    info = to.known(scores)
    dims = info.type.tensor_type.shape.dim
    if len(dims) < 2:
        raise SettingError(f"CrossEntropyLoss needs scores of shape [n, classes], and {scores!r} has {len(dims)} axes")
    axis = 1 if len(dims) > 3 else len(dims) - 1
    labels = to.input(labels, info, TensorProto.INT64, lambda shape: [*shape[:axis], *shape[axis + 1 :]])
    classes = dims[axis].dim_value
    if weight is not None and classes and np.size(weight) != classes:
        raise SettingError(
            f"CrossEntropyLoss: {np.size(weight)} weights for the {classes} classes of {scores!r}; "
            f"expected one per class"
        )
    x = scores
    if info.type.tensor_type.elem_type == TensorProto.BFLOAT16:  # ONNX's class losses do not take it
        x = to.node("Cast", scores, to=TensorProto.FLOAT)
    if axis > 1:  # ONNX has the classes on axis 1
        x = to.node("Transpose", x, perm=[0, len(dims) - 1, *range(1, len(dims) - 1)])
    weights = [] if weight is None else [to.constant(np.reshape(weight, -1), "weight", to.dtype(x))]
    attrs = {} if ignore_index is None else {"ignore_index": int(ignore_index)}
    return to.node("SoftmaxCrossEntropyLoss", x, labels, *weights, stem="loss", reduction=reduction, **attrs)


def _say_if_twice(to: ModelBuilder, scores: str, op: str, loss: str) -> None:
    """Warn where the model has done already what the loss begins with; ONNX Runtime takes it literally too."""
    writers = {o: n for n in to.model.graph.node for o in n.output}
    node = writers.get(scores)
    while node is not None and node.op_type == "Identity":
        node = writers.get(node.input[0])
    if node is not None and node.op_type == op:
        warnings.warn(
            f"{loss} takes the scores before {op}, and {scores!r} is written by {op}: it is applied twice, as ONNX "
            f"Runtime does. Give the loss {node.input[0]!r}, or a model that ends there",
            stacklevel=2,
        )


def _reduced(to: ModelBuilder, each: str, reduction: str) -> str:
    if reduction == "none":
        return each
    return to.node({"mean": "ReduceMean", "sum": "ReduceSum"}[reduction], each, stem="loss", keepdims=0)


# As ONNX Runtime's training calls them.
LOSSES: dict[str, Callable[..., str]] = {
    "MSELoss": mse,
    "CrossEntropyLoss": cross_entropy,
    "BCEWithLogitsLoss": bce_with_logits,
    "L1Loss": l1,
}
