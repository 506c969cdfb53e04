"""Losses that compare element by element: regression, and independent yes-or-no outputs.

Prediction p and target t have the same shape.  reduction: "mean" over all elements, "sum", "rows" (the mean over all
axes but the first, one number per row) or "none".
"""

import jax.numpy as jnp

from ..errors import GraphError
from ._registry import broadcasts_to, operator

REDUCTIONS = ("mean", "sum", "rows", "none")


def check_reduction(reduction, allowed=REDUCTIONS):
    if reduction not in allowed:
        raise GraphError(f"reduction {reduction!r}: expected one of {', '.join(allowed)}")


def check_same_shape(p, t):
    if jnp.shape(p) != jnp.shape(t):
        raise GraphError(
            f"the prediction has shape {list(jnp.shape(p))} and the target {list(jnp.shape(t))}: a loss "
            f"needs the same shape for both; reshape one of them"
        )


def reduced(each, reduction):
    """The loss of each element, reduced.  f[*s] -> f[], f[s0] or f[*s]."""
    if reduction == "rows":
        return jnp.mean(each, axis=tuple(range(1, jnp.ndim(each))))
    return {"mean": jnp.mean, "sum": jnp.sum, "none": jnp.asarray}[reduction](each)


def reduced_onnx(op, each, reduction, rank):
    """The same in standard operators; rank: of `each`."""
    if reduction == "rows":
        return op.ReduceMean(each, tuple(range(1, rank)), keepdims=0) if rank > 1 else each
    if reduction == "none":
        return each
    return op.ReduceMean(each, keepdims=0) if reduction == "mean" else op.ReduceSum(each, keepdims=0)


def share(op, dy, each, reduction, rank):
    """What of dy, the cotangent of the reduced loss, arrives at each element: it broadcasts to `each`, of this rank."""
    if reduction in ("none", "sum"):
        return dy
    count = op.Div(op.Size(each), op.Size(dy))
    dy = op.Div(dy, op.CastLike(count, dy))
    return op.Unsqueeze(dy, tuple(range(1, rank))) if reduction == "rows" and rank > 1 else dy


# ---- regression ---------------------------------------------------------------------------------------


def mean_squared_error_vjp(op, p, t, y, dy, *, reduction):
    dp = op.Mul(share(op, dy, p, reduction, p.rank), op.Mul(op.Sub(p, t), 2.0))
    return dp, op.Neg(dp)


def mean_squared_error_onnx(op, p, t, *, reduction):
    d = op.Sub(p, t)
    return reduced_onnx(op, op.Mul(d, d), reduction, p.rank)


@operator("MeanSquaredError", full_precision=True, decompose=mean_squared_error_onnx, vjp=mean_squared_error_vjp)
def mean_squared_error(p, t, *, reduction="mean"):
    """(p - t)^2, reduced.  f[*s], f[*s] -> f[]; reduction: mean, sum, rows (f[s0]) or none (f[*s])."""
    check_reduction(reduction)
    check_same_shape(p, t)
    return reduced(jnp.square(p - t), reduction)


def mean_absolute_error_vjp(op, p, t, y, dy, *, reduction, slope_at_zero):
    d = op.Sub(p, t)
    slope = op.Sign(d)
    if slope_at_zero:
        slope = op.Where(op.Equal(d, 0.0), slope_at_zero, slope)
    dp = op.Mul(share(op, dy, p, reduction, p.rank), slope)
    return dp, op.Neg(dp)


def mean_absolute_error_onnx(op, p, t, *, reduction, slope_at_zero):
    return reduced_onnx(op, op.Abs(op.Sub(p, t)), reduction, p.rank)


@operator("MeanAbsoluteError", full_precision=True, decompose=mean_absolute_error_onnx, vjp=mean_absolute_error_vjp)
def mean_absolute_error(p, t, *, reduction="mean", slope_at_zero=0.0):
    """|p - t|, reduced.  f[*s], f[*s] -> f[]; reduction: mean, sum, rows (f[s0]) or none (f[*s]).

    slope_at_zero: the slope where p equals t; 0, or 1 as in TVM."""
    check_reduction(reduction)
    check_same_shape(p, t)
    return reduced(jnp.abs(p - t), reduction)


