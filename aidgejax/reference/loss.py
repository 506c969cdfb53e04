"""Losses in NumPy."""

import numpy as np

from ._definition import backward, define


def reduce(each, reduction):
    if reduction == "none":
        return each
    if reduction == "rows":
        return each.reshape(len(each), -1).mean(axis=1)
    return each.mean() if reduction == "mean" else each.sum()


def spread(dy, each, reduction):
    """The cotangent of each element, from that of the reduced loss."""
    dy = np.asarray(dy)
    if reduction == "rows":
        dy = dy.reshape(dy.shape + (1,) * (each.ndim - 1))
    return np.broadcast_to(dy, each.shape) * (dy.size / each.size if reduction in ("mean", "rows") else 1)


def log_softmax(x, axis):
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


# ---- classes given by their index: one position after the other ---------------------------------------


def positions(labels, classes, ignore_index):
    """(where, label) of every position that counts."""
    for at in np.ndindex(labels.shape):
        label = int(labels[at])
        if ignore_index is not None and label == ignore_index:
            continue
        if not 0 <= label < classes:
            raise ValueError(f"label {label} at {list(at)} is not one of the {classes} classes")
        yield at, label


def nll(logp, labels, weights, ignore_index, reduction):
    loss, total = np.zeros(labels.shape, logp.dtype), logp.dtype.type(0)
    for (n, *d), label in positions(labels, logp.shape[1], ignore_index):
        w = logp.dtype.type(1) if weights is None else weights[label]
        loss[(n, *d)] = -w * logp[(n, label, *d)]
        total += w
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / something(total)


def something(total):
    """What a mean divides by: the mean over nothing is 0."""
    return total if total != 0 else 1


def nll_gradient(d_loss, logp, labels, weights, ignore_index, reduction):
    dx = np.zeros_like(logp)
    counted = list(positions(labels, logp.shape[1], ignore_index))
    weight = lambda label: logp.dtype.type(1) if weights is None else weights[label]
    total = sum(weight(label) for _, label in counted) if reduction == "mean" else 1
    for (n, *d), label in counted:
        dy = d_loss[(n, *d)] if reduction == "none" else d_loss
        dx[(n, label, *d)] = -weight(label) * dy / something(total)
    return dx


def class_weights_gradient(d_loss, logp, labels, weights, ignore_index, reduction):
    if weights is None:
        return None
    dw = np.zeros_like(weights)
    counted = list(positions(labels, logp.shape[1], ignore_index))
    total = sum(weights[label] for _, label in counted)
    mean = nll(logp, labels, weights, ignore_index, "mean")
    for (n, *d), label in counted:
        each = -logp[(n, label, *d)]
        if reduction == "none":
            dw[label] += d_loss[(n, *d)] * each
        else:
            dw[label] += d_loss * (each if reduction == "sum" else (each - mean) / something(total))
    return dw


