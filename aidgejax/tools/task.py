"""What a model is trained for: the loss that fits its output and the targets, and how results are scored.

task = fit_task(graph, columns)       # columns: {"x": ..., "target": ...}
task.graph, task.columns              # with the loss appended, and the targets as it takes them
print(task.summary)                      # "cross_entropy on z, the scores before Softmax 'prob'"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..errors import DataError, SettingError
from ..graph import Builder, Graph, Node
from ..interpreter.shape_inference import infer_shapes
from ..passes.loss import LOSSES, row_weights_of, with_loss
from ..passes.output_activation import last_node
from ..training import metrics
from ..training.columns import target_of
from .targets import Targets, are_shares, class_axis, class_weights, kind_for

LOSS = "aidgejax.loss"  # in the metadata: which loss was taken, and why
OPTIONS_OF_CLASSES = {  # {loss: which of the options it takes that are about classes}
    "cross_entropy": ("weights", "ignore_index", "label_smoothing"), "nll": ("weights", "ignore_index"),
    "soft_cross_entropy": ("label_smoothing",), "bce_logits": ("weights",),
}  # fmt: skip
Metric = Callable[[dict[str, Any], dict[str, Any]], Any]


@dataclass(frozen=True)
class Task:
    """graph: with the output "loss", one number per row.  asked: the loss by the name that `fit_task` takes.

    prediction: the output that is scored; of several, the first.  axis: where its classes are.
    score: the metric that is reported, or "loss".
    """

    graph: Graph
    columns: dict[str, np.ndarray]
    loss: str
    prediction: str
    summary: str
    metrics: dict[str, Metric] = field(default_factory=dict)
    adapt: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] = dict
    asked: str = ""
    axis: int = 1

    @property
    def score(self) -> str:
        return next(iter(self.metrics), "loss")


def fit_task(
    graph: Graph,
    columns: Mapping[str, np.ndarray],
    loss: str | None = None,
    *,
    output: str | Sequence[str] | None = None,
    target: str = "target",
    **options: Any,
) -> Task:
    """The graph with a loss for these targets.

    loss: a name of with_loss; default: what the targets are.  Class indices, for rows or for positions, also with an
        axis of 1 among them, or as floats where nothing else fits: cross_entropy.  One-hot rows: cross_entropy too.
        0 and 1 for one logit, or for one per position: bce_logits.  Shares of classes: soft_cross_entropy.  Else mse.
        Behind a Softmax or a Sigmoid the loss takes what goes in; classes that come last are moved for the loss.
    output: which output is compared, where there are several; of a list of them the losses are added, and the targets
        are the columns that are named after them: `cls`, `cls_target`, `target_cls`.  Default: those that have one.
    options: the loss's own: ignore_index, label_smoothing, weights (of classes; "balanced": by how rare each is) ..
    Parameters that do not reach the loss are left alone.
    Raises SettingError for a loss that does not fit, DataError for targets that do not.
    """
    graph = infer_shapes(graph)
    several = _several(graph, columns, output)
    if several:
        fitted = _fit_several(graph, columns, loss, several, options)
    else:
        chosen = output if output is None or isinstance(output, str) else output[0]
        fitted = _fit_one(graph, columns, loss, _output(graph, chosen), target, "loss", options)
    made = _left_alone(infer_shapes(fitted.graph))
    made.metadata[LOSS] = fitted.summary
    return replace(fitted, graph=made)


def _fit_one(
    graph: Graph,
    columns: Mapping[str, np.ndarray],
    loss: str | None,
    prediction: str,
    target: str,
    name: str,
    options: Mapping[str, Any],
    one_of_several: bool = False,
) -> Task:
    """The graph with one loss, of one output; of several, options of classes are for those that have classes."""
    options = dict(options)
    if target not in columns:
        raise DataError(
            f"the data lacks the targets: call an array target, y or label; it has {', '.join(map(repr, columns))}"
        )
    values = np.asarray(columns[target])
    writer = graph.writer()
    last = last_node(graph, prediction)
    if (one := _complement(graph, writer, last)) and loss in (None, "bce_logits"):
        prediction, last = one, last_node(graph, one)
    shape = graph.value(prediction).shape or ()
    axis = class_axis(shape, values, last)
    ordered = (shape[0], shape[axis], *(d for k, d in enumerate(shape) if k not in (0, axis))) if axis > 1 else shape
    kind, why = (loss, "") if loss else kind_for(values, ordered, last)
    if kind not in LOSSES:
        raise SettingError(f"no loss {kind!r}; the losses are {', '.join(LOSSES)}")
    if kind == "cross_entropy" and are_shares(values, ordered):
        kind, why = "soft_cross_entropy", ", whose targets are shares of classes"
    if one_of_several:
        others = {*OPTIONS_OF_CLASSES["cross_entropy"]} - {*OPTIONS_OF_CLASSES.get(kind, ())}
        options = {k: v for k, v in options.items() if k not in others}
    asked, (compared, note) = kind, _compared(kind, prediction, last)
    given = Targets(kind, ordered, values)
    if given.classes or kind in ("soft_cross_entropy", "distillation"):
        note += f", its classes on axis {axis}" if axis > 1 else ""
    else:
        given, axis = Targets(kind, shape, values), 1
    if (weights := options.pop("weights", None)) is not None:
        options |= class_weights(weights, given, values, options.get("ignore_index"))
    summary = f"{kind} on {compared}{note}{why}"
    taken = given.taken(values)
    if axis > 1 or graph.value(compared).shape != shape:
        graph = graph.copy()
        op, scores = Builder(graph, f"{name}/"), graph.value(compared)
        if scores.shape != shape:
            scores = op.ReshapeLike(scores, graph.value(prediction))
        if axis > 1:
            scores = op.Transpose(scores, perm=(0, axis, *(k for k in range(1, len(shape)) if k != axis)))
        compared, graph = str(scores.name), infer_shapes(graph)
    made = with_loss(graph, kind, prediction=compared, target=target, name=name, reduction="rows", **options)
    if compared != prediction and prediction not in made.outputs:
        made.output(prediction)

    def adapt(other: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if target not in other:
            return dict(other)
        theirs = np.asarray(other[target])
        return {**other, target: taken if theirs is values else given.taken(theirs)}

    metrics = _metrics(given, prediction, target, last, axis, options.get("ignore_index"))
    return Task(made, adapt(columns), kind, prediction, summary, metrics, adapt, asked, axis)


def _several(graph: Graph, columns: Mapping[str, np.ndarray], output: str | Sequence[str] | None) -> dict[str, str]:
    """{output: the column of its targets}, where more than one is compared."""
    asked = None if output is None else [output] if isinstance(output, str) else list(output)
    found = {o: c for o in asked or graph.outputs if (c := target_of(o, columns))}
    if asked is None:
        return found if "target" not in columns and found else {}
    if unknown := [o for o in asked if o not in graph.outputs]:
        raise SettingError(f"model {graph.name!r} has no output {unknown[0]!r}; it has {_listed(graph.outputs)}")
    if len(asked) > 1 and (lacking := [o for o in asked if o not in found]):
        raise DataError(
            f"the data lacks the targets of {_listed(lacking)}: call them {lacking[0]!r} or "
            f"{lacking[0] + '_target'!r}; it has {_listed(columns)}"
        )
    return found if len(asked) > 1 or (found and "target" not in columns) else {}


def _fit_several(
    graph: Graph, columns: Mapping[str, np.ndarray], loss: str | None, targets: Mapping[str, str], options: Any
) -> Task:
    """The graph with a loss for each output, and with their sum."""
    parts: dict[str, Task] = {}
    given = graph
    rows, taken = dict(columns), {}
    for o, column in targets.items():
        name = f"{o}_target"
        taken[name] = column
        parts[o] = _fit_one(graph, {name: rows[column]}, loss, o, name, f"{o}_loss", options, True)
        graph = infer_shapes(parts[o].graph)
    used = {k for p in parts.values() for k in OPTIONS_OF_CLASSES.get(p.loss, ())}
    if not options.keys() & {*OPTIONS_OF_CLASSES["cross_entropy"]} <= used:
        o, name = next(iter(parts)), next(iter(taken))
        _fit_one(given, {name: rows[taken[name]]}, loss, o, name, f"{o}_loss", options)  # which says that it has none
    copy = graph.copy()
    losses = [_of_batch(copy, f"{o}_loss") for o in parts]
    copy.add("Sum", losses, {}, names=["loss"], name="loss/Sum")
    copy.output("loss")

    def adapt(other: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        made = dict(other)
        for p, (name, column) in zip(parts.values(), taken.items(), strict=True):
            if name not in other and column in other:
                made |= p.adapt({name: np.asarray(other[column])})
        return made

    first = next(iter(parts.values()))
    return Task(
        graph=copy,
        columns=adapt(columns),
        loss="+".join(p.loss for p in parts.values()),
        prediction=first.prediction,
        summary=" + ".join(p.summary for p in parts.values()),
        metrics={f"{o}_{k}": m for o, p in parts.items() for k, m in p.metrics.items()},
        adapt=adapt,
        asked=loss or "",
        axis=first.axis,
    )


def _of_batch(graph: Graph, loss: str) -> str:
    """A loss per row whose mean over the rows is that of the batch, where classes of it are weighted or ignored: those
    of several losses are added, and each is divided by weights of its own."""
    total = row_weights_of(graph, loss)
    if total is None:
        return loss
    graph.outputs.remove(total)
    op = Builder(graph, f"{loss}/")
    mean = op.ReduceMean(graph.value(total), keepdims=0)
    return str(op.Div(graph.value(loss), op.Where(op.Equal(mean, 0.0), 1.0, mean)).name)


def _left_alone(graph: Graph) -> Graph:
    """What does not reach the loss is not trained for it."""
    reached = {"loss"}
    for node in reversed(graph.nodes):
        if reached.intersection(node.output_names):
            reached.update(node.input_names)
    copy = graph.copy()
    for name in graph.params:
        if name not in reached:
            copy.producers[name].role, copy.producers[name].why = "constant", "does not reach the loss"
    return copy


def _output(graph: Graph, output: str | None) -> str:
    if output is not None:
        if output not in graph.outputs:
            raise SettingError(f"model {graph.name!r} has no output {output!r}; it has {_listed(graph.outputs)}")
        return output
    floats = [o for o in graph.outputs if graph.value(o).is_float]
    if len(floats) != 1:
        raise SettingError(
            f"model {graph.name!r} has {len(graph.outputs)} outputs ({', '.join(graph.outputs)}): say which one the "
            f"loss compares, --output NAME, or name arrays of targets after the outputs"
        )
    return floats[0]


def compared(graph: Graph, loss: str, prediction: str | None = None) -> tuple[str, str]:
    """(the tensor that a loss takes of a prediction, what to say of it, or "").

    Of an output behind a Softmax or a Sigmoid that is what goes in, as in `fit_task`.  prediction: None for the only
    output of numbers.  Raises SettingError where there are several.
    """
    output = _output(graph, prediction)
    return _compared(loss, output, last_node(graph, output))


def _complement(graph: Graph, writer: Mapping[str, Node], last: Node | None) -> str:
    """p of the two columns 1 - p and p, where a Sigmoid writes it: how binary classifiers of scikit-learn end."""
    if last is None or last.op != "Concat" or len(last.inputs) != 2:
        return ""
    other, p = last.inputs
    sub = writer.get(str(other))
    node = last_node(graph, str(p))
    same = sub is not None and sub.op == "Sub" and sub.inputs[1] == p
    return str(p) if same and node is not None and node.op == "Sigmoid" else ""


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


def _metrics(
    given: Targets, prediction: str, target: str, last: Node | None, axis: int, ignored: int | None
) -> dict[str, Metric]:
    if given.classes or given.kind == "soft_cross_entropy":
        rank = len(given.shape)

        def accuracy(outputs: dict[str, Any], batch: dict[str, Any]) -> Any:
            labels = _indices(batch[target], rank)
            right = metrics.accuracy(outputs[prediction], labels, axis=axis)
            right = right.reshape(right.shape[0], -1)
            if ignored is None or rank == 2:
                return jnp.mean(right, axis=1)
            counts = labels.reshape(right.shape) != ignored
            return jnp.sum(right * counts, axis=1) / jnp.maximum(jnp.sum(counts, axis=1), 1)

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


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
