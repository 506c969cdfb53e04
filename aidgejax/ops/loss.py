"""Losses against classes, and `with_loss`, which appends any loss to a graph.

Class scores are [n, c, *positions]: classes on axis 1, as ONNX and torch have it.  The losses of regression and of
independent yes-or-no outputs are in loss_elementwise.py.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ..graph import Builder, Graph, Value
from ._operator import lookup, operator, positive_axes
from .loss_elementwise import check_reduction, reduced, reduced_onnx, share

ONNX_REDUCTIONS = ("mean", "sum", "none")


# ---- classes given by their index ---------------------------------------------------------------------


def check_labels(scores, labels, weights, reduction):
    """Raise GraphError unless labels say one class per position, and weights one number per class."""
    check_reduction(reduction, ONNX_REDUCTIONS)
    shape = jnp.shape(scores)
    if len(shape) < 2:
        raise GraphError(f"scores have shape {list(shape)}: expected [n, classes] or [n, classes, *positions]")
    expected = (shape[0], *shape[2:])
    if jnp.shape(labels) != expected:
        raise GraphError(
            f"labels have shape {list(jnp.shape(labels))}, scores {list(shape)}: expected one class "
            f"index per row and position, {list(expected)}"
        )
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise GraphError(
            f"labels have dtype {jnp.result_type(labels)}: expected class indices, int64 or int32; "
            f"for one-hot or soft labels use SoftLabelCrossEntropy"
        )
    if weights is not None and jnp.shape(weights) != (shape[1],):
        raise GraphError(f"weights have shape {list(jnp.shape(weights))}: expected one per class, [{shape[1]}]")


def position_weights(labels, weights, ignore_index, like):
    """The weight of each position: its class's, 0 where it is ignored.  i[n, *d] -> f[n, *d]."""
    if weights is None:
        w = jnp.ones(labels.shape, jnp.result_type(like))
    else:
        w = jnp.take(weights, labels, mode="clip")
    return w if ignore_index is None else jnp.where(labels == ignore_index, 0, w)


def likelihood(logp, labels, weights, reduction, ignore_index):
    """-logp at the labels, weighted and reduced.  NaN for a label that is neither a class nor ignored."""
    labels = jnp.asarray(labels)
    nearest = jnp.clip(labels, 0, logp.shape[1] - 1)
    at_label = jnp.squeeze(jnp.take_along_axis(logp, jnp.expand_dims(nearest, 1), axis=1), 1)
    w = position_weights(labels, weights, ignore_index, logp)
    loss = -w * jnp.where(labels == nearest, at_label, jnp.nan)
    if ignore_index is not None:
        loss = jnp.where(labels == ignore_index, 0, loss)
    if reduction == "none":
        return loss
    return jnp.sum(loss) if reduction == "sum" else jnp.sum(loss) / jnp.sum(w)


def weights_at_labels(d_loss, labels, weights, reduction, ignore_index, like):
    """(c, w): c f[n, 1, *d] multiplies each position of d loss / d logp = -w, w f[n, c, *d], zero but at the label."""
    labels = jnp.asarray(labels)
    w = position_weights(labels, weights, ignore_index, like)
    if reduction == "mean":
        d_loss = d_loss / jnp.sum(w)
    w = jnp.expand_dims(w * d_loss, 1)
    classes = jnp.arange(like.shape[1], dtype=labels.dtype).reshape(-1, *[1] * (labels.ndim - 1))
    return w, jnp.where(jnp.expand_dims(labels, 1) == classes, w, 0)


def weights_at_labels_onnx(op, d_loss, labels, weights, reduction, ignore_index, like):
    """The same in standard operators."""
    if like.shape is None or not isinstance(like.shape[1], int):
        raise GraphError(
            f"the gradient of a loss over classes needs to know their number to be spelled in standard "
            f"operators; {like} does not say it on axis 1"
        )
    positions = (1,) * (like.rank - 2)
    classes = np.arange(like.shape[1], dtype=labels.dtype or "int64").reshape(-1, *positions)
    label = op.Unsqueeze(labels, (1,))
    hit = op.Equal(label, classes)
    if ignore_index is not None:
        hit = op.And(hit, op.Not(op.Equal(label, ignore_index)))
    hit = op.CastLike(hit, like)
    w = hit if weights is None else op.Mul(hit, op.Reshape(weights, (-1, *positions)))
    if reduction == "mean":
        d_loss = op.Div(d_loss, op.ReduceSum(w, keepdims=0))
    elif reduction == "none":
        d_loss = op.Unsqueeze(d_loss, (1,))
    w = op.Mul(w, d_loss)
    return op.ReduceSum(w, (1,), keepdims=1), w