def huber_loss_vjp(op, p, t, y, dy, *, reduction, delta, normalized):
    slope = op.Clip(op.Sub(p, t), -delta, delta)
    if normalized:
        slope = op.Div(slope, delta)
    dp = op.Mul(share(op, dy, p, reduction, p.rank), slope)
    return dp, op.Neg(dp)


def huber_loss_onnx(op, p, t, *, reduction, delta, normalized):
    size = op.Abs(op.Sub(p, t))
    near = op.Min(size, delta)
    each = op.Mul(near, op.Sub(size, op.Mul(near, 0.5)))
    return reduced_onnx(op, op.Div(each, delta) if normalized else each, reduction, p.rank)


@operator("HuberLoss", full_precision=True, decompose=huber_loss_onnx, vjp=huber_loss_vjp)
def huber_loss(p, t, *, reduction="mean", delta=1.0, normalized=0):
    """d^2 / 2 where |d| <= delta, else delta * (|d| - delta / 2), d = p - t, reduced.  f[*s], f[*s] -> f[].

    reduction: mean, sum, rows (f[s0]) or none (f[*s]).  normalized: 1 divides by delta, which makes
    it torch's SmoothL1Loss(beta=delta).
    """
    check_reduction(reduction)
    check_same_shape(p, t)
    if not delta > 0:
        raise GraphError(f"delta is {delta}: the width of the parabola must be above 0")
    size = jnp.abs(p - t)
    near = jnp.minimum(size, delta)
    each = near * (size - near / 2)
    return reduced(each / delta if normalized else each, reduction)


# ---- yes or no ----------------------------------------------------------------------------------------


def binary_cross_entropy_vjp(op, p, t, y, dy, *, reduction, epsilon, slope):
    dy = share(op, dy, p, reduction, p.rank)
    c = op.Clip(p, 0.0, 1.0)
    # Not (1 - c) + epsilon: XLA takes the two constants together, and 1 + epsilon is 1 in float32.
    yes, no = op.Add(c, epsilon), op.Sub(epsilon, op.Sub(c, 1.0))
    dt = op.Mul(dy, op.Sub(op.Log(no), op.Log(yes)))
    if slope == "quotient":
        return op.Mul(dy, op.Div(op.Sub(p, t), op.Add(op.Mul(c, op.Sub(1.0, c)), epsilon))), dt
    inside = op.Equal(c, p)
    if slope == "shifted":
        no = op.Sub(no, 3 * epsilon)
    dp = op.Mul(dy, op.Sub(op.Div(op.Sub(1.0, t), no), op.Div(t, yes)))
    return op.Where(inside, dp, 0.0), dt


def binary_cross_entropy_onnx(op, p, t, *, reduction, epsilon, slope):
    c = op.Clip(p, 0.0, 1.0)
    yes = op.Mul(t, op.Log(op.Add(c, epsilon)))
    no = op.Mul(op.Sub(1.0, t), op.Log(op.Add(op.Sub(1.0, c), epsilon)))
    return reduced_onnx(op, op.Neg(op.Add(yes, no)), reduction, p.rank)


