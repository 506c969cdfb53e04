"""relax.op.nn: activations, normalisation, convolution, pooling, losses."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .....graph import Value
from ...errors import RelaxTypeError, RelaxValueError
from ..expr import Call, one_tensor, relax_operator
from ._call import axes_of, padding_of, pair
from .nn_others import (  # noqa: F401  names of relax.op.nn
    attention,
    attention_bias,
    batch_flatten,
    instance_norm,
    pixel_shuffle,
    prelu,
    relu6,
    rms_norm,
    selu,
)
from .nn_windows import (  # noqa: F401  names of relax.op.nn
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool3d,
    conv1d,
    conv1d_transpose,
    conv2d_transpose,
    conv3d,
    conv3d_transpose,
    max_pool1d,
    max_pool3d,
)

# ---- activations --------------------------------------------------------------------------------------

relu = one_tensor("nn.relu", "Relu", slope_at_zero=1.0)
silu = one_tensor("nn.silu", "Swish")
gelu = one_tensor("nn.gelu", "Gelu")
gelu_tanh = one_tensor("nn.gelu_tanh", "Gelu", approximate="tanh")


@relax_operator
def softplus(data: Any, beta: float = 1.0, threshold: float = 20.0) -> Call:
    """log(1 + exp(beta x)) / beta; x where beta x is above threshold (by default, where float32 has no other)."""

    def write(op: Any, x: Any) -> Value:
        scaled = x if beta == 1.0 else op.Mul(x, float(beta))
        y = op.Softplus(x) if beta == 1.0 else op.Div(op.Softplus(scaled), float(beta))
        return y if threshold >= 20.0 else op.Where(op.Greater(scaled, float(threshold)), x, y)

    return Call("relax.nn.softplus", (data,), write)


@relax_operator
def leakyrelu(data: Any, alpha: float = 0.01) -> Call:
    return Call("relax.nn.leakyrelu", (data,), lambda op, x: op.LeakyRelu(x, alpha=float(alpha)))


@relax_operator
def softmax(data: Any, axis: int = -1) -> Call:
    return Call("relax.nn.softmax", (data,), lambda op, x: op.Softmax(x, axis=axis))


@relax_operator
def log_softmax(data: Any, axis: int = -1) -> Call:
    return Call("relax.nn.log_softmax", (data,), lambda op, x: op.LogSoftmax(x, axis=axis))


@relax_operator
def dropout(data: Any, rate: float = 0.5) -> Call:
    """A tuple (result, mask of data's dtype); it drops in the training functions of a trainer alone."""

    def write(op: Any, x: Any) -> tuple[Value, ...]:
        y, mask = op.Dropout(x, float(rate), outputs=2)
        return y, op.CastLike(mask, x)

    return Call("relax.nn.dropout", (data,), write)


# ---- normalisation ------------------------------------------------------------------------------------


@relax_operator
def batch_norm(
    data: Any,
    gamma: Any,
    beta: Any,
    moving_mean: Any,
    moving_var: Any,
    axis: int,
    epsilon: float = 1e-5,
    center: bool = True,
    scale: bool = True,
    momentum: float = 0.1,
    training: bool = True,
) -> Call:
    """A tuple (result, moving_mean, moving_var): the batch's statistics serve (biased variance), and the others move.

    moving <- (1 - momentum) * moving + momentum * batch.  In inference form, as training=False,
    DecomposeOpsForInference and a trainer's `backbone` have it, the moving statistics serve and are handed on.
    """

    def write(op: Any, x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> tuple[Value, ...]:
        gamma = gamma if scale else op.Add(op.ZerosLike(gamma), 1.0)
        beta = beta if center else op.ZerosLike(beta)
        rank, perm = x.rank, _to_second(axis, x.rank)
        x = x if perm is None else op.Transpose(x, perm=perm)
        if training:
            keep = float(1 - Decimal(str(momentum)))
            y, mean, var = op.BatchNormalization(
                x, gamma, beta, mean, var, outputs=3, epsilon=float(epsilon), momentum=keep, training_mode=1
            )
        else:
            to_channels = lambda v: op.Unsqueeze(v, tuple(range(1, rank - 1))) if rank > 2 else v
            inv = op.Reciprocal(op.Sqrt(op.Add(var, float(epsilon))))
            y = op.Add(
                op.Mul(op.Mul(op.Sub(x, to_channels(mean)), to_channels(inv)), to_channels(gamma)), to_channels(beta)
            )
        return (y if perm is None else op.Transpose(y, perm=_inverse(perm))), mean, var

    return Call("relax.nn.batch_norm", (data, gamma, beta, moving_mean, moving_var), write)


def _to_second(axis: int, rank: int) -> tuple[int, ...] | None:
    """The permutation that brings an axis to the place of channels, None where it is there."""
    axis %= rank
    rest = [a for a in range(rank) if a != axis]
    return None if axis == 1 else (rest[0], axis, *rest[1:])


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(perm.index(k) for k in range(len(perm)))


@relax_operator
def layer_norm(
    data: Any, gamma: Any, beta: Any, axes: Any, epsilon: float = 1e-5, center: bool = True, scale: bool = True
) -> Call:
    """gamma * (data - mean) / sqrt(variance + epsilon) + beta, statistics over axes; gamma has those axes."""

    def write(op: Any, x: Any, gamma: Any, beta: Any) -> Value:
        over = [a % x.rank for a in axes_of(axes) or ()]
        perm = (*(a for a in range(x.rank) if a not in over), *over)
        straight = perm == tuple(range(x.rank))
        gamma = gamma if scale else op.Add(op.ZerosLike(gamma), 1.0)
        operands = [x if straight else op.Transpose(x, perm=perm), gamma, *([beta] if center else [])]
        y = op.LayerNormalization(*operands, axis=-len(over), epsilon=float(epsilon))
        return y if straight else op.Transpose(y, perm=_inverse(perm))

    return Call("relax.nn.layer_norm", (data, gamma, beta), write)


@relax_operator
def group_norm(
    data: Any,
    gamma: Any,
    beta: Any,
    num_groups: int,
    channel_axis: int = 1,
    axes: Any = None,
    epsilon: float = 1e-5,
    center: bool = True,
    scale: bool = True,
) -> Call:
    """Statistics per row and group of channels, over all the other axes."""

    def write(op: Any, x: Any, gamma: Any, beta: Any) -> Value:
        if channel_axis % x.rank != 1:
            raise RelaxValueError(f"relax.nn.group_norm needs channel_axis=1, got {channel_axis}")
        gamma = gamma if scale else op.Add(op.ZerosLike(gamma), 1.0)
        beta = beta if center else op.ZerosLike(beta)
        return op.GroupNormalization(x, gamma, beta, num_groups=num_groups, epsilon=float(epsilon))

    return Call("relax.nn.group_norm", (data, gamma, beta), write)


# ---- images -------------------------------------------------------------------------------------------


def _first(op: Any, x: Any, layout: str) -> Value:
    """The image with channels on axis 1."""
    return x if layout == "NCHW" else op.Transpose(x, perm=(0, 3, 1, 2))


def _back(op: Any, y: Any, layout: str) -> Value:
    return y if layout == "NCHW" else op.Transpose(y, perm=(0, 2, 3, 1))


def _check_layout(layout: str, known: tuple[str, ...] = ("NCHW", "NHWC")) -> str:
    if layout not in known:
        raise RelaxValueError(f"layout {layout!r}: expected one of {', '.join(known)}")
    return layout


@relax_operator
def conv2d(
    data: Any,
    weight: Any,
    strides: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    data_layout: str = "NCHW",
    kernel_layout: str = "OIHW",
    out_layout: str | None = None,
    out_dtype: str | None = None,
) -> Call:
    """padding: a number, [vertical, horizontal] or [top, left, bottom, right].  Any dilation has a gradient."""
    _check_layout(data_layout)
    _check_layout(kernel_layout, ("OIHW", "HWIO", "OHWI"))
    window = {
        "strides": pair("strides", strides),
        "pads": padding_of(padding),
        "dilations": pair("dilation", dilation),
        "group": groups,
    }

    def write(op: Any, x: Any, w: Any) -> Value:
        if kernel_layout != "OIHW":
            w = op.Transpose(w, perm=tuple(kernel_layout.index(c) for c in "OIHW"))
        return _back(op, op.Conv(_first(op, x, data_layout), w, **window), out_layout or data_layout)

    return Call("relax.nn.conv2d", (data, weight), write)


@relax_operator
def max_pool2d(
    data: Any,
    pool_size: Any = (1, 1),
    strides: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NCHW",
    out_layout: str | None = None,
) -> Call:
    """The largest of every window; on a tie the first gets the gradient."""
    return _pool("max_pool2d", "MaxPool", data, pool_size, strides, padding, dilation, ceil_mode, layout, out_layout)


@relax_operator
def avg_pool2d(
    data: Any,
    pool_size: Any = (1, 1),
    strides: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NCHW",
    out_layout: str | None = None,
) -> Call:
    return _pool(
        "avg_pool2d",
        "AveragePool",
        data,
        pool_size,
        strides,
        padding,
        dilation,
        ceil_mode,
        layout,
        out_layout,
        count_include_pad=int(count_include_pad),
    )


def _pool(
    name: str,
    onnx: str,
    data: Any,
    size: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    layout: str,
    out_layout: str | None,
    **more: int,
) -> Call:
    _check_layout(layout)
    window = {
        "kernel_shape": pair("pool_size", size),
        "strides": pair("strides", strides),
        "pads": padding_of(padding),
        "dilations": pair("dilation", dilation),
        "ceil_mode": int(ceil_mode),
    }
    return Call(
        f"relax.nn.{name}",
        (data,),
        lambda op, x: _back(op, getattr(op, onnx)(_first(op, x, layout), **window, **more), out_layout or layout),
    )


@relax_operator
def pad(data: Any, pad_width: Any, pad_mode: str = "constant", pad_value: float = 0.0) -> Call:
    """pad_width: before and after each axis, one axis after the other."""
    flat = [int(n) for n in (sum((list(p) for p in pad_width), []) if hasattr(pad_width[0], "__len__") else pad_width)]
    return Call(
        "relax.nn.pad",
        (data,),
        lambda op, x: op.Pad(
            x, (*flat[::2], *flat[1::2]), pad_value if pad_mode == "constant" else None, mode=pad_mode
        ),
    )


# ---- losses -------------------------------------------------------------------------------------------


@relax_operator
def cross_entropy_with_logits(predictions: Any, labels: Any) -> Call:
    """-sum(predictions * labels), divided by the number of rows where there are rows.

    As in TVM predictions are log-probabilities already: no softmax is applied.
    """

    def write(op: Any, p: Any, t: Any) -> Value:
        each = op.Mul(p, t)
        if p.rank > 1:
            each = op.ReduceSum(each, tuple(range(1, p.rank)), keepdims=0)
            return op.Neg(op.ReduceMean(each, keepdims=0))
        return op.Neg(op.ReduceSum(each, keepdims=0))

    return Call("relax.nn.cross_entropy_with_logits", (predictions, labels), write)


@relax_operator
def nll_loss(
    predictions: Any, targets: Any, weights: Any = None, reduction: str = "mean", ignore_index: int = -100
) -> Call:
    """-weights[target] * predictions at target; classes on axis 1, or axis 0 of a single row without a batch.

    mean: divided by the sum of the weights of what is not ignored.  Ignored rows count for nothing, whatever number
    marks them.
    """

    def write(op: Any, p: Any, t: Any, w: Any) -> Value:
        return over_classes(op, "NegativeLogLikelihoodLoss", p, t, w, reduction, ignore_index)

    return Call("relax.nn.nll_loss", (predictions, targets, weights), write)


def over_classes(op: Any, loss: str, p: Any, t: Any, w: Any, reduction: str, ignore_index: int) -> Value:
    """A loss operator against class indices, its arguments checked as TVM's nll_loss does."""
    check_classes(p, t, w)
    attrs = {"reduction": reduction, "ignore_index": int(ignore_index)}
    weights = [] if w is None else [w]
    if reduction == "mean" and p.rank > 1:
        # TVM divides by nothing where every row is ignored, and has NaN; our operator's mean over nothing is 0.
        attrs["reduction"] = "sum"
        ones = op.Sub(op.ZerosLike(p), 1.0)
        total = op.NegativeLogLikelihoodLoss(ones, t, *weights, **attrs)
        return op.Div(getattr(op, loss)(p, t, *weights, **attrs), total)
    if p.rank > 1:
        return getattr(op, loss)(p, t, *weights, **attrs)
    y = getattr(op, loss)(op.Unsqueeze(p, (0,)), op.Unsqueeze(t, (0,)), *weights, **attrs)
    return op.Squeeze(y, (0,)) if reduction == "none" else y


def check_classes(p: Any, t: Any, w: Any) -> None:
    if "int" not in (t.dtype or ""):
        raise RelaxTypeError(
            f"NLLLoss expects the dtype of targets to be int/uint. However, the dtype of targets is {t.dtype}"
        )
    if t.rank != max(p.rank - 1, 0):
        raise RelaxValueError(
            f"NLLLoss expects targets of one dimension less than predictions. However, predictions "
            f"are {p} and targets are {t}"
        )
    if p.rank > 1 and _differ(p.shape[0], t.shape[0]):
        raise RelaxValueError(
            f"NLLLoss expects minibatch size N inferred from different arguments to be equal. "
            f"However, N from predictions is {p.shape[0]} while N from targets is {t.shape[0]}"
        )
    classes = p.shape[1] if p.rank > 1 else p.shape[0]
    if w is not None and (w.rank != 1 or _differ(classes, w.shape[0])):
        raise RelaxValueError(
            f"NLLLoss expects number of classes C inferred from different arguments to be equal. "
            f"However, C from predictions is {classes} while C from weights is "
            f"{w.shape[0] if w.rank == 1 else list(w.shape)}"
        )


def _differ(a: Any, b: Any) -> bool:
    return a != b and isinstance(a, int) and isinstance(b, int)