def class_weights_vjp(op, logp, labels, weights, loss, d_loss, reduction, ignore_index):
    """The gradient that reaches class weights: the unweighted loss of each class's positions."""
    if weights is None:
        return None
    each = op.NegativeLogLikelihoodLoss(logp, labels, reduction="none", ignore_index=ignore_index)
    if reduction == "mean":
        ones = op.Sub(op.ZerosLike(logp), 1.0)
        total = op.NegativeLogLikelihoodLoss(ones, labels, weights, reduction="sum", ignore_index=ignore_index)
        each = op.Div(op.Sub(each, loss), total)
    each = op.Mul(each, d_loss)
    at_label = op.Neg(op.NegativeLogLikelihoodLossGrad(each, logp, labels, reduction="none", ignore_index=ignore_index))
    positions = tuple(range(2, logp.rank))
    return op.ReduceSum(at_label, (0, *positions), keepdims=0)


def nll_vjp(op, input, target, weight, loss, d_loss, *, reduction, ignore_index):
    dx = op.NegativeLogLikelihoodLossGrad(d_loss, input, target, weight, reduction=reduction, ignore_index=ignore_index)
    return dx, None, class_weights_vjp(op, input, target, weight, loss, d_loss, reduction, ignore_index)


@operator("NegativeLogLikelihoodLoss", onnx=("", 13), vjp=nll_vjp)
def negative_log_likelihood_loss(input, target, weight=None, *, ignore_index=None, reduction="mean"):
    """-weight[target] * input at target, reduced.  f[n, c, *d], i[n, *d], f[c] -> f[] or f[n, *d].

    input: log-probabilities.  mean: divided by the sum of the weights of what is not ignored.  A target that is
    neither a class nor ignored makes NaN.  ONNX NegativeLogLikelihoodLoss-13.
    """
    check_labels(input, target, weight, reduction)
    return likelihood(input, target, weight, reduction, ignore_index)


def nll_grad_onnx(op, d_loss, input, target, weight, *, reduction, ignore_index):
    return op.Neg(weights_at_labels_onnx(op, d_loss, target, weight, reduction, ignore_index, input)[1])


@operator("NegativeLogLikelihoodLossGrad", decompose=nll_grad_onnx)
def negative_log_likelihood_loss_grad(d_loss, input, target, weight=None, *, ignore_index=None, reduction="mean"):
    """-d_loss * weight[target] where c is target, else 0.  f[], f[n, c, *d], i[n, *d], f[c] -> f[n, c, *d].

    mean: divided by the sum of the weights; none: d_loss is f[n, *d].  Of input the shape alone matters."""
    return -weights_at_labels(d_loss, target, weight, reduction, ignore_index, input)[1]


def log_softmax(x, axis):
    shifted = x - jnp.max(x, axis=axis, keepdims=True)
    return shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis=axis, keepdims=True))


def log_softmax_vjp(op, logp, d_logp, axis):
    """What a cotangent of log_prob adds to the gradient of the scores."""
    return op.Sub(d_logp, op.Mul(op.Exp(logp), op.ReduceSum(d_logp, (axis,), keepdims=1)))


def softmax_cross_entropy_vjp(op, scores, labels, weights, loss, logp, d_loss, d_logp, *, reduction, ignore_index):
    dx = dw = None
    if d_loss is not None:
        dx = op.SoftmaxCrossEntropyLossGrad(
            d_loss, logp, labels, weights, reduction=reduction, ignore_index=ignore_index
        )
        dw = class_weights_vjp(op, logp, labels, weights, loss, d_loss, reduction, ignore_index)
    if d_logp is not None:
        more = log_softmax_vjp(op, logp, d_logp, 1)
        dx = more if dx is None else op.Add(dx, more)
    return dx, None, dw


@operator("SoftmaxCrossEntropyLoss", onnx=("", 13), vjp=softmax_cross_entropy_vjp, outputs=2, saves=(1,))
def softmax_cross_entropy_loss(scores, labels, weights=None, *, ignore_index=None, reduction="mean"):
    """-weights[label] * logp[label], logp = log softmax(scores).  f[n, c, *d], i[n, *d], f[c] -> f[], f[n, c, *d].

    reduction: none gives f[n, *d]; mean divides by the sum of the weights of what is not ignored (NaN where all is).
    A label that is neither a class nor ignored makes NaN.  ONNX SoftmaxCrossEntropyLoss-13.
    """
    check_labels(scores, labels, weights, reduction)
    logp = log_softmax(scores, 1)
    return likelihood(logp, labels, weights, reduction, ignore_index), logp


