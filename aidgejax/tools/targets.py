"""Targets in the form that a loss takes: class indices, one-hot rows, 0 and 1, values; for rows or for positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError, SettingError
from ..graph import Node
from ..passes.loss import LOSSES
from ..passes.output_activation import fits, same_but_ones, without_ones

PIXELS = (0, 255)  # how image files hold 0 and 1
CLASSIFIES = "the targets are only 0 and 1: loss bce_logits trains a classifier of them"


def class_axis(shape: tuple, values: np.ndarray, last: Node | None) -> int:
    """The axis of a prediction that holds its classes: 1, as ONNX's losses want it, or the last one.

    Where class indices fit both ways, the Softmax that writes the prediction says it, else a MatMul writes classes
    last.
    """
    rank = len(shape)
    if rank < 3:
        return 1
    rest = without_ones(values.shape[1:]) if values.ndim >= rank else values.shape[1:]
    first = isinstance(shape[1], int) and fits(rest, without_ones(shape[2:]) if values.ndim >= rank else shape[2:])
    final = isinstance(shape[-1], int) and fits(rest, without_ones(shape[1:-1]) if values.ndim >= rank else shape[1:-1])
    if first != final:
        return rank - 1 if final else 1
    if last is not None and last.op in ("Softmax", "LogSoftmax"):
        return rank - 1 if last.attrs.get("axis", -1) in (-1, rank - 1) else 1
    return rank - 1 if final and last is not None and last.op in ("MatMul", "Gemm", "Add") and rank == 3 else 1


def kind_for(values: np.ndarray, shape: tuple, last: Node | None) -> tuple[str, str]:
    """(the loss that fits targets to a prediction, what to say of it); shape: with the classes at axis 1."""
    whole = values.dtype.kind in "iub"
    sigmoid = last is not None and last.op == "Sigmoid"
    one = len(shape) == 1 or 1 in (shape[1], shape[-1])
    binary = bool(np.isin(values, (0, 1)).all()) if values.size else False
    if one and same_but_ones(values.shape, shape):
        if whole and not binary and np.isin(values, PIXELS).all():
            return "bce_logits", ", whose targets 0 and 255 are taken as 0 and 1"
        if binary and (whole or sigmoid):
            return "bce_logits", ""
        note = f"; {CLASSIFIES}" if binary else ""
        if whole and not binary and len(found := np.unique(values)) == 2:
            note = f"; the targets are only {found[0]} and {found[1]}: make them 0 and 1 to train a classifier of them"
        return "mse", note
    if len(shape) > 1 and not (one and len(shape) == 2) and _are_indices(values, shape):
        if whole:
            return "cross_entropy", ""
        if np.array_equal(values, np.round(values)):
            return "cross_entropy", f", whose {values.dtype} targets hold whole numbers, taken as classes"
    if len(shape) > 1 and not one and (hot := hot_axis(values, shape)):
        if binary and not sigmoid and np.all(values.sum(hot, dtype=np.float64) == 1):
            return "cross_entropy", ""
        if not sigmoid and are_shares(values, shape):
            return "soft_cross_entropy", ", whose targets are shares of classes"
        if binary and not sigmoid and not whole:
            return "mse", f"; {CLASSIFIES}"
    return ("bce_logits" if binary and (sigmoid or whole) else "mse"), ""


@dataclass(frozen=True)
class Targets:
    """What a loss of this kind takes, for a prediction of this shape with its classes at axis 1."""

    kind: str
    shape: tuple
    values: np.ndarray

    @property
    def classes(self) -> bool:
        return LOSSES[self.kind][1] == "classes"

    @property
    def binary(self) -> bool:
        return self.kind in ("bce", "bce_logits")

    def taken(self, values: np.ndarray) -> np.ndarray:
        """Targets, of this data or of other, as the loss takes them.  Raises DataError."""
        return self._indices(values) if self.classes else self._values(values)

    def _indices(self, values: np.ndarray) -> np.ndarray:
        rank = len(self.shape)
        if hot := hot_axis(values, self.shape) if np.isin(values, (0, 1)).all() else 0:
            values = values.argmax(hot)
        elif values.ndim == rank and 1 in values.shape[1:]:
            values = values.reshape(len(values), *_without_one(values.shape[1:], self.shape[2:]))
        if values.dtype.kind == "f":
            if not np.array_equal(values, np.round(values)):
                raise DataError(
                    f"{self.kind} takes class indices, int64[N]; the targets are {values.dtype}[{_sizes(values)}] "
                    f"with fractions: take mse, or soft_cross_entropy"
                )
        if values.ndim != rank - 1 or not fits(values.shape[1:], self.shape[2:]):
            raise DataError(
                f"{self.kind} takes class indices, int64[{_named(self.shape[0], *self.shape[2:])}]; the targets are "
                f"{values.dtype}[{_sizes(values)}]"
            )
        return values.astype(np.int64, copy=False)

    def _values(self, values: np.ndarray) -> np.ndarray:
        if self.kind == "soft_cross_entropy" and (hot := hot_axis(values, self.shape)) > 1:
            values = np.moveaxis(values, hot, 1)
        if values.shape != self.shape and same_but_ones(values.shape, self.shape):
            ones = iter(without_ones(values.shape[1:]))
            values = values.reshape(len(values), *(1 if d == 1 else next(ones) for d in self.shape[1:]))
        if self.binary and values.dtype.kind in "iu" and values.max(initial=0) > 1 and np.isin(values, PIXELS).all():
            values = values > 0
        if values.dtype.kind in "iub":
            values = values.astype(np.float32)
        if values.ndim != len(self.shape) or not fits(values.shape[1:], self.shape[1:]):
            indices = _are_indices(values, self.shape) and np.array_equal(values, np.round(values))
            cure = (
                "; class indices are for cross_entropy"
                if indices
                else "; give whole numbers for classes, or values of that shape"
            )
            raise DataError(
                f"{self.kind} compares with {_named(*self.shape)}; the targets are {values.dtype}[{_sizes(values)}]"
                f"{cure}"
            )
        return values


def class_weights(wanted: Any, given: Targets, values: np.ndarray, ignored: int | None) -> dict[str, Any]:
    """The loss's option for weights of classes; "balanced": rows / (classes * rows of the class), as scikit-learn has
    it.  Of two classes and one logit the first one counts 1, the second as much more as it weighs more."""
    if not given.classes and given.kind != "bce_logits":
        raise SettingError(f"class weights are of cross_entropy, nll and bce_logits, not of {given.kind}")
    count = int(given.shape[1]) if given.classes else 2
    if isinstance(wanted, str):
        if wanted != "balanced":
            raise SettingError(f"class weights are {wanted!r}; expected balanced, or {count} numbers")
        labels = given.taken(values).ravel().astype(np.int64)
        held = np.bincount(labels[(labels >= 0) & (labels < count) & (labels != ignored)], minlength=count)
        weights = np.asarray(held.sum() / (count * np.maximum(held, 1)), np.float32)
    else:
        weights = np.asarray(wanted, np.float32)
    if weights.shape != (count,) or not np.all(weights >= 0) or (not given.classes and not weights[0]):
        raise SettingError(
            f"class weights are {weights.tolist()}; expected {count} numbers of 0 or more, one per class"
        )
    return {"weights": weights} if given.classes else {"pos_weight": weights[1:] / weights[0]}


# ---- shapes -------------------------------------------------------------------------------------------


def are_shares(values: np.ndarray, shape: tuple) -> bool:
    """Are the targets distributions over the classes, and not one-hot?"""
    hot = hot_axis(values, shape)
    if not hot or values.dtype.kind != "f" or not values.size or values.min() < 0 or np.isin(values, (0, 1)).all():
        return False
    return bool(np.allclose(values.sum(hot, dtype=np.float64), 1, atol=1e-3))


def hot_axis(values: np.ndarray, shape: tuple) -> int:
    """The axis of one entry per class in targets that have one: 1, the last one, or 0 for none."""
    if len(shape) < 2 or values.ndim != len(shape):
        return 0
    if fits(values.shape[1:], shape[1:]):
        return 1
    return values.ndim - 1 if fits(values.shape[1:], (*shape[2:], shape[1])) else 0


def _are_indices(values: np.ndarray, shape: tuple) -> bool:
    """Is there one target for each position?"""
    if values.ndim == len(shape) - 1:
        return fits(values.shape[1:], shape[2:])
    return values.ndim == len(shape) and fits(_without_one(values.shape[1:], shape[2:]), shape[2:])


def _without_one(sizes: tuple, wanted: tuple) -> tuple:
    """The sizes without an axis of 1, so that they are the wanted ones where that can be."""
    fewer = [(*sizes[:k], *sizes[k + 1 :]) for k, n in enumerate(sizes) if n == 1]
    return next((s for s in fewer if fits(s, wanted)), fewer[0] if fewer else sizes)


def _sizes(values: np.ndarray) -> str:
    return _named("N", *values.shape[1:])


def _named(*sizes: Any) -> str:
    return ", ".join(map(str, sizes))
