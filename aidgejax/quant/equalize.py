"""Cross-layer equalization: channels of two layers in a row brought to the same range, the function unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..arguments import checked_call
from ..errors import GraphError, SettingError
from ..graph import Graph, Node
from ..interpreter.shape_inference import infer_shapes
from ..passes.fold_batchnorm import fold_batchnorm

# What commutes with scaling a channel by a positive number.
BETWEEN = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Identity")
MOST_SWEEPS = 100


@checked_call
def equalize(graph: Graph, *, target_delta: float = 0.01) -> Graph:
    """The graph (BatchNormalization folded) with the weights of consecutive layers equalized.

        f = sqrt(r2 / r1);  W1, b1 <- f W1, f b1;  W2 <- W2 / f

    r1, r2: the largest |W| of each output channel of the first layer, of the same input channel of the second.  Sweeps
    over all pairs joined by a single path until no pair's ranges differ by target_delta.
    Source: Nagel et al. 2019; aidge_quantization's cross_layer_equalization.
    """
    if not isinstance(target_delta, int | float | np.number) or not target_delta > 0:
        raise SettingError(f"target_delta is {target_delta!r}: expected above 0")
    if any(n.op in ("FakeQuantize", "QuantizeLinear", "Quant") for n in graph.nodes):
        raise GraphError(f"graph {graph.name!r} is quantized already: equalize the floating-point graph, then convert")
    copy = fold_batchnorm(infer_shapes(graph))
    pairs = _pairs(copy)
    for _ in range(MOST_SWEEPS):
        worst = max((_even(copy, a, b) for a, b in pairs), default=0.0)
        if worst < target_delta:
            break
    return copy


def _pairs(graph: Graph) -> list[tuple[Node, Node]]:
    readers, found = graph.readers(), []
    for node in graph.nodes:
        if _out_axis(graph, node) is None:
            continue
        tensor = node.output_names[0]
        while len(readers.get(tensor, [])) == 1 and tensor not in graph.outputs:
            (following,) = readers[tensor]
            if _out_axis(graph, following) is not None and following.inputs[0] == tensor:
                if _columns(graph, node, following) is not None:
                    found.append((node, following))
                break
            if following.op not in BETWEEN:
                break
            tensor = following.output_names[0]
    return found


def _out_axis(graph: Graph, node: Node) -> int | None:
    """The axis of output channels of a layer whose weight and bias are its own; None where it is none."""
    if node.op not in ("Conv", "Gemm") or node.inputs[1] not in graph.params:
        return None
    if any(len(graph.readers()[i]) > 1 or i not in graph.params for i in node.input_names[1:]):
        return None
    return 0 if node.op == "Conv" or node.attrs.get("transB", 0) else 1


def _columns(graph: Graph, a: Node, b: Node) -> np.ndarray | None:
    """[channels, ...]: the second layer's weight seen by the first one's output channels."""
    channels = graph.params[a.inputs[1]].shape[_out_axis(graph, a) or 0]
    w = graph.params[b.inputs[1]]
    if b.op == "Gemm":
        w = w.T if _out_axis(graph, b) == 0 else w
        return w.reshape(channels, -1) if len(w) % channels == 0 else None
    group = b.attrs.get("group", 1)
    if group == 1:
        return np.moveaxis(w, 1, 0).reshape(w.shape[1], -1) if w.shape[1] == channels else None
    return w.reshape(channels, -1) if group == channels == len(w) else None


def _even(graph: Graph, a: Node, b: Node) -> float:
    axis = _out_axis(graph, a) or 0
    first = graph.params[a.inputs[1]]
    seen = _columns(graph, a, b)
    if seen is None:
        return 0.0
    r1 = np.abs(np.moveaxis(first, axis, 0).reshape(first.shape[axis], -1)).max(1)
    r2 = np.abs(seen).max(1)
    usable = (r1 > 0) & (r2 > 0)
    f = np.where(usable, np.sqrt(r2 / np.where(usable, r1, 1)), 1).astype(first.dtype)
    shaped = lambda v, w, at: v.reshape([-1 if k == at else 1 for k in range(w.ndim)])
    _set(graph, a.inputs[1], first * shaped(f, first, axis))
    if len(a.inputs) > 2 and a.inputs[2] is not None:
        _set(graph, a.inputs[2], graph.params[a.inputs[2]] * f)
    w = graph.params[b.inputs[1]]
    if b.op == "Conv":
        _set(graph, b.inputs[1], w / shaped(f, w, 1 if b.attrs.get("group", 1) == 1 else 0))
    else:
        at = 1 - (_out_axis(graph, b) or 0)
        _set(graph, b.inputs[1], w / shaped(np.repeat(f, w.shape[at] // len(f)), w, at))
    return float(np.abs(r1 - r2)[usable].max(initial=0))


def _set(graph: Graph, name: str | float | tuple | None, data: np.ndarray) -> None:
    if isinstance(name, str):
        graph.producers[name] = replace(graph.producers[name], data=data)