def softmax_cross_entropy_grad_onnx(op, d_loss, logp, labels, weights, *, reduction, ignore_index):
    c, w = weights_at_labels_onnx(op, d_loss, labels, weights, reduction, ignore_index, logp)
    return op.Sub(op.Mul(op.Exp(logp), c), w)


@operator("SoftmaxCrossEntropyLossGrad", decompose=softmax_cross_entropy_grad_onnx)
def softmax_cross_entropy_loss_grad(d_loss, log_prob, labels, weights=None, *, ignore_index=None, reduction="mean"):
    """d_loss * weights[label] * (softmax - onehot(label)).  f[], f[n, c, *d], i[n, *d], f[c] -> f[n, c, *d].

    mean: divided by the sum of the weights; none: d_loss is f[n, *d].  Nothing reaches ignored rows, whatever number
    marks them."""
    c, w = weights_at_labels(d_loss, labels, weights, reduction, ignore_index, log_prob)
    return jnp.exp(log_prob) * c - w


# ---- classes given by their probabilities -------------------------------------------------------------


def soft_label_cross_entropy_vjp(op, scores, target, loss, logp, d_loss, d_logp, *, axis, reduction, assume_normalized):
    axis = axis % scores.rank
    dx = dt = None
    if d_loss is not None:
        total = op.ReduceSum(target, (axis,), keepdims=0)
        c = share(op, d_loss, total, reduction, scores.rank - 1)
        c = op.Unsqueeze(c, (axis,)) if reduction in ("none", "rows") else c
        p = op.Exp(logp)
        p = p if assume_normalized else op.Mul(p, op.Unsqueeze(total, (axis,)))
        dx, dt = op.Mul(c, op.Sub(p, target)), op.Neg(op.Mul(c, logp))
    if d_logp is not None:
        more = log_softmax_vjp(op, logp, d_logp, axis)
        dx = more if dx is None else op.Add(dx, more)
    return dx, dt


def soft_label_cross_entropy_onnx(op, scores, target, *, axis, reduction, assume_normalized):
    logp = op.LogSoftmax(scores, axis=axis)
    each = op.Where(op.Equal(target, 0.0), 0.0, op.Mul(target, logp))
    each = op.Neg(op.ReduceSum(each, (axis,), keepdims=0))
    return reduced_onnx(op, each, reduction, scores.rank - 1), logp


@operator(
    "SoftLabelCrossEntropy",
    decompose=soft_label_cross_entropy_onnx,
    vjp=soft_label_cross_entropy_vjp,
    outputs=2,
    saves=(1,),
)
def soft_label_cross_entropy(scores, target, *, axis=1, reduction="mean", assume_normalized=0):
    """-sum over axis of target * log softmax(scores), reduced.  f[*s], f[*s] -> f[], f[*s].

    target: one-hot, or any weights of the classes along axis.  Finite for any finite scores; 0 * log 0 is 0.
    reduction: mean, sum, rows (one per row of axis 0) or none, over what is left when axis is gone.
    assume_normalized: 1 lets the gradient be softmax - target even where a target does not sum to 1, as in Aidge;
    0 gives the derivative, sum(target) * softmax - target.  The second output is log softmax(scores).
    """
    check_reduction(reduction)
    if jnp.shape(scores) != jnp.shape(target):
        raise GraphError(
            f"scores have shape {list(jnp.shape(scores))} and target {list(jnp.shape(target))}: expected "
            f"one number per class in both; for class indices use SoftmaxCrossEntropyLoss"
        )
    (axis,) = positive_axes((axis,), jnp.ndim(scores), "axis of SoftLabelCrossEntropy")
    logp = log_softmax(scores, axis)
    each = -jnp.sum(jnp.where(target == 0, 0, target * logp), axis=axis)
    return reduced(each, reduction), logp


# ---- appending a loss to a graph ----------------------------------------------------------------------