@define("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(input, target, weight=None, *, ignore_index=None, reduction="mean"):
    return nll(input, target, weight, ignore_index, reduction)


@backward("NegativeLogLikelihoodLoss")
def nll_backward(input, target, weight, loss, d_loss, *, ignore_index=None, reduction="mean"):
    given = (d_loss, input, target, weight, ignore_index, reduction)
    return nll_gradient(*given), None, class_weights_gradient(*given)


@define("NegativeLogLikelihoodLossGrad")
def negative_log_likelihood_loss_grad(d_loss, input, target, weight=None, *, ignore_index=None, reduction="mean"):
    return nll_gradient(d_loss, input, target, weight, ignore_index, reduction)


@define("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(scores, labels, weights=None, *, ignore_index=None, reduction="mean"):
    logp = log_softmax(scores, 1)
    return nll(logp, labels, weights, ignore_index, reduction), logp


@define("SoftmaxCrossEntropyLossGrad")
def softmax_cross_entropy_loss_grad(d_loss, log_prob, labels, weights=None, *, ignore_index=None, reduction="mean"):
    d_logp = nll_gradient(d_loss, log_prob, labels, weights, ignore_index, reduction)
    return d_logp - np.exp(log_prob) * d_logp.sum(axis=1, keepdims=True)


@backward("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_backward(
    scores, labels, weights, loss, logp, d_loss, d_extra, *, ignore_index=None, reduction="mean"
):
    given = (d_loss, logp, labels, weights, ignore_index, reduction)
    d_logp = nll_gradient(*given) + d_extra
    return d_logp - np.exp(logp) * d_logp.sum(axis=1, keepdims=True), None, class_weights_gradient(*given)


# ---- classes given by their probabilities -------------------------------------------------------------


@define("SoftLabelCrossEntropy")
def soft_label_cross_entropy(scores, target, *, axis=1, reduction="mean", assume_normalized=0):
    logp = log_softmax(scores, axis)
    each = -np.where(target == 0, 0, target * logp).sum(axis=axis)
    return reduce(each, reduction), logp


@backward("SoftLabelCrossEntropy")
def soft_label_cross_entropy_backward(
    scores, target, loss, logp, d_loss, d_extra, *, axis=1, reduction="mean", assume_normalized=0
):
    total = target.sum(axis=axis)
    dy = np.expand_dims(spread(d_loss, total, reduction), axis)
    weight = 1 if assume_normalized else np.expand_dims(total, axis)
    extra = d_extra - np.exp(logp) * d_extra.sum(axis=axis, keepdims=True)
    return dy * (weight * np.exp(logp) - target) + extra, -dy * logp


# ---- element by element -------------------------------------------------------------------------------


@define("MeanSquaredError")
def mean_squared_error(p, t, *, reduction="mean"):
    return reduce((p - t) ** 2, reduction)


@backward("MeanSquaredError")
def mean_squared_error_backward(p, t, y, dy, *, reduction="mean"):
    d = 2 * (p - t) * spread(dy, p, reduction)
    return d, -d


@define("MeanAbsoluteError")
def mean_absolute_error(p, t, *, reduction="mean", slope_at_zero=0.0):
    return reduce(np.abs(p - t), reduction)


@backward("MeanAbsoluteError")
def mean_absolute_error_backward(p, t, y, dy, *, reduction="mean", slope_at_zero=0.0):
    d = np.where(p > t, 1.0, np.where(p < t, -1.0, slope_at_zero)) * spread(dy, p, reduction)
    return d, -d


@define("HuberLoss")
def huber_loss(p, t, *, reduction="mean", delta=1.0, normalized=0):
    d = np.abs(p - t)
    each = np.where(d <= delta, d * d / 2, delta * (d - delta / 2))
    return reduce(each / delta if normalized else each, reduction)


@backward("HuberLoss")
def huber_loss_backward(p, t, y, dy, *, reduction="mean", delta=1.0, normalized=0):
    slope = np.where(np.abs(p - t) <= delta, p - t, delta * np.sign(p - t)) / (delta if normalized else 1)
    d = slope * spread(dy, p, reduction)
    return d, -d


@define("BinaryCrossEntropy")
def binary_cross_entropy(p, t, *, reduction="mean", epsilon=1e-12, slope="exact"):
    c = np.minimum(np.maximum(p, 0), 1)
    return reduce(-(t * np.log(c + epsilon) + (1 - t) * np.log(1 - c + epsilon)), reduction)


@backward("BinaryCrossEntropy")
def binary_cross_entropy_backward(p, t, y, dy, *, reduction="mean", epsilon=1e-12, slope="exact"):
    dy = spread(dy, p, reduction)
    c = np.minimum(np.maximum(p, 0), 1)
    if slope == "quotient":
        dp = (p - t) / (c * (1 - c) + epsilon)
    else:
        shift = -2 * epsilon if slope == "shifted" else epsilon
        dp = np.where((p >= 0) & (p <= 1), -t / (c + epsilon) + (1 - t) / (1 - c + shift), 0)
    return dp * dy, dy * (np.log(1 - c + epsilon) - np.log(c + epsilon))


def logistic_parts(x):
    """-log sigmoid(x), -log sigmoid(-x) and sigmoid(x), no exponential of a positive number among them."""
    small = np.exp(-np.abs(x))
    return (
        np.log1p(small) + np.maximum(-x, 0),
        np.log1p(small) + np.maximum(x, 0),
        np.where(x >= 0, 1, small) / (1 + small),
    )


@define("BinaryCrossEntropyWithLogits")
def binary_cross_entropy_with_logits(x, t, weight=None, pos_weight=None, *, reduction="mean"):
    yes, no, _ = logistic_parts(x)
    each = (1 if pos_weight is None else pos_weight) * t * yes + (1 - t) * no
    return reduce(each if weight is None else weight * each, reduction)


@backward("BinaryCrossEntropyWithLogits")
def binary_cross_entropy_with_logits_backward(x, t, weight, pos_weight, y, dy, *, reduction="mean"):
    dy = spread(dy, x, reduction)
    yes, no, s = logistic_parts(x)
    q = 1 if pos_weight is None else pos_weight
    w = 1 if weight is None else weight
    dx = w * dy * ((1 - t) * s - q * t * (1 - s))
    dt = w * dy * (q * yes - no)
    return dx, dt, dy * (q * t * yes + (1 - t) * no), w * dy * t * yes
