"""Metrics: how good predictions are.  metric(prediction, target) -> one number per row, f32[rows].

    hits = accuracy(scores, labels)          # f32[rows]: 1 where the highest score is the label
    jnp.mean(hits)                           # a row of padding is left out by weighing, not here

A target is class indices i[rows], or one-hot (or soft) f[rows, classes]: then its highest entry is the class.
Everything is pure: it jits, scans and vmaps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from ..errors import DataError, SettingError


def accuracy(prediction: Any, target: Any, axis: Any = -1) -> Any:
    """1 where the highest score of a row is at the target class, else 0.  f[rows, classes] -> f32[rows].

    axis: where the classes lie; the result has prediction's other axes.  Of equal scores the first counts, so a row of
    equal scores predicts class 0; NaN is never the highest (a row of nothing else predicts class 0).
    """
    prediction, target = jnp.asarray(prediction), jnp.asarray(target)
    axis = _class_axis("accuracy", prediction, axis)
    return (_first_highest(prediction, axis) == _classes("accuracy", prediction, target, axis)).astype("float32")


def correct_count(prediction: Any, target: Any, axis: Any = -1) -> Any:
    """How many rows `accuracy` finds right, f32[].  Source: aidge_learning.metrics.Accuracy, which is this count."""
    return jnp.sum(accuracy(prediction, target, axis))


def top_k_accuracy(prediction: Any, target: Any, k: int = 5) -> Any:
    """1 where the target class is among the k highest scores of the row.  f[rows, classes] -> f32[rows].

    Of equal scores the first come first.  A target score of NaN is never among them.
    """
    prediction, target = jnp.asarray(prediction), jnp.asarray(target)
    axis = _class_axis("top_k_accuracy", prediction, -1)
    if not 1 <= k <= prediction.shape[axis]:
        raise SettingError(f"top_k_accuracy: k is {k}; expected 1 to {prediction.shape[axis]}, the number of classes")
    label = jnp.expand_dims(_classes("top_k_accuracy", prediction, target, axis), axis)
    own = jnp.take_along_axis(prediction, label, axis, mode="fill", fill_value=jnp.nan)
    earlier = jnp.arange(prediction.shape[axis]) < label
    ahead = (prediction > own) | ((prediction == own) & earlier)
    found = (jnp.sum(ahead, axis=axis) < k) & ~jnp.isnan(jnp.squeeze(own, axis))
    return found.astype("float32")


def mean_absolute_error(prediction: Any, target: Any) -> Any:
    """mean |prediction - target| of each row.  f[rows, ...], same -> f32[rows]."""
    return _row_means(jnp.abs(_difference("mean_absolute_error", prediction, target)))


def mean_squared_error(prediction: Any, target: Any) -> Any:
    """mean (prediction - target)**2 of each row.  f[rows, ...], same -> f32[rows]."""
    return _row_means(jnp.square(_difference("mean_squared_error", prediction, target)))


def r2(prediction: Any, target: Any, weights: Any = None) -> Any:
    """1 - (squared error) / (squared deviation of the target from its mean), over all rows.  f32[].

    weights: f[rows], 0 leaves a row out.  1 is perfect, 0 is as good as the mean; of a constant target it is NaN.
    No number per row exists: evaluate it on all rows at once.
    """
    error = _difference("r2", prediction, target)
    target = jnp.asarray(target, "float32").reshape(error.shape[0], -1)
    share = jnp.ones((error.shape[0], 1)) if weights is None else jnp.asarray(weights, "float32")[:, None]
    mean = jnp.sum(share * target, axis=0) / jnp.sum(share)
    spread = jnp.sum(share * jnp.square(target - mean))
    missed = jnp.sum(share * jnp.square(error.reshape(target.shape)))
    return jnp.where(spread > 0, 1 - missed / jnp.where(spread > 0, spread, 1), jnp.nan)


# ---- confusion ----------------------------------------------------------------------------------------


class ConfusionTable(NamedTuple):
    """One class against all others: how many rows are true or false, positive or negative.  f32 each.

    A ratio whose denominator is 0 is NaN: nothing was asked.  Names are those of aidge_learning's ConfusionTable.
    """

    tp: Any
    fp: Any
    tn: Any
    fn: Any

    def accuracy(self) -> Any:
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn)

    def precision(self) -> Any:
        """Of the rows predicted positive, the share that is."""
        return _ratio(self.tp, self.tp + self.fp)

    def sensitivity(self) -> Any:
        """Of the positive rows, the share that is found."""
        return _ratio(self.tp, self.tp + self.fn)

    def recall(self) -> Any:
        """Another name of sensitivity."""
        return self.sensitivity()

    def specificity(self) -> Any:
        """Of the negative rows, the share that is left alone."""
        return _ratio(self.tn, self.tn + self.fp)

    def negative_predictive_value(self) -> Any:
        return _ratio(self.tn, self.tn + self.fn)

    def fall_out(self) -> Any:
        return _ratio(self.fp, self.fp + self.tn)

    def miss_rate(self) -> Any:
        return _ratio(self.fn, self.fn + self.tp)

    def false_discovery_rate(self) -> Any:
        return _ratio(self.fp, self.fp + self.tp)

    def false_omission_rate(self) -> Any:
        return _ratio(self.fn, self.fn + self.tn)

    def f_score(self, beta: float = 1.0) -> Any:
        """The harmonic mean of precision and sensitivity; the latter counts beta**2 times as much."""
        found = (1 + beta**2) * self.tp
        return _ratio(found, found + beta**2 * self.fn + self.fp)

    def iu(self) -> Any:
        """Intersection over union."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    def informedness(self) -> Any:
        return self.sensitivity() + self.specificity() - 1

    def markedness(self) -> Any:
        return self.precision() + self.negative_predictive_value() - 1