# name: (operator, its target: "values" like the prediction, or "classes", one index per row and position)
LOSSES = {
    "mse": ("MeanSquaredError", "values"),
    "l1": ("MeanAbsoluteError", "values"),
    "huber": ("HuberLoss", "values"),
    "bce": ("BinaryCrossEntropy", "values"),
    "bce_logits": ("BinaryCrossEntropyWithLogits", "values"),
    "cross_entropy": ("SoftmaxCrossEntropyLoss", "classes"),
    "nll": ("NegativeLogLikelihoodLoss", "classes"),
    "soft_cross_entropy": ("SoftLabelCrossEntropy", "values"),
    "distillation": ("SoftLabelCrossEntropy", "values"),
}


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
    reduction: "mean", "sum", "rows" (one number per row, the mean over everything else) or "none".
    options: the operator's other attributes and inputs (ignore_index=, weights=, pos_weight=, delta=, epsilon= ...);
        arrays become constants.
    Raises GraphError for an unknown loss or option, a prediction whose shape is unknown, and names that clash.
    """
    if loss not in LOSSES:
        raise GraphError(f"no loss {loss!r}; the losses are {', '.join(LOSSES)}")
    check_reduction(reduction)
    predicted = _prediction(graph, prediction)
    for new in (target, name):
        if graph.has(new):
            raise GraphError(
                f"graph {graph.name!r} has a tensor {new!r} already: give the {loss!r} loss another "
                f"{'target' if new == target else 'name'}, e.g. {'target' if new == target else 'name'}="
                f"{graph.copy().fresh(new)!r}"
            )
    twin = graph.copy()
    wanted = _declare_target(twin, loss, predicted, target)
    operator, operands, attrs = _call(Builder(twin, f"{name}/"), twin, loss, predicted, wanted, name, options)
    each = wanted.shape  # of the loss before it is reduced
    if operator == "SoftLabelCrossEntropy":
        (axis,) = positive_axes((attrs.get("axis", 1),), len(each), f"axis of the {loss!r} loss")
        each = each[:axis] + each[axis + 1 :]
    attrs["reduction"] = reduction
    if LOSSES[loss][1] == "classes" and reduction == "rows":  # ONNX's operators do not have it
        attrs["reduction"] = "none"
        if len(each) > 1:
            (losses,) = twin.add(operator, operands, attrs, name=twin.fresh(f"{name}/{operator}"))
            operator, operands, attrs = "ReduceMean", [losses, tuple(range(1, len(each)))], {"keepdims": 0}
    twin.add(operator, operands, attrs, names=[name], name=f"{name}/{operator}")
    twin.values[name] = Value(name, {"none": each, "rows": each[:1]}.get(reduction, ()), predicted.dtype)
    twin.output(name)
    return twin


def _declare_target(graph: Graph, loss: str, predicted: Value, target: str) -> Value:
    if LOSSES[loss][1] == "values":
        return graph.input(target, predicted.shape, predicted.dtype)
    if predicted.rank < 2:
        raise GraphError(
            f"the {loss!r} loss needs a prediction of shape [n, classes] or [n, classes, *positions]; "
            f"{predicted} of graph {graph.name!r} has none for classes"
        )
    return graph.input(target, (predicted.shape[0], *predicted.shape[2:]), "int64")


def _prediction(graph: Graph, name: str | None) -> Value:
    if name is None:
        if len(graph.outputs) != 1:
            raise GraphError(
                f"graph {graph.name!r} has {len(graph.outputs)} outputs"
                f"{': ' if graph.outputs else ''}{', '.join(map(repr, graph.outputs))}; say which of its "
                f"tensors the loss compares: prediction=..."
            )
        (name,) = graph.outputs
    predicted = graph.value(name)
    if predicted.shape is None or None in predicted.shape or predicted.dtype is None:
        raise GraphError(
            f"the shape of the prediction {predicted} of graph {graph.name!r} is unknown, so that its "
            f"target cannot be declared; call aidgejax.infer_shapes(graph) first"
        )
    if not predicted.is_float:
        raise GraphError(
            f"the prediction {predicted} of graph {graph.name!r} is not floating-point: no gradient would start there"
        )
    return predicted


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
    odd = [o for o in options if o not in known]
    if odd:
        raise GraphError(
            f"the {loss!r} loss has no option {', '.join(map(repr, odd))}; it has {', '.join(known) or 'none'}"
        )
    operands: list[Any] = [predicted, wanted]
    if loss == "distillation":
        axis = options.get("axis", 1)
        operands = [op.Div(predicted, float(temperature)), op.Softmax(op.Div(wanted, float(temperature)), axis=axis)]
    for a in arrays:
        given = options.pop(a, None)
        operands.append(
            None if given is None else graph.constant(graph.fresh(f"{name}.{a}"), np.asarray(given, predicted.dtype))
        )
    while operands[-1] is None:
        operands.pop()
    return operator.name, operands, {k: v for k, v in options.items() if v is not None}


def _without(shape: tuple, axis: int) -> tuple:
    kept = list(shape)
    del kept[axis]
    return tuple(kept)


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
