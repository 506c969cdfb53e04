"""Losses against classes, and the table of all losses by the names that `with_loss` takes.

Class scores are [n, c, *positions]: classes on axis 1, as ONNX and torch have it.  The losses of regression and of
independent yes-or-no outputs are in loss_elementwise.py.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import operator, positive_axes
from .loss_elementwise import check_reduction, reduced, reduced_onnx, share

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
    return jnp.sum(loss) if reduction == "sum" else jnp.sum(loss) / _something(jnp.sum(w))


def _something(total):
    """The total, or 1 where there is nothing: a mean over nothing is 0, as is its gradient."""
    return jnp.where(total == 0, 1, total)


def _something_onnx(op, total):
    return op.Where(op.Equal(total, 0.0), 1.0, total)


def weights_at_labels(d_loss, labels, weights, reduction, ignore_index, like):
    """(c, w): c f[n, 1, *d] multiplies each position of d loss / d logp = -w, w f[n, c, *d], zero but at the label."""
    labels = jnp.asarray(labels)
    w = position_weights(labels, weights, ignore_index, like)
    if reduction == "mean":
        d_loss = d_loss / _something(jnp.sum(w))
    w = jnp.expand_dims(w * d_loss, 1)
    classes = jnp.arange(like.shape[1], dtype=labels.dtype).reshape(-1, *[1] * (labels.ndim - 1))
    return w, jnp.where(jnp.expand_dims(labels, 1) == classes, w, 0)


def weights_at_labels_onnx(op, d_loss, labels, weights, reduction, ignore_index, like):
    """The same in standard operators."""
    if like.shape is None or not isinstance(like.shape[1], int):
        raise GraphError(
            f"the gradient of a loss over classes needs to know their number to be decomposed into standard "
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
        total = op.ReduceSum(w, keepdims=0)
        some = weights is None and ignore_index is None  # every row counts then
        d_loss = op.Div(d_loss, total if some else _something_onnx(op, total))
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
        each = op.Div(op.Sub(each, loss), _something_onnx(op, total))
    each = op.Mul(each, d_loss)
    at_label = op.Neg(op.NegativeLogLikelihoodLossGrad(each, logp, labels, reduction="none", ignore_index=ignore_index))
    positions = tuple(range(2, logp.rank))
    return op.ReduceSum(at_label, (0, *positions), keepdims=0)


def nll_vjp(op, input, target, weight, loss, d_loss, *, reduction, ignore_index):
    dx = op.NegativeLogLikelihoodLossGrad(d_loss, input, target, weight, reduction=reduction, ignore_index=ignore_index)
    return dx, None, class_weights_vjp(op, input, target, weight, loss, d_loss, reduction, ignore_index)


@operator(
    "NegativeLogLikelihoodLoss", full_precision=True, onnx=("", 13), index_of={"target": ("input", 1)}, vjp=nll_vjp
)
def negative_log_likelihood_loss(input, target, weight=None, *, ignore_index=None, reduction="mean"):
    """-weight[target] * input at target, reduced.  f[n, c, *d], i[n, *d], f[c] -> f[] or f[n, *d].

    input: log-probabilities.  mean: divided by the sum of the weights of what is not ignored (0 where all is).
    A target that is neither a class nor ignored makes NaN.  ONNX NegativeLogLikelihoodLoss-13.
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


@operator(
    "SoftmaxCrossEntropyLoss",
    full_precision=True,
    onnx=("", 13),
    index_of={"labels": ("scores", 1)},
    vjp=softmax_cross_entropy_vjp,
    outputs=2,
    residual_outputs=(1,),
)
def softmax_cross_entropy_loss(scores, labels, weights=None, *, ignore_index=None, reduction="mean"):
    """-weights[label] * logp[label], logp = log softmax(scores).  f[n, c, *d], i[n, *d], f[c] -> f[], f[n, c, *d].

    reduction: none gives f[n, *d]; mean divides by the sum of the weights of what is not ignored (0 where all is; ONNX
    leaves that open, and a batch of nothing but padding should move nothing).
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
    full_precision=True,
    decompose=soft_label_cross_entropy_onnx,
    vjp=soft_label_cross_entropy_vjp,
    outputs=2,
    residual_outputs=(1,),
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