def confusion_matrix(prediction: Any, target: Any, classes: Any, weights: Any = None) -> Any:
    """How often class [target, prediction] occurs.  i[rows] or f[rows, classes] each -> i32[classes, classes].

    Per position: i[rows, *positions] or f[rows, classes, *positions], every position counted.
    weights: f[rows] instead of one per row, 0 leaves a row out; then the result is f32.
    Matrices of several batches may be added.  Rows with an index outside 0..classes-1 are counted nowhere.
    """
    if not classes >= 1:
        raise SettingError(f"confusion_matrix: classes is {classes}; expected 1 or more")
    rows, columns = (_indices(name, x, classes) for name, x in (("target", target), ("prediction", prediction)))
    if rows.shape != columns.shape:
        raise DataError(f"confusion_matrix: {rows.size} targets for {columns.size} predictions")
    inside = (rows >= 0) & (rows < classes) & (columns >= 0) & (columns < classes)
    each = jnp.ones(rows.shape, "int32") if weights is None else jnp.asarray(weights, "float32")
    amount = jnp.repeat(each, rows.size // max(1, each.size))
    place = jnp.where(inside, rows * classes + columns, classes * classes)
    counts = jnp.zeros(classes * classes, amount.dtype).at[place].add(amount, mode="drop")
    return counts.reshape(classes, classes)


def confusion_table(matrix: Any, k: Any) -> Any:
    """Class k of a `confusion_matrix` against all others."""
    matrix = jnp.asarray(matrix, "float32")
    tp = matrix[k, k]
    fp, fn = jnp.sum(matrix[:, k]) - tp, jnp.sum(matrix[k]) - tp
    return ConfusionTable(tp, fp, jnp.sum(matrix) - tp - fp - fn, fn)


def confusion_tables(matrix: Any) -> Any:
    """All classes at once: a ConfusionTable of f32[classes]."""
    matrix = jnp.asarray(matrix, "float32")
    tp = jnp.diagonal(matrix)
    fp, fn = jnp.sum(matrix, axis=0) - tp, jnp.sum(matrix, axis=1) - tp
    return ConfusionTable(tp, fp, jnp.sum(matrix) - tp - fp - fn, fn)


# ---- inside -------------------------------------------------------------------------------------------


def _first_highest(scores: Any, axis: Any) -> Any:
    if jnp.issubdtype(scores.dtype, jnp.floating):
        scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    return jnp.argmax(scores, axis=axis)


def _class_axis(name: Any, prediction: Any, axis: Any) -> Any:
    if prediction.ndim < 2:
        raise DataError(
            f"{name}: prediction has shape {prediction.shape}; expected scores of at least 2 axes, [rows, classes]"
        )
    if not -prediction.ndim <= axis < prediction.ndim:
        raise DataError(
            f"{name}: axis is {axis}, but prediction has shape {prediction.shape}; "
            f"expected {-prediction.ndim} to {prediction.ndim - 1}"
        )
    return axis % prediction.ndim


def _classes(name: Any, prediction: Any, target: Any, axis: Any) -> Any:
    """Class indices from indices or from one-hot rows."""
    others = prediction.shape[:axis] + prediction.shape[axis + 1 :]
    if target.shape == prediction.shape:
        return _first_highest(target, axis)
    if target.shape == others and jnp.issubdtype(target.dtype, jnp.integer):
        return target
    raise DataError(
        f"{name}: target is {target.dtype}{list(target.shape)} for a prediction of shape "
        f"{list(prediction.shape)}; expected class indices {list(others)} of an integer dtype, "
        f"or one-hot rows {list(prediction.shape)}"
    )


def _indices(name: Any, x: Any, classes: Any) -> Any:
    x = jnp.asarray(x)
    if x.ndim > 1 and x.shape[1] == classes and (x.ndim == 2 or not jnp.issubdtype(x.dtype, jnp.integer)):
        return _first_highest(x, 1).reshape(-1)
    if x.ndim > 0 and jnp.issubdtype(x.dtype, jnp.integer):
        return x.reshape(-1)
    raise DataError(
        f"confusion_matrix: {name} is {x.dtype}{list(x.shape)}; expected class indices [rows] of an "
        f"integer dtype, or scores [rows, {classes}]"
    )


def _difference(name: Any, prediction: Any, target: Any) -> Any:
    prediction, target = jnp.asarray(prediction), jnp.asarray(target)
    if prediction.shape != target.shape or prediction.ndim == 0:
        raise DataError(
            f"{name}: prediction has shape {list(prediction.shape)} and target {list(target.shape)}; "
            f"expected equal shapes [rows, ...]"
        )
    return prediction.astype("float32") - target.astype("float32")


def _row_means(x: Any) -> Any:
    return jnp.mean(x.reshape(x.shape[0], -1), axis=1)


def _ratio(part: Any, whole: Any) -> Any:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), jnp.nan)
