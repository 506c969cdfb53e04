"""aidge_learning.metrics: Accuracy, and confusion matrices.  What they compute stands in aidgejax.metrics."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from ...dtypes import x64_for
from ...errors import AidgeJaxError, DataError
from ...training import metrics
from ...training.data import check_labels
from .._shared.tensor_cell import beside
from ..aidge_core.errors import ProviderError, TensorError, TensorTypeError
from ..aidge_core.tensor import Tensor, as_tensor

_count = partial(jax.jit, static_argnames="axis")(metrics.correct_count)


def Accuracy(prediction: Tensor, target: Tensor, axis: int) -> Tensor:  # noqa: N802
    """How many argmaxes along `axis` agree: a COUNT, not a ratio.  f[n, c], f[n, c] or class indices -> f[1, 1].

    Ties go to the first; NaN is never the highest.  Divide by the number of rows for the ratio.
    """
    if not isinstance(prediction, Tensor):
        raise TensorTypeError(f"Accuracy: 'prediction' is {type(prediction).__name__}; expected a Tensor")
    target = as_tensor(target, "Accuracy: 'target'")
    if prediction.ndim != 2 or not prediction.has_data():
        raise TensorError(f"Accuracy: 'prediction' (shape {prediction.dims}) must be of 2 dimensions, [batch, classes]")
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise TensorTypeError(f"Accuracy: axis is {axis!r}; expected an integer")
    labels = target.array()
    if (
        target.cell.dtype.kind in "iu"
        and target.cell.shape == (prediction.cell.shape[0], 1)
        and prediction.cell.shape[1] > 1
    ):
        labels = labels.reshape(-1)
    try:
        with x64_for((prediction.cell.dtype, target.cell.dtype)):
            scores = prediction.array()
            found = _count(scores, beside(scores, {"labels": labels})["labels"], axis=int(axis))
    except AidgeJaxError as e:
        raise ProviderError(f"Accuracy: {e}") from None
    result = Tensor(dims=(1, 1), kind=prediction.cell.dtype)
    result.backend_name = prediction.backend_name
    result.cell.defer(
        (1, 1), prediction.cell.dtype, lambda: np.asarray(found).astype(prediction.cell.dtype).reshape(1, 1)
    )
    return result


class ConfusionTableMetric(enum.Enum):
    """What get_metric of a table is asked for."""

    Accuracy = "accuracy"
    Precision = "precision"
    Sensitivity = "sensitivity"
    Specificity = "specificity"
    NegativePredictiveValue = "negative_predictive_value"
    MissRate = "miss_rate"
    FallOut = "fall_out"
    FalseDiscoveryRate = "false_discovery_rate"
    FalseOmissionRate = "false_omission_rate"
    FScore = "f_score"
    Informedness = "informedness"
    Markedness = "markedness"
    IU = "iu"


class ConfusionTable:
    """One class against all others.  A ratio whose denominator is 0 is NaN: nothing was asked."""

    def __init__(self, tp: int = 0, fp: int = 0, tn: int = 0, fn: int = 0) -> None:
        self.tp, self.fp, self.tn, self.fn = tp, fp, tn, fn

    @property
    def relevant(self) -> int:
        """How many rows are positive."""
        return self.tp + self.fn

    def add_tp(self, count: int) -> None:
        self.tp += count

    def add_fp(self, count: int) -> None:
        self.fp += count

    def add_tn(self, count: int) -> None:
        self.tn += count

    def add_fn(self, count: int) -> None:
        self.fn += count

    def get_metric(self, metric: ConfusionTableMetric) -> float:
        return getattr(self, metric.value)()

    def f_score(self, beta: float = 1.0) -> float:
        return float(self._table().f_score(beta))

    def _table(self) -> metrics.ConfusionTable:
        return metrics.ConfusionTable(self.tp, self.fp, self.tn, self.fn)

    def __repr__(self) -> str:
        return f"ConfusionTable(tp = {self.tp}, fp = {self.fp}, tn = {self.tn}, fn = {self.fn})"


def _ratio(name: str) -> Any:
    def ratio(self: ConfusionTable) -> float:
        return float(getattr(self._table(), name)())

    ratio.__name__, ratio.__doc__ = name, f"See aidgejax.metrics.ConfusionTable.{name}."
    return ratio


for _metric in ConfusionTableMetric:
    if _metric is not ConfusionTableMetric.FScore:
        setattr(ConfusionTable, _metric.value, _ratio(_metric.value))


class ConfusionMatrix:
    """ConfusionMatrix(10).aggregate(targets, predictions): how often class [target, prediction] occurred.

    Both are class indices (one, or many), or Tensors of them or of scores [rows, classes].
    """

    def __init__(self, size: int) -> None:
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise TensorError(f"ConfusionMatrix: the number of classes is {size!r}; expected 1 or more")
        self._counts = np.zeros((int(size), int(size)), np.int64)

    def aggregate(self, target: Any, pred: Any) -> None:
        rows, columns = self._indices("target", target), self._indices("pred", pred)
        if len(rows) != len(columns):
            raise ProviderError(f"ConfusionMatrix.aggregate: {len(rows)} targets for {len(columns)} predictions")
        found = metrics.confusion_matrix(columns.astype(np.int32), rows.astype(np.int32), len(self._counts))
        self._counts += np.asarray(found)

    def _indices(self, name: str, given: Any) -> np.ndarray:
        if given is None:
            raise TensorTypeError(f"ConfusionMatrix.aggregate: {name} is None")
        classes = len(self._counts)
        a = given.cell.read() if isinstance(given, Tensor) else np.asarray(given)
        if a.ndim == 2 and a.shape[1] == classes and (a.dtype.kind == "f" or a.shape[1] > 1):
            a = np.argmax(np.where(np.isnan(a), -np.inf, a) if a.dtype.kind == "f" else a, axis=1)
        a = a.reshape(-1)
        if a.dtype.kind not in "iu":
            raise ProviderError(
                f"ConfusionMatrix.aggregate: {name} is {a.dtype}; expected class indices of an integer "
                f"dtype, or scores [rows, {classes}]"
            )
        try:
            check_labels(a, classes, name)
        except DataError as e:
            raise ProviderError(f"ConfusionMatrix.aggregate: {e}") from None
        return a

    def clear(self) -> None:
        self._counts[...] = 0

    def tensor(self) -> Tensor:
        """u64[target, prediction]."""
        return Tensor(self._counts.astype(np.uint64))

    def get_confusion_table(self, target: int) -> ConfusionTable:
        if not 0 <= target < len(self._counts):
            raise ProviderError(
                f"there is no class {target}; there are {len(self._counts)} (0 to {len(self._counts) - 1})"
            )
        counts = self._counts
        tp = int(counts[target, target])
        fp, fn = int(counts[:, target].sum()) - tp, int(counts[target].sum()) - tp
        return ConfusionTable(tp, fp, int(counts.sum()) - tp - fp - fn, fn)

    def get_confusion_tables(self) -> Sequence[ConfusionTable]:
        return [self.get_confusion_table(k) for k in range(len(self._counts))]
