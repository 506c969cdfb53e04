"""Writing nodes that a target does not take in operators that it does.

Two rounds: first our own gradient operators, whose decomposition of choice the target may not take (the gradients of
pooling, of Gather and of convolution); then what standard operators are left outside.  Shapes must be known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...dtypes import ONNX_CODES
from ...errors import AidgeJaxError
from ...graph import Graph, Node, Value
from ...interpreter.shape_inference import infer_shapes
from ...passes.fold import folded
from ...passes.rewrite import Replacement, replace_nodes
from ..artifacts.training_model import for_onnxruntime
from . import window_gradients
from .small_images import as_products
from .targets import Target, reason_against

MOST_ROUNDS = 8
FLOAT = 1
Takes = Callable[..., bool]


def in_target_operators(graph: Graph, target: Target) -> Graph:
    """The joint graph in operators of `target`, as far as there are forms for it."""

    def takes(*names: str) -> bool:
        return all(n in target.operators for n in names)

    gradients = {
        "MaxPoolGrad": partial(window_gradients.max_pool, takes),
        "ConvGradInput": partial(window_gradients.conv_input, takes),
        "ConvGradWeight": partial(window_gradients.conv_weight, takes),
        "GatherGrad": partial(_gather_grad, takes),
    }
    if takes("ScatterElements", "ScatterND"):
        del gradients["MaxPoolGrad"], gradients["GatherGrad"]
    if takes("Conv", "ConvTranspose", "Slice", "Pad", "Concat"):
        del gradients["ConvGradInput"], gradients["ConvGradWeight"]
    if takes("Gather", "MatMul", "Pad", "Reshape", "Transpose"):
        graph = as_products(infer_shapes(graph))
    graph = replace_nodes(graph, lambda node: _called(gradients[node.op]) if node.op in gradients else None)
    graph = for_onnxruntime(infer_shapes(graph))
    for _ in range(MOST_ROUNDS):
        graph = folded(infer_shapes(graph))
        outside = {n.name for n in graph.nodes if n.op in FORMS and reason_against(n, graph, target) is not None}
        if not outside:
            return graph
        before = [str(n) for n in graph.nodes]
        graph = replace_nodes(graph, partial(_form, graph, outside, takes))
        if [str(n) for n in graph.nodes] == before:
            return graph
    return graph


def _called(f: Callable[..., Any]) -> Replacement:
    return lambda op, *inputs, **attributes: f(op, *inputs, **attributes)


def _form(graph: Graph, outside: set[str], takes: Takes, node: Node) -> Replacement | None:
    if node.name not in outside:
        return None
    out = graph.value(node.output_names[0])

    def write(op: Any, *inputs: Any, **attributes: Any) -> Any:
        try:
            made = FORMS[node.op](op, takes, out, *_with_data(graph, node, inputs), **attributes)
        except _NoForm:
            made = None
        if made is None:
            made = getattr(op, node.op)(*inputs, outputs=len(node.outputs), **attributes)
        return made

    return write


class _NoForm(AidgeJaxError):
    """There is no other form for this node."""


def _with_data(graph: Graph, node: Node, inputs: tuple[Any, ...]) -> list[Any]:
    """Integer inputs that are constants as tuples: axes, shapes."""
    found: list[Any] = []
    for i in inputs:
        data = graph.constants.get(i.name) if isinstance(i, Value) else None
        whole = data is not None and data.dtype == np.int64 and data.ndim == 1
        found.append(tuple(int(k) for k in data) if whole and data is not None else i)
    return found


def _static(value: Value) -> tuple[int, ...]:
    if value.shape is None or not all(isinstance(d, int) for d in value.shape):
        raise _NoForm(f"{value} has no known shape")
    return tuple(d for d in value.shape if isinstance(d, int))


# ---- gradients ----------------------------------------------------------------------------------------


def _gather_grad(takes: Takes, op: Any, dy: Value, like: Value, indices: Any, *, axis: int) -> Any:
    """The product with the one-hot matrix of the indices: what each row was given is added up where it came from."""
    rank = like.rank or 0
    axis %= rank
    size = _static(like)[axis]
    known = not isinstance(indices, Value)
    gathered = np.ndim(indices) if known else indices.rank
    order = (*range(axis, axis + gathered), *range(axis), *range(axis + gathered, dy.rank or 0))
    first = op.Reshape(
        op.Transpose(dy, perm=order) if order != tuple(range(len(order))) else dy, (-1, _rest(like, axis))
    )
    classes = np.arange(size, dtype=np.float32).reshape(-1, 1)
    flat = op.Reshape(np.asarray(indices, np.float32) if known else op.Cast(indices, to=FLOAT), (1, -1))
    hot = op.CastLike(op.Equal(flat, classes), dy) if takes("Equal") else _alike(op, takes, flat, classes)
    dx = op.MatMul(hot, first)
    sizes = like.shape or ()
    dx = op.Reshape(dx, (size, *(d for k, d in enumerate(sizes) if k != axis)))
    back = np.argsort((axis, *(k for k in range(rank) if k != axis)))
    return dx if axis == 0 else op.Transpose(dx, perm=tuple(int(k) for k in back))


def _alike(op: Any, takes: Takes, a: Any, b: Any) -> Any:
    """1 where two whole numbers are the same, else 0."""
    apart = op.Abs(op.Sub(a, b))
    if not takes("Sign") and takes("Less", "Cast"):
        return op.Cast(op.Less(apart, 0.5), to=FLOAT)
    return op.Sub(1.0, op.Clip(apart, 0.0, 1.0) if takes("Clip") else op.Sign(apart))


def _rest(like: Value, axis: int) -> int:
    return math.prod(d for k, d in enumerate(_static(like)) if k != axis)


# ---- standard operators -------------------------------------------------------------------------------


def _cross_entropy(
    op: Any, takes: Takes, out: Value, scores: Value, labels: Value, weights: Any = None, **how: Any
) -> Any:
    if weights is not None or how.get("ignore_index") is not None or scores.rank != 2:
        return None
    logp = _log_softmax(op, takes, out, scores, axis=1)
    classes = np.arange(_static(scores)[1], dtype=np.float32)
    column = op.Unsqueeze(op.Cast(labels, to=FLOAT), (1,)) if takes("Unsqueeze") else op.Reshape(labels, (-1, 1))
    hot = (
        op.CastLike(op.Equal(column, classes), logp)
        if takes("Equal")
        else _alike(op, takes, op.CastLike(column, logp), classes)
    )
    each = op.Neg(op.ReduceSum(op.Mul(hot, logp), (1,), keepdims=0))
    reduction = how.get("reduction", "mean")
    loss = {"mean": op.ReduceMean, "sum": op.ReduceSum}.get(reduction)
    return (loss(each, keepdims=0) if loss is not None else each), logp


def _log_softmax(op: Any, takes: Takes, out: Value, x: Value, *, axis: int = -1) -> Any:
    if takes("ReduceMax"):
        x = op.Sub(x, op.ReduceMax(x, (axis,), keepdims=1))
    elif takes("Softmax", "Log"):
        return op.Log(op.Softmax(x, axis=axis))
    total = op.ReduceSum(op.Exp(x), (axis,), keepdims=1)
    return op.Sub(x, op.Log(total))


def _gemm(op: Any, takes: Takes, out: Value, a: Value, b: Value, c: Any = None, **how: Any) -> Any:
    a = op.Transpose(a, perm=(1, 0)) if how.get("transA") else a
    b = op.Transpose(b, perm=(1, 0)) if how.get("transB") else b
    y = op.MatMul(a, b)
    y = op.Mul(y, float(how["alpha"])) if how.get("alpha", 1.0) != 1 else y
    if c is None:
        return y
    return op.Add(y, op.Mul(c, float(how["beta"])) if how.get("beta", 1.0) != 1 else c)


def _sign(op: Any, takes: Takes, out: Value, x: Value) -> Any:
    if takes("Greater", "Less", "Cast"):
        return op.Sub(op.CastLike(op.Greater(x, 0.0), x), op.CastLike(op.Less(x, 0.0), x))
    return None


def _cast_like(op: Any, takes: Takes, out: Value, x: Any, like: Value) -> Any:
    return op.Cast(x, to=ONNX_CODES[like.dtype]) if like.dtype in ONNX_CODES and isinstance(x, Value) else None


def _gelu(op: Any, takes: Takes, out: Value, x: Value, *, approximate: str = "none") -> Any:
    if approximate != "none":
        inner = op.Mul(op.Add(x, op.Mul(op.Mul(op.Mul(x, x), x), 0.044715)), math.sqrt(2 / math.pi))
        return op.Mul(op.Mul(x, 0.5), op.Add(op.Tanh(inner), 1.0))
    return op.Mul(op.Mul(x, 0.5), op.Add(op.Erf(op.Mul(x, math.sqrt(0.5))), 1.0))


def _erf(op: Any, takes: Takes, out: Value, x: Value) -> Any:
    """Within 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26."""
    size = op.Abs(x)
    t = op.Div(1.0, op.Add(op.Mul(size, 0.3275911), 1.0))
    series: Any = 1.061405429
    for a in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = op.Add(op.Mul(t, series), a)
    return op.Mul(op.Sign(x), op.Sub(1.0, op.Mul(op.Mul(t, series), op.Exp(op.Neg(op.Mul(x, x))))))


def _reshape(op: Any, takes: Takes, out: Value, x: Value, *rest: Any, **how: Any) -> Any:
    return op.Reshape(x, _static(out))


def _expand(op: Any, takes: Takes, out: Value, x: Value, shape: Any, **how: Any) -> Any:
    return op.Add(x, np.zeros(_static(out), out.dtype or "float32"))


def _equal(op: Any, takes: Takes, out: Value, a: Any, b: Any) -> Any:
    def number(v: Any) -> Any:
        if isinstance(v, tuple):
            return np.asarray(v, np.float32)
        return op.Cast(v, to=FLOAT) if isinstance(v, Value) and not v.is_float else v

    return op.Less(op.Abs(op.Sub(number(a), number(b))), 0.5) if not _float(a) and not _float(b) else None


def _float(v: Any) -> bool:
    return isinstance(v, Value) and v.is_float


def _where(op: Any, takes: Takes, out: Value, condition: Value, a: Any, b: Any) -> Any:
    if out.dtype is None or "float" not in out.dtype:
        return None
    chosen = op.CastLike(condition, a if isinstance(a, Value) else b) if _float(a) or _float(b) else None
    if chosen is None:
        return None
    if b == 0.0 and not isinstance(b, Value):
        return op.Mul(chosen, a)
    return op.Add(op.Mul(chosen, a), op.Mul(op.Sub(1.0, chosen), b))


def _slice(
    op: Any, takes: Takes, out: Value, x: Value, starts: Any, ends: Any, axes: Any = None, steps: Any = None
) -> Any:
    """Every k-th element is the first of each group of k: no step is needed to take those."""
    if not isinstance(steps, tuple) or not isinstance(starts, tuple) or min(steps) < 1 or set(steps) == {1}:
        return None
    axes = tuple(range(len(starts))) if axes is None else axes
    whole, wanted = list(_static(x)), _static(out)
    begin, end, after = [0] * len(whole), list(whole), [0] * len(whole)
    groups: list[int] = []
    first: list[int] = []
    for start, step, axis in zip(starts, steps, axes, strict=True):
        axis %= len(whole)
        begin[axis] = start + whole[axis] if start < 0 else start
        reach = begin[axis] + wanted[axis] * step
        end[axis], after[axis] = min(reach, whole[axis]), max(0, reach - whole[axis])
    every = tuple(range(len(whole)))
    x = op.Slice(x, tuple(begin), tuple(end), every)
    if any(after):
        x = op.Pad(x, (*[0] * len(whole), *after))
    by_axis = {axis % len(whole): step for step, axis in zip(steps, axes, strict=True)}
    for axis in every:
        groups += [wanted[axis], by_axis.get(axis, 1)] if axis in by_axis else [wanted[axis]]
        first += [wanted[axis], 1] if axis in by_axis else [wanted[axis]]
    return op.Reshape(op.Slice(op.Reshape(x, tuple(groups)), (0,) * len(first), tuple(first)), wanted)


def _reciprocal(op: Any, takes: Takes, out: Value, x: Value) -> Any:
    return op.Div(1.0, x) if takes("Div") else None


def _batch_normalization(
    op: Any, takes: Takes, out: Value, x: Value, scale: Value, bias: Value, mean: Value, var: Value, **how: Any
) -> Any:
    if how.get("training_mode"):
        return None
    spread = (1, -1, *[1] * ((x.rank or 2) - 2))
    factor = op.Div(scale, op.Sqrt(op.Add(var, float(how.get("epsilon", 1e-5)))))
    shift = op.Sub(bias, op.Mul(mean, factor))
    return op.Add(op.Mul(x, op.Reshape(factor, spread)), op.Reshape(shift, spread))


def _greater_or_equal(op: Any, takes: Takes, out: Value, a: Any, b: Any) -> Any:
    return op.Not(op.Less(a, b)) if takes("Not") else None


def _layer_normalization(
    op: Any, takes: Takes, out: Value, x: Value, scale: Value, bias: Any = None, **how: Any
) -> Any:
    axes = tuple(range(how.get("axis", -1) % (x.rank or 1), x.rank or 1))
    mean = op.ReduceMean(x, axes, keepdims=1)
    d = op.Sub(x, mean)
    inverse = op.Div(
        1.0, op.Sqrt(op.Add(op.ReduceMean(op.Mul(d, d), axes, keepdims=1), float(how.get("epsilon", 1e-5))))
    )
    y = op.Mul(op.Mul(d, inverse), scale)
    return (y if bias is None else op.Add(y, bias)), mean, inverse


def _global_average_pool(op: Any, takes: Takes, out: Value, x: Value) -> Any:
    return op.ReduceMean(x, tuple(range(2, x.rank or 2)), keepdims=1)


def _abs(op: Any, takes: Takes, out: Value, x: Value) -> Any:
    if takes("Max", "Neg"):
        return op.Max(x, op.Neg(x))
    return op.Add(op.Relu(x), op.Relu(op.Neg(x))) if takes("Relu", "Neg", "Add") and out.is_float else None


def _sub(op: Any, takes: Takes, out: Value, a: Any, b: Any) -> Any:
    return op.Add(a, op.Neg(b) if takes("Neg") else op.Mul(b, -1.0)) if takes("Add") and _float(b) else None


def _div(op: Any, takes: Takes, out: Value, a: Any, b: Any) -> Any:
    return op.Mul(a, op.Reciprocal(b)) if takes("Mul", "Reciprocal") and _float(b) else None


def _neg(op: Any, takes: Takes, out: Value, x: Value) -> Any:
    return op.Mul(x, -1.0) if takes("Mul") and out.is_float else None


def _reduce_mean(op: Any, takes: Takes, out: Value, x: Value, axes: Any = None, **how: Any) -> Any:
    """The sum, times one over the number of elements."""
    sizes = _static(x)
    given = axes if isinstance(axes, tuple) else how.pop("axes", None)
    over = range(len(sizes)) if given is None else [a % len(sizes) for a in given]
    count = math.prod(sizes[a] for a in over)
    return op.Mul(op.ReduceSum(x, tuple(over), **how), 1.0 / count) if takes("ReduceSum", "Mul") else None


def _counted(op: Any, takes: Takes, out: Value, a: Any, b: Any, *, least: float) -> Any:
    """Or and And of two conditions: at least one of them holds, or both."""
    if not takes("Cast", "Add", "Greater"):
        return None
    return op.Greater(op.Add(op.Cast(a, to=FLOAT), op.Cast(b, to=FLOAT)), least - 0.5)


def _identity(op: Any, takes: Takes, out: Value, x: Value) -> Any:
    return op.Add(x, 0.0) if out.dtype and "float" in out.dtype else None


FORMS: dict[str, Callable[..., Any]] = {
    "Abs": _abs,
    "And": partial(_counted, least=2),
    "BatchNormalization": _batch_normalization,
    "CastLike": _cast_like,
    "Div": _div,
    "Equal": _equal,
    "Erf": _erf,
    "Expand": _expand,
    "Flatten": _reshape,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "GreaterOrEqual": _greater_or_equal,
    "Identity": _identity,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _log_softmax,
    "Neg": _neg,
    "Or": partial(_counted, least=1),
    "Reciprocal": _reciprocal,
    "ReduceMean": _reduce_mean,
    "Reshape": _reshape,
    "Sign": _sign,
    "Slice": _slice,
    "SoftmaxCrossEntropyLoss": _cross_entropy,
    "Squeeze": _reshape,
    "Sub": _sub,
    "Unsqueeze": _reshape,
    "Where": _where,
}