@operator("BinaryCrossEntropy", full_precision=True, decompose=binary_cross_entropy_onnx, vjp=binary_cross_entropy_vjp)
def binary_cross_entropy(p, t, *, reduction="mean", epsilon=1e-12, slope="exact"):
    """-(t * log(c + epsilon) + (1 - t) * log(1 - c + epsilon)), c = clip(p, 0, 1), reduced.  f[*s], f[*s] -> f[].

    p: probabilities; from scores BinaryCrossEntropyWithLogits loses nothing.  reduction: mean, sum, rows (f[s0]) or
    none (f[*s]).  slope: "exact", the derivative (0 outside [0, 1]), or "quotient", (p - t) / (c * (1 - c) + epsilon),
    which is 0 at p = t = 0 or 1, as Aidge and (but for epsilon) torch have it, or "shifted", the derivative with
    1 - c - 2 * epsilon below 1 - t, as SINGA has it.
    """
    check_reduction(reduction)
    check_same_shape(p, t)
    if slope not in ("exact", "quotient", "shifted"):
        raise GraphError(f"slope {slope!r}: expected 'exact', 'quotient' or 'shifted'")
    c = jnp.clip(p, 0, 1)
    no = epsilon - (c - 1)  # see the rule
    return reduced(-(t * jnp.log(c + epsilon) + (1 - t) * jnp.log(no)), reduction)


def softplus_of_minus(op, x):
    """log(1 + exp(-x)), in words that no large x overflows."""
    return op.Add(op.Relu(op.Neg(x)), op.Log(op.Add(op.Exp(op.Neg(op.Abs(x))), 1.0)))


def binary_cross_entropy_with_logits_vjp(op, x, t, weight, pos_weight, y, dy, *, reduction):
    dy = share(op, dy, x, reduction, x.rank)
    weighted = dy if weight is None else op.Mul(dy, weight)
    rest, soft, low = op.Sub(1.0, t), softplus_of_minus(op, x), op.Sigmoid(op.Neg(x))
    dt = op.Neg(x)
    if pos_weight is not None:
        steep = op.Sub(pos_weight, 1.0)
        lean = op.Add(op.Mul(steep, t), 1.0)  # what softplus(-x) is weighted with
        dt, low, soft_leant = op.Add(dt, op.Mul(steep, soft)), op.Mul(low, lean), op.Mul(soft, lean)
    dx, dt = op.Mul(weighted, op.Sub(rest, low)), op.Mul(weighted, dt)
    d_weight = d_pos = None
    if weight is not None:
        d_weight = op.SumLike(op.Mul(dy, op.Add(op.Mul(rest, x), soft if pos_weight is None else soft_leant)), weight)
    if pos_weight is not None:
        d_pos = op.SumLike(op.Mul(weighted, op.Mul(t, soft)), pos_weight)
    return dx, dt, d_weight, d_pos


def binary_cross_entropy_with_logits_onnx(op, x, t, weight, pos_weight, *, reduction):
    soft = softplus_of_minus(op, x)
    if pos_weight is not None:
        soft = op.Mul(soft, op.Add(op.Mul(op.Sub(pos_weight, 1.0), t), 1.0))
    each = op.Add(op.Mul(op.Sub(1.0, t), x), soft)
    return reduced_onnx(op, each if weight is None else op.Mul(each, weight), reduction, x.rank)


@operator(
    "BinaryCrossEntropyWithLogits",
    full_precision=True,
    decompose=binary_cross_entropy_with_logits_onnx,
    vjp=binary_cross_entropy_with_logits_vjp,
)
def binary_cross_entropy_with_logits(x, t, weight=None, pos_weight=None, *, reduction="mean"):
    """-weight * (pos_weight * t * log s + (1 - t) * log(1 - s)), s = sigmoid(x).  f[*s], f[*s], f[*r], f[*q] -> f[].

    Reduced.  Finite for any finite x.  weight, pos_weight: broadcast to x.  reduction: mean over all elements
    (whatever their weights), sum, rows (f[s0]) or none (f[*s]).
    """
    check_reduction(reduction)
    check_same_shape(x, t)
    for name, w in (("weight", weight), ("pos_weight", pos_weight)):
        if w is not None and not broadcasts_to(jnp.shape(w), jnp.shape(x)):
            raise GraphError(
                f"{name} of shape {list(jnp.shape(w))} does not broadcast to the scores' {list(jnp.shape(x))}"
            )
    lean = 1 if pos_weight is None else 1 + (pos_weight - 1) * t
    soft = jnp.maximum(-x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))
    each = (1 - t) * x + lean * soft
    return reduced(each if weight is None else weight * each, reduction)
