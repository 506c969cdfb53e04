"""Appending a loss to a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import takes_graph
from ..errors import GraphError
from ..graph import Builder, Graph, Value
from ..interpreter.shape_inference import infer_shapes
from ..ops import lookup, positive_axes
from ..ops.loss import LOSSES
from ..ops.loss_elementwise import check_reduction
from .output_activation import last_node

ROW_WEIGHTS = ".row_weights"


@takes_graph
def with_loss(
    graph: Graph,
    loss: str,
    *,
    prediction: str | None = None,
    target: str = "target",
    reduction: str = "mean",
    name: str = "loss",
    **options: Any,
) -> Graph:
    """A copy of the graph with an input `target`, and a loss of its prediction as one more output, `name`.

    loss: "mse", "l1", "huber", "bce" (probabilities), "bce_logits"; "cross_entropy" (scores, class indices i64[n]),
        "nll" (log-probabilities, class indices), "soft_cross_entropy" (scores, one-hot or soft labels),
        "distillation" (scores, a teacher's scores; temperature=2: the cross-entropy of softmax(scores / temperature)).
    prediction: which tensor of the graph is compared; default: its only output.
    target: the new input; it has the prediction's batch, so the same graph takes any.
    reduction: "mean", "sum", "rows" (one number per row, the mean over everything else) or "none".  Of rows whose
        classes are weighted or may be ignored, the output `row_weights_of(graph, name)` says how much each counts:
        training and evaluation divide by the sum of these, as torch does, and not by the number of rows.
    options: the operator's other attributes and inputs (ignore_index=, weights=, pos_weight=, delta=, epsilon= ...);
        arrays become constants.  label_smoothing=0.1, of "cross_entropy" and "soft_cross_entropy": the share of each
        target that is spread evenly over the classes, weighted as torch.nn.CrossEntropyLoss weighs it.
    Raises GraphError for an unknown loss or option, a loss with a softmax or sigmoid of its own behind one of the graph
    (unless `prediction` names that output: then it is taken as it stands), shapes that do not follow from the inputs,
    and names that clash.
    """
    if not isinstance(loss, str) or loss not in LOSSES:
        raise GraphError(f"no loss {loss!r}; the losses are {', '.join(LOSSES)}")
    check_reduction(reduction)
    predicted = _prediction(graph, prediction)
    if prediction is None:
        _check_not_twice(graph, loss, str(predicted.name))
    if predicted.shape is None or None in predicted.shape or predicted.dtype is None:
        graph = infer_shapes(graph)
        predicted = _prediction(graph, prediction)
    if not predicted.is_float:
        raise GraphError(
            f"the prediction {predicted} of graph {graph.name!r} is not floating-point: no gradient would start there"
        )
    for new in (target, name):
        if graph.has(new):
            raise GraphError(
                f"graph {graph.name!r} has a tensor {new!r} already: give the {loss!r} loss another "
                f"{'target' if new == target else 'name'}, e.g. {'target' if new == target else 'name'}="
                f"{graph.copy().fresh(new)!r}"
            )
    copy = graph.copy()
    wanted = _declare_target(copy, loss, predicted, target)
    if reduction == "rows" and LOSSES[loss][1] == "classes":
        _add_row_weights(copy, predicted, wanted, name, options)
    if loss == "cross_entropy" and options.get("label_smoothing"):
        return _smoothed_cross_entropy(copy, predicted, wanted, reduction, name, options)
    operator, operands, attrs = _call(Builder(copy, f"{name}/"), copy, loss, predicted, wanted, name, options)
    each = wanted.known_shape  # of the loss before it is reduced
    if operator == "SoftLabelCrossEntropy":
        (axis,) = positive_axes((attrs.get("axis", 1),), len(each), f"axis of the {loss!r} loss")
        each = each[:axis] + each[axis + 1 :]
    attrs["reduction"] = reduction
    if LOSSES[loss][1] == "classes" and reduction == "rows":  # ONNX's operators do not have it
        attrs["reduction"] = "none"
        if len(each) > 1:
            (losses,) = copy.add(operator, operands, attrs, name=copy.fresh(f"{name}/{operator}"))
            operator, operands, attrs = "ReduceMean", [losses, tuple(range(1, len(each)))], {"keepdims": 0}
    copy.add(operator, operands, attrs, names=[name], name=f"{name}/{operator}")
    copy.values[name] = Value(name, {"none": each, "rows": each[:1]}.get(reduction, ()), predicted.dtype)
    copy.output(name)
    return copy


TWICE = {  # what is in the loss already
    "cross_entropy": "Softmax", "soft_cross_entropy": "Softmax", "distillation": "Softmax", "bce_logits": "Sigmoid",
}  # fmt: skip


def _check_not_twice(graph: Graph, loss: str, output: str) -> None:
    """Raise GraphError where what the loss begins with has been done: it would train, to something else."""
    writer = last_node(graph, output)
    if writer is None or writer.op != TWICE.get(loss, "Softmax" if loss == "nll" else None):
        return
    what = "log-probabilities" if loss == "nll" else f"the scores before {writer.op}"
    cure = 'loss "cross_entropy", ' if loss == "nll" else ""
    raise GraphError(
        f"the {loss!r} loss takes {what}, and the output {output!r} of graph {graph.name!r} is written by {writer.op}: "
        f"say {cure}prediction={str(writer.inputs[0])!r}; prediction={output!r} takes it as it stands"
    )


def with_scores(graph: Graph, loss: str) -> tuple[Graph, str | None]:
    """(graph, `prediction` of with_loss), for a graph that may end in the softmax or sigmoid that the loss begins with.

    That is what goes into it, in the shape of the output; None where the loss takes the graph's only output.
    """
    last = last_node(graph, graph.outputs[0]) if len(graph.outputs) == 1 else None
    if last is None or last.op != TWICE.get(loss):
        return graph, None
    scores, output = graph.value(str(last.inputs[0])), graph.value(graph.outputs[0])
    if scores.shape == output.shape:
        return graph, scores.name
    copy = graph.copy()
    scores = Builder(copy, "scores/").ReshapeLike(scores, output)
    return infer_shapes(copy), scores.name


def _declare_target(graph: Graph, loss: str, predicted: Value, target: str) -> Value:
    if LOSSES[loss][1] == "values":
        return graph.input(target, predicted.shape, predicted.known_dtype)
    if len(predicted.known_shape) < 2:
        raise GraphError(
            f"the {loss!r} loss needs a prediction of shape [n, classes] or [n, classes, *positions]; "
            f"{predicted} of graph {graph.name!r} has none for classes"
        )
    return graph.input(target, (predicted.known_shape[0], *predicted.known_shape[2:]), "int64")


def _prediction(graph: Graph, name: str | None) -> Value:
    if name is None:
        if len(graph.outputs) != 1:
            raise GraphError(
                f"graph {graph.name!r} has {len(graph.outputs)} outputs"
                f"{': ' if graph.outputs else ''}{', '.join(map(repr, graph.outputs))}; say which of its "
                f"tensors the loss compares: prediction=..."
            )
        (name,) = graph.outputs
    return graph.value(name)


def _call(
    op: Builder, graph: Graph, loss: str, predicted: Value, wanted: Value, name: str, options: dict[str, Any]
) -> tuple[str, list, dict[str, Any]]:
    """(operator, inputs, attributes) of the loss; its arrays are put into the graph."""
    operator = lookup(LOSSES[loss][0])
    arrays = operator.inputs[2:]
    known = [*arrays, *(a for a in operator.attributes if a != "reduction")]
    options = dict(options)
    if loss == "distillation":
        known.append("temperature")
        temperature = options.pop("temperature", 2.0)
        if not temperature > 0:
            raise GraphError(f"the distillation loss needs a temperature above 0, got {temperature}")
    if loss in ("cross_entropy", "soft_cross_entropy"):
        known.append("label_smoothing")
    share = _share(options)
    odd = [o for o in options if o not in known]
    if odd:
        raise GraphError(
            f"the {loss!r} loss has no option {', '.join(map(repr, odd))}; it has {', '.join(known) or 'none'}"
        )
    operands: list[Any] = [predicted, wanted]
    if loss == "distillation":
        axis = options.get("axis", 1)
        operands = [op.Div(predicted, float(temperature)), op.Softmax(op.Div(wanted, float(temperature)), axis=axis)]
    if share and loss == "soft_cross_entropy":
        count = predicted.known_shape[options.get("axis", 1)]
        if not isinstance(count, int):
            raise GraphError(
                f"label_smoothing spreads over the classes, and {predicted} does not say how many there are"
            )
        operands[1] = op.Add(op.Mul(wanted, 1 - share), share / count)
    options.pop("label_smoothing", None)
    for a in arrays:
        given = options.pop(a, None)
        operands.append(
            None if given is None else graph.constant(graph.fresh(f"{name}.{a}"), np.asarray(given, predicted.dtype))
        )
    while operands[-1] is None:
        operands.pop()
    return operator.name, operands, {k: v for k, v in options.items() if v is not None}


def _smoothed_cross_entropy(
    graph: Graph, predicted: Value, labels: Value, reduction: str, name: str, options: dict[str, Any]
) -> Graph:
    """(1 - s) w[label] (-logp[label]) + s / classes * sum over classes of w (-logp), 0 where the label is ignored.

    The mean is over the weights at the labels.  Source: torch.nn.CrossEntropyLoss.
    """
    share, ignored = _share(options), options.get("ignore_index")
    op, shape = Builder(graph, f"{name}/"), predicted.known_shape
    plain = {k: v for k, v in options.items() if k != "label_smoothing"}
    operator, operands, attrs = _call(op, graph, "cross_entropy", predicted, labels, name, plain)
    if not isinstance(shape[1], int):
        raise GraphError(f"label_smoothing spreads over the classes, and {predicted} does not say how many there are")
    (hard, logp) = graph.add(operator, operands, {**attrs, "reduction": "none"}, outputs=2, name=f"{name}/{operator}")
    weights = operands[2] if len(operands) > 2 else None
    if weights is None:
        spread = op.Mul(op.ReduceSum(logp, (1,), keepdims=0), -share / shape[1])
        counts: Any = None
    else:
        per_class = graph.producers[weights.name].data.reshape(-1, *(1,) * (len(shape) - 2))
        spread = op.Mul(op.ReduceSum(op.Mul(logp, per_class), (1,), keepdims=0), -share / shape[1])
        counts = op.Gather(weights, labels if ignored is None else op.Where(op.Equal(labels, ignored), 0, labels))
    if ignored is not None:
        left_out = op.Equal(labels, ignored)
        spread = op.Where(left_out, 0.0, spread)
        counts = op.CastLike(op.Not(left_out), logp) if counts is None else op.Where(left_out, 0.0, counts)
    each = op.Add(op.Mul(hard, 1 - share), spread)
    positions = tuple(range(1, len(shape) - 1))
    if reduction == "rows" and positions:
        graph.add("ReduceMean", [each, positions], {"keepdims": 0}, names=[name], name=name)
    elif reduction in ("rows", "none"):
        graph.add("Identity", [each], names=[name], name=name)
    elif reduction == "sum":
        graph.add("ReduceSum", [each], {"keepdims": 0}, names=[name], name=name)
    elif counts is None:
        graph.add("ReduceMean", [each], {"keepdims": 0}, names=[name], name=name)
    else:
        total = op.ReduceSum(counts, keepdims=0)
        total = op.Where(op.Equal(total, 0.0), 1.0, total)  # a mean over nothing is 0
        graph.add("Div", [op.ReduceSum(each, keepdims=0), total], names=[name], name=name)
    graph.output(name)
    return infer_shapes(graph)


def _add_row_weights(graph: Graph, predicted: Value, labels: Value, name: str, options: dict[str, Any]) -> None:
    """The output of `row_weights_of`: the mean over a row's positions of the weights at its labels, 0 where ignored."""
    weights = next((options[k] for k in ("weights", "weight") if options.get(k) is not None), None)
    ignored = options.get("ignore_index")
    if weights is None and ignored is None:
        return
    op = Builder(graph, f"{name}/")
    ones = op.Sub(op.ZerosLike(predicted), 1.0)  # whose negative likelihood is 1, so that its loss is the weight
    of_class = None if weights is None else np.asarray(weights, predicted.dtype)
    each = op.NegativeLogLikelihoodLoss(ones, labels, of_class, reduction="none", ignore_index=ignored)
    total = name + ROW_WEIGHTS
    if positions := tuple(range(1, len(predicted.known_shape) - 1)):
        graph.add("ReduceMean", [each, positions], {"keepdims": 0}, names=[total], name=total)
    else:
        graph.add("Identity", [each], names=[total], name=total)
    graph.values[total] = Value(total, predicted.known_shape[:1], predicted.dtype)
    graph.output(total)


def row_weights_of(graph: Graph, loss: str) -> str | None:
    """The output that says how much each row of a loss per row counts, f[n]; None where each counts 1."""
    return loss + ROW_WEIGHTS if loss + ROW_WEIGHTS in graph.outputs else None


def _share(options: dict[str, Any]) -> float:
    share = options.get("label_smoothing") or 0.0
    if not 0 <= share <= 1:
        raise GraphError(f"label_smoothing is a share from 0 to 1, got {share}")
    return float(share)


def label_inputs(graph: Graph) -> dict[str, int]:
    """{input that holds class indices: how many classes}, as far as the graph's losses and their shapes tell.

    Labels that may be ignored (ignore_index) are not among them.
    """
    found = {}
    for node in graph.nodes:
        if node.op in ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss") and node.inputs[1] in graph.inputs:
            shape = graph.value(node.inputs[0]).shape
            if node.attrs.get("ignore_index") is None and shape is not None and isinstance(shape[1], int):
                found[node.inputs[1]] = shape[1]
    return found
