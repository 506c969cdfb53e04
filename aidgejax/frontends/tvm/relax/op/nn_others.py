"""Operators of relax.op.nn for sequences and attention, and activations that are less used."""

from __future__ import annotations

from typing import Any

import numpy as np

from .....graph import Value
from ...errors import RelaxValueError
from ..expr import Call, one_tensor, relax_operator
from ._call import axes_of, pair

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
def conv1d(
    data: Any,
    weight: Any,
    strides: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    data_layout: str = "NCW",
    kernel_layout: str = "OIW",
    out_layout: str | None = None,
    out_dtype: str | None = None,
) -> Call:
    """padding: a number, or [in front, behind]."""
    _check_layout("conv1d", data_layout, kernel_layout, out_layout)
    window = _window("conv1d", strides, padding, dilation)
    return Call("relax.nn.conv1d", (data, weight), lambda op, x, w: op.Conv(x, w, group=groups, **window))


@relax_operator
def max_pool1d(
    data: Any,
    pool_size: Any = (1,),
    strides: Any = (1,),
    padding: Any = (0, 0),
    dilation: Any = (1,),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NCW",
    out_layout: str | None = None,
) -> Call:
    """The largest of every window; on a tie the first gets the gradient."""
    window = _pooled("max_pool1d", pool_size, strides, padding, dilation, ceil_mode, layout, out_layout)
    return Call("relax.nn.max_pool1d", (data,), lambda op, x: op.MaxPool(x, **window))


@relax_operator
def avg_pool1d(
    data: Any,
    pool_size: Any = (1,),
    strides: Any = (1,),
    padding: Any = (0, 0),
    dilation: Any = (1,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    layout: str = "NCW",
    out_layout: str | None = None,
) -> Call:
    """The mean of every window; count_include_pad: of what was padded too."""
    window = _pooled("avg_pool1d", pool_size, strides, padding, dilation, ceil_mode, layout, out_layout)
    window["count_include_pad"] = int(count_include_pad)
    return Call("relax.nn.avg_pool1d", (data,), lambda op, x: op.AveragePool(x, **window))


def _pooled(
    name: str, size: Any, strides: Any, padding: Any, dilation: Any, ceil_mode: bool, layout: str, out: str | None
) -> dict[str, Any]:
    """The attributes of ONNX's pooling operators."""
    _check_layout(name, layout, "OIW", out)
    window = _window(name, strides, padding, dilation)
    return window | {"kernel_shape": pair("pool_size", size, 1), "ceil_mode": int(ceil_mode)}


def _window(name: str, strides: Any, padding: Any, dilation: Any) -> dict[str, tuple[int, ...]]:
    pads = (padding,) if isinstance(padding, int | np.integer) else tuple(padding)
    if len(pads) not in (1, 2):
        raise RelaxValueError(f"relax.nn.{name}: padding is {list(pads)}; expected a number, or two (in front, behind)")
    return {
        "strides": pair("strides", strides, 1),
        "pads": tuple(int(p) for p in pads * (2 // len(pads))),
        "dilations": pair("dilation", dilation, 1),
    }


def _check_layout(name: str, data: str, kernel: str, out: str | None) -> None:
    if (data, kernel) != ("NCW", "OIW") or out not in (None, "", "NCW"):
        raise RelaxValueError(
            f"relax.nn.{name}: layouts {data}, {kernel}, {out}; expected NCW and OIW; use relax.op.permute_dims"
        )


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
    factor = None if scale is None else float(scale)

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
