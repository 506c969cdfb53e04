"""Nodes of models from elsewhere as expressions of relax.op that compute the same: Gemm, Conv with a bias, pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....graph import Node
from . import op
from .expr import Call, Constant, ShapeExpr, TupleGetItem
from .types import TensorType


def equivalent(node: Node, args: Sequence[Any], types: Sequence[TensorType | None]) -> Any:
    """The expression, or None where nothing of relax.op computes what the node does.

    args: an expression for each input, a literal as it is, None for an absent one.  types: of the inputs.
    """
    if len(node.outputs) > 1 and any(o is not None for o in node.outputs[1:]):
        return None
    form = FORMS.get(node.op)
    return None if form is None or node.domain else form(args, node.attrs, types)


def _number(value: Any) -> Any:
    """A literal or a constant of one element as a Python number; None for anything else."""
    if isinstance(value, Constant) and value.data.size == 1:
        return value.data.item()
    return value if isinstance(value, int | float) else None


def _gemm(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Any:
    if a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
        return None
    x = op.permute_dims(args[0]) if a.get("transA") else args[0]
    w = op.permute_dims(args[1]) if a.get("transB") else args[1]
    product = op.matmul(x, w)
    return product if len(args) < 3 or args[2] is None else op.add(product, args[2])


def _window(a: Any, rank: int) -> dict[str, Any] | None:
    if a.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    return {
        "strides": list(a.get("strides") or [1] * rank),
        "padding": list(a.get("pads") or [0] * (2 * rank)),
        "dilation": list(a.get("dilations") or [1] * rank),
    }


def _conv(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Any:
    rank = types[0].ndim - 2
    window = _window(a, rank)
    form = {1: op.nn.conv1d, 2: op.nn.conv2d, 3: op.nn.conv3d}.get(rank)
    if window is None or form is None:
        return None
    y = form(args[0], args[1], groups=int(a.get("group", 1)), **window)
    if len(args) < 3 or args[2] is None:
        return y
    return op.add(y, op.reshape(args[2], ShapeExpr([1, -1] + [1] * rank)))


def _pool(kind: str) -> Callable[..., Any]:
    def form(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Any:
        rank = types[0].ndim - 2
        window = _window(a, rank)
        if window is None or rank not in (1, 2, 3) or a.get("storage_order"):
            return None
        made = getattr(op.nn, f"{kind}_pool{rank}d")
        more = {"count_include_pad": bool(a.get("count_include_pad", 0))} if kind == "avg" else {}
        return made(args[0], list(a["kernel_shape"]), ceil_mode=bool(a.get("ceil_mode", 0)), **window, **more)

    return form


def _flatten(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Any:
    return op.nn.batch_flatten(args[0]) if a.get("axis", 1) == 1 else None


def _clip(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Any:
    low, high = (_number(args[k]) if len(args) > k else None for k in (1, 2))
    return None if low is None or high is None else op.clip(args[0], low, high)


def _batch_norm(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Any:
    if a.get("training_mode"):
        return None
    call = op.nn.batch_norm(*args, axis=1, epsilon=float(a.get("epsilon", 1e-5)), training=False)
    return TupleGetItem(call, 0)


def _gather(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Any:
    return op.take(args[0], args[1], axis=int(a.get("axis", 0)))


def _average(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Any:
    return op.mean(args[0], list(range(2, types[0].ndim)), True)


def _leaky(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Call:
    return op.nn.leakyrelu(args[0], float(a.get("alpha", 0.01)))


def _relu(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Call:
    return op.nn.relu(args[0])


def _reshape(args: Sequence[Any], a: Any, types: Sequence[Any]) -> Any:
    sizes = args[1].data.ravel() if isinstance(args[1], Constant) else getattr(args[1], "values", None)
    if sizes is None or (a.get("allowzero") and 0 in list(sizes)):
        return None
    return op.reshape(args[0], tuple(int(d) if isinstance(d, int | np.integer) else d for d in sizes))


FORMS: dict[str, Callable[..., Any]] = {
    "AveragePool": _pool("avg"),
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _conv,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _average,
    "LeakyRelu": _leaky,
    "MaxPool": _pool("max"),
    "Relu": _relu,
    "Reshape": _reshape,
}
