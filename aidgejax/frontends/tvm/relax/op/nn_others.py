"""Operators of relax.op.nn for sequences and attention, and activations that are less used."""

from __future__ import annotations

from typing import Any

import numpy as np

from .....graph import Value
from ...errors import RelaxValueError
from ..expr import Call, one_tensor, relax_operator
from ._call import axes_of

selu = one_tensor("nn.selu", "Selu")


@relax_operator
def relu6(data: Any) -> Call:
    """x between 0 and 6."""
    return Call("relax.nn.relu6", (data,), lambda op, x: op.Clip(x, 0.0, 6.0))


@relax_operator
def prelu(data: Any, alpha: Any, axis: int = 1) -> Call:
    """x where x > 0, else alpha x, with one alpha for each place of an axis."""

    def write(op: Any, x: Any, slope: Any) -> Value:
        behind = x.rank - 1 - axis % x.rank
        return op.PRelu(x, op.Unsqueeze(slope, tuple(range(1, 1 + behind))) if behind else slope)

    return Call("relax.nn.prelu", (data, alpha), write)


@relax_operator
def batch_flatten(data: Any) -> Call:
    """A matrix: what stands behind the first axis as one."""
    return Call("relax.nn.batch_flatten", (data,), lambda op, x: op.Flatten(x, axis=1))


@relax_operator
def pixel_shuffle(data: Any, upscale_factor: int) -> Call:
    """Channels moved into space, upscale_factor^2 of them for each pixel."""
    factor = int(upscale_factor)
    return Call("relax.nn.pixel_shuffle", (data,), lambda op, x: op.DepthToSpace(x, blocksize=factor, mode="CRD"))


@relax_operator
def rms_norm(data: Any, weight: Any, axes: Any = -1, epsilon: float = 1e-5) -> Call:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last axes."""
    wanted = axes_of(axes)

    def write(op: Any, x: Any, w: Any) -> Value:
        found = sorted(a % x.rank for a in wanted or ())
        if found != list(range(x.rank - len(found), x.rank)):
            raise RelaxValueError(f"relax.nn.rms_norm normalizes the last axes, got axes {list(wanted or ())} of {x}")
        return op.RMSNormalization(x, w, axis=found[0], epsilon=float(epsilon))

    return Call("relax.nn.rms_norm", (data, weight), write)


@relax_operator
def instance_norm(
    data: Any,
    gamma: Any,
    beta: Any,
    channel_axis: int = 1,
    axes: Any = None,
    epsilon: float = 1e-5,
    center: bool = True,
    scale: bool = True,
) -> Call:
    """gamma * (data - mean) / sqrt(variance + epsilon) + beta, statistics of every row and channel over axes."""

    def write(op: Any, x: Any, gamma: Any, beta: Any) -> Value:
        channel = channel_axis % x.rank
        over = axes_of(axes) or tuple(a for a in range(2, x.rank))
        to_channel = lambda v: op.Unsqueeze(v, tuple(a for a in range(x.rank) if a != channel))
        centred = op.Sub(x, op.ReduceMean(x, over, keepdims=1))
        spread = op.Sqrt(op.Add(op.ReduceMean(op.Mul(centred, centred), over, keepdims=1), float(epsilon)))
        y = op.Div(centred, spread)
        y = op.Mul(y, to_channel(gamma)) if scale else y
        return op.Add(y, to_channel(beta)) if center else y

    return Call("relax.nn.instance_norm", (data, gamma, beta), write)


@relax_operator
def attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    scale: float | None = None,
    causal_mask: str | None = None,
    window_size: int | None = None,
) -> Call:
    """softmax(q k^T scale + bias) v of [batch, sequence, heads, size], which the result is as well.

    scale: 1 / sqrt(size) by default.  causal_mask: "TopLeft", "BottomRight" or None.
    """
    if causal_mask not in (None, "TopLeft", "BottomRight"):
        raise RelaxValueError(
            f"relax.nn.attention: causal_mask is {causal_mask!r}; expected 'TopLeft' or 'BottomRight'"
        )
    if window_size is not None:
        raise RelaxValueError("relax.nn.attention: window_size is not here; mask by the bias")
    factor = None if scale is None else float(getattr(scale, "value", scale))

    def write(op: Any, q: Any, k: Any, v: Any, *added: Any) -> Value:
        to_heads = (0, 2, 1, 3)
        scores = op.MatMul(op.Transpose(q, perm=to_heads), op.Transpose(k, perm=(0, 2, 3, 1)))
        scores = op.Mul(scores, factor if factor is not None else float(q.shape[-1]) ** -0.5)
        for b in added:
            scores = op.Add(scores, b)
        if causal_mask is not None:
            rows, columns = q.shape[1], k.shape[1]
            if not (isinstance(rows, int) and isinstance(columns, int)):
                raise RelaxValueError("relax.nn.attention: a causal mask needs lengths that are numbers")
            first = columns - rows if causal_mask == "BottomRight" else 0
            scores = op.Add(scores, np.triu(np.full((rows, columns), -1e30, np.float32), first + 1))
        return op.Transpose(op.MatMul(op.Softmax(scores, axis=-1), op.Transpose(v, perm=to_heads)), perm=to_heads)

    return Call("relax.nn.attention", (query, key, value, *([] if bias is None else [bias])), write)


@relax_operator
def attention_bias(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    scale: float | None = None,
    causal_mask: str | None = None,
    window_size: int | None = None,
) -> Call:
    """attention with a bias, under the name that TVM prints for it."""
    return attention(query, key, value, bias, scale, causal_mask, window_size)
