"""What a model is trained for: the loss that fits its output and the targets, and how results are scored.

task = fit_task(graph, columns)       # columns: {"x": ..., "target": ...}
task.graph, task.columns              # with the loss appended, and the targets as it takes them
print(task.said)                      # "cross_entropy on z, the scores before Softmax 'prob'"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..errors import DataError, SettingError
from ..graph import Graph, Node
from ..interpreter.shape_inference import infer_shapes
from ..passes.loss import LOSSES, with_loss
from ..training import metrics

LOSS = "aidgejax.loss"  # in the metadata: which loss was taken, and why
HANDED_ON = ("Identity", "Cast", "Reshape", "Squeeze", "Flatten")
Metric = Callable[[dict[str, Any], dict[str, Any]], Any]


@dataclass(frozen=True)
class Task:
    """graph: with the output "loss", one number per row.  asked: the loss by the name that `fit_task` takes.

    score: the metric that is reported, or "loss".
    """

    graph: Graph
    columns: dict[str, np.ndarray]
    loss: str
    prediction: str
    said: str
    metrics: dict[str, Metric] = field(default_factory=dict)
    adapt: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] = dict
    asked: str = ""

    @property
    def score(self) -> str:
        return next(iter(self.metrics), "loss")


def fit_task(
    graph: Graph,
    columns: Mapping[str, np.ndarray],
    loss: str | None = None,
    *,
    output: str | None = None,
    target: str = "target",
    **options: Any,
) -> Task:
    """The graph with a loss for these targets.

    loss: a name of with_loss; default: what the targets are.  Class indices, for rows or for positions, also with an
        axis of 1 behind them: cross_entropy.  One-hot rows: cross_entropy too.  0 and 1 for one logit: bce_logits.
        Else mse.  Behind a Softmax or a Sigmoid the loss takes what goes in.
    output: which output is compared, where there are several.
    options: the loss's own: ignore_index, label_smoothing, weights (of classes; "balanced": by how rare each is) ..
    Raises SettingError for a loss that does not fit, DataError for targets that do not.
    """
    graph = infer_shapes(graph)
    prediction = _output(graph, output)
    if target not in columns:
        raise DataError(
            f"the data lacks the targets: call an array target, y or label; it has {', '.join(map(repr, columns))}"
        )
    values = np.asarray(columns[target])
    writer = graph.writer()
    last = _writer(graph, writer, prediction)
    if (one := _complement(graph, writer, last)) and loss in (None, "bce_logits"):
        prediction, last = one, _writer(graph, writer, one)
    shape = graph.value(prediction).shape or ()
    kind = loss or _kind(values, shape, last, options)
    if kind not in LOSSES:
        raise SettingError(f"no loss {kind!r}; the losses are {', '.join(LOSSES)}")
    asked, (compared, note) = kind, _compared(kind, prediction, last)
    given = _Targets(kind, shape, values)
    if options.get("weights") is not None:
        options["weights"] = _class_weights(options["weights"], kind, given, values, options.get("ignore_index"))
    smoothing = options.pop("label_smoothing", 0.0)
    if smoothing:
        if kind != "cross_entropy":
            raise SettingError(f"label_smoothing is of cross_entropy, not of {kind}")
        if both := [k for k in ("weights", "ignore_index") if options.get(k) is not None]:
            raise SettingError(f"label_smoothing and {both[0]} do not go together: leave one of them out")
        given, kind = _Smoothed(given.kind, shape, given.values, given, smoothing), "soft_cross_entropy"
    made = with_loss(graph, kind, prediction=compared, target=target, reduction="rows", **options)
    if compared != prediction and prediction not in made.outputs:
        made.output(prediction)
    said = f"{kind} on {compared}{note}"
    made = infer_shapes(made)
    made.metadata[LOSS] = said

    def adapt(other: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**other, target: given.taken(np.asarray(other[target]))} if target in other else dict(other)

    return Task(made, adapt(columns), kind, prediction, said, _metrics(given, prediction, target, last), adapt, asked)


def _output(graph: Graph, output: str | None) -> str:
    if output is not None:
        if output not in graph.outputs:
            raise SettingError(
                f"model {graph.name!r} has no output {output!r}; it has {', '.join(map(repr, graph.outputs))}"
            )
        return output
    floats = [o for o in graph.outputs if graph.value(o).is_float]
    if len(floats) != 1:
        raise SettingError(
            f"model {graph.name!r} has {len(graph.outputs)} outputs ({', '.join(graph.outputs)}): say which one the "
            f"loss compares, --output NAME"
        )
    return floats[0]


def _writer(graph: Graph, writer: Mapping[str, Node], tensor: str) -> Node | None:
    """The node that computes a tensor, past what only hands on."""
    node = writer.get(tensor)
    while node is not None and node.op in HANDED_ON:
        before = graph.value(node.inputs[0]).shape
        if before != graph.value(tensor).shape:
            return node
        node = writer.get(node.inputs[0])
    return node


def _complement(graph: Graph, writer: Mapping[str, Node], last: Node | None) -> str:
    """p of the two columns 1 - p and p, where a Sigmoid writes it: how binary classifiers of scikit-learn end."""
    if last is None or last.op != "Concat" or len(last.inputs) != 2:
        return ""
    other, p = last.inputs
    sub = writer.get(str(other))
    node = _writer(graph, writer, str(p))
    same = sub is not None and sub.op == "Sub" and sub.inputs[1] == p
    return str(p) if same and node is not None and node.op == "Sigmoid" else ""


def _kind(values: np.ndarray, shape: tuple, last: Node | None, options: Mapping[str, Any]) -> str:
    whole = values.dtype.kind in "iub"
    sigmoid = last is not None and last.op == "Sigmoid"
    one = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
    binary = bool(np.isin(values, (0, 1)).all()) if values.size else False
    flat = values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)
    if one and flat and binary and (whole or sigmoid):
        return "bce_logits"
    if whole and not one and len(shape) > 1:
        indices = values.ndim == len(shape) - 1 or (values.ndim == len(shape) and values.shape[1] == 1)
        if indices:
            return "cross_entropy"
    if values.ndim == len(shape) and len(shape) > 1 and binary and values.shape[1] == shape[1] and not one:
        if sigmoid:
            return "bce_logits"
        if np.all(values.astype(np.float64).sum(1) == 1):
            return "cross_entropy"
        return "bce_logits" if whole else "mse"
    if sigmoid and binary:
        return "bce_logits"
    return "mse"


def _compared(kind: str, prediction: str, last: Node | None) -> tuple[str, str]:
    """The tensor that the loss takes, and what to say of it."""
    if last is None:
        return prediction, ""
    op = last.op
    if op in ("Softmax", "LogSoftmax") and kind in ("cross_entropy", "soft_cross_entropy", "distillation"):
        return str(last.inputs[0]), f", the scores before {op} {prediction!r}"
    if op == "Softmax" and kind == "nll":
        raise SettingError(
            f"nll takes log-probabilities, and {prediction!r} is written by Softmax: take cross_entropy, which goes "
            f"before it"
        )
    if op == "Sigmoid" and kind in ("bce_logits", "bce"):
        if kind == "bce_logits":
            return str(last.inputs[0]), f", the logits before Sigmoid {prediction!r}"
    return prediction, ""


@dataclass(frozen=True)
class _Targets:
    """Targets in the form that the loss takes."""

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
        rank = len(self.shape)
        if self.classes:
            if values.ndim == rank and values.shape[1] == 1 and self.shape[1] != 1:
                values = values[:, 0]
            elif values.ndim == rank and values.shape[1:] == tuple(self.shape[1:]) and np.isin(values, (0, 1)).all():
                values = values.argmax(1)  # one-hot
            if values.dtype.kind == "b":
                values = values.astype(np.int64)
            if values.dtype.kind == "f":
                if not np.array_equal(values, np.round(values)):
                    raise DataError(
                        f"{self.kind} takes class indices, int64[N]; the targets are {values.dtype}[{_sizes(values)}] "
                        f"with fractions: take mse, or soft_cross_entropy"
                    )
                values = values.astype(np.int64)
            if values.ndim != rank - 1:
                raise DataError(
                    f"{self.kind} takes class indices, int64[{', '.join(map(str, ('N', *self.shape[2:])))}]; the "
                    f"targets are {values.dtype}[{_sizes(values)}]"
                )
            return values
        if values.ndim == rank - 1 and self.shape[-1] == 1:
            values = values[..., None]
        elif values.ndim == rank + 1 and values.shape[-1] == 1:
            values = values[..., 0]
        if values.dtype.kind in "iub":
            values = values.astype(np.float32)
        sizes = zip(values.shape[1:], self.shape[1:], strict=False)
        if values.ndim != rank or any(isinstance(d, int) and d != n for n, d in sizes):
            raise DataError(
                f"{self.kind} compares with {', '.join(map(str, self.shape))}; the targets are "
                f"{values.dtype}[{_sizes(values)}]"
            )
        return values


@dataclass(frozen=True)
class _Smoothed(_Targets):
    """One-hot rows, a share of each spread over all classes."""

    inner: _Targets
    share: float

    def taken(self, values: np.ndarray) -> np.ndarray:
        count = int(self.shape[1])
        hot = np.eye(count, dtype=np.float32)[self.inner.taken(values)]
        hot = np.moveaxis(hot, -1, 1)
        return np.asarray(hot * (1 - self.share) + self.share / count, np.float32)


def _class_weights(wanted: Any, kind: str, given: _Targets, values: np.ndarray, ignored: int | None) -> np.ndarray:
    """One weight for each class; "balanced": rows / (classes * rows of the class), as scikit-learn has it."""
    if not given.classes:
        raise SettingError(f"class weights are of cross_entropy and nll, not of {kind}")
    count = int(given.shape[1])
    if isinstance(wanted, str):
        if wanted != "balanced":
            raise SettingError(f"class weights are {wanted!r}; expected balanced, or {count} numbers")
        labels = given.taken(values).ravel()
        held = np.bincount(labels[(labels >= 0) & (labels < count) & (labels != ignored)], minlength=count)
        return np.asarray(held.sum() / (count * np.maximum(held, 1)), np.float32)
    weights = np.asarray(wanted, np.float32)
    if weights.shape != (count,) or not np.all(weights >= 0):
        raise SettingError(
            f"class weights are {weights.tolist()}; expected {count} numbers of 0 or more, one per class"
        )
    return weights


def _sizes(values: np.ndarray) -> str:
    return ", ".join(map(str, values.shape))


def _metrics(given: _Targets, prediction: str, target: str, last: Node | None) -> dict[str, Metric]:
    if given.classes:
        rank = len(given.shape)

        def accuracy(outputs: dict[str, Any], batch: dict[str, Any]) -> Any:
            right = metrics.accuracy(outputs[prediction], _indices(batch[target], rank), axis=1)
            return jnp.mean(right.reshape(right.shape[0], -1), axis=1)

        return {"accuracy": accuracy}
    if given.binary:
        threshold = 0.0 if given.kind == "bce_logits" and not (last is not None and last.op == "Sigmoid") else 0.5

        def agreement(outputs: dict[str, Any], batch: dict[str, Any]) -> Any:
            right = (outputs[prediction] > threshold) == (batch[target] > 0.5)
            return jnp.mean(right.reshape(right.shape[0], -1).astype("float32"), axis=1)

        return {"accuracy": agreement}
    return {}


def _indices(target: Any, rank: int) -> Any:
    return jnp.argmax(target, axis=1) if target.ndim == rank else target
