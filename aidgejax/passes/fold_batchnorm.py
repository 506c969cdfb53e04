"""BatchNormalization folded into the layer before it: one affine map less, and the same function in inference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node, Producer
from ..interpreter.shape_inference import infer_shapes

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def fold_batchnorm(graph: Graph) -> Graph:
    """The same graph with each BatchNormalization folded into the Conv, ConvTranspose, Gemm or MatMul that feeds it.

        W' = W g / sqrt(var + epsilon)      b' = (b - mean) g / sqrt(var + epsilon) + bias     per output channel

    A layer without a bias gets one, `<layer>.bias`; the layer then writes what the normalization wrote, so that tensors
    behind it keep their names.  Left as they are: normalizations that normalize by their batch, whose layer has another
    reader or is read as an output, whose layer's weight is shared or computed, and those behind anything else.
    Computed in float64, rounded once.
    """
    copy = graph.copy()
    for norm in graph.nodes:
        if norm.op == "BatchNormalization":
            layer = _layer_before(copy, norm)
            if layer is not None:
                _fold(copy, layer, norm)
    copy.prune()
    held = {i for n in copy.nodes for i in n.input_names} | set(copy.outputs)
    gone = {i for n in graph.nodes for i in n.input_names} - held
    copy.producers = {k: p for k, p in copy.producers.items() if k not in gone}
    return infer_shapes(copy.check())


def affine_of(
    gain: np.ndarray, shift: np.ndarray, mean: np.ndarray, var: np.ndarray, epsilon: float, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """(factor, offset) per channel, f64[c]: a normalization by running statistics is factor * x + offset.

    Raises GraphError, naming `where`, for a variance of -epsilon or below.
    """
    gain, shift, mean, var = (np.asarray(a, np.float64).reshape(-1) for a in (gain, shift, mean, var))
    if np.any(var + epsilon <= 0):
        raise GraphError(f"{where} has a variance below -epsilon: it cannot be folded")
    factor = gain / np.sqrt(var + epsilon)
    return factor, shift - mean * factor


def _layer_before(graph: Graph, norm: Node) -> Node | None:
    layer = graph.writer().get(norm.inputs[0])
    if layer is None or layer.op not in LAYERS or norm.attrs.get("training_mode"):
        return None
    if any(i not in graph.producers for i in norm.inputs[1:5]) or len(norm.output_names) > 1:
        return None
    readers = graph.readers()
    if len(readers[norm.inputs[0]]) > 1 or norm.inputs[0] in graph.outputs:
        return None
    for i in layer.inputs[1:3]:
        if i is not None and (i not in graph.producers or len(readers[i]) > 1 or i in graph.outputs):
            return None
    attrs = layer.attrs
    if layer.op == "Gemm" and (attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0):
        return None
    weight = graph.producers[layer.inputs[1]].data
    if layer.op == "MatMul" and (weight.ndim != 2 or graph.value(layer.inputs[0]).rank != 2):
        return None
    return layer


def _fold(graph: Graph, layer: Node, norm: Node) -> None:
    epsilon = norm.attrs.get("epsilon", 1e-5)
    gain, shift, mean, var = (graph.producers[i].data for i in norm.inputs[1:5])
    where = f"node {norm.name!r} of graph {graph.name!r}"
    factor, offset = affine_of(gain, shift, mean, var, epsilon, where)
    producer = graph.producers[layer.inputs[1]]
    weight = producer.data.astype(np.float64)
    groups = layer.attrs.get("group", 1)
    if layer.op == "ConvTranspose":  # [in, out / groups, *kernel]
        each = factor.reshape(groups, 1, -1)
        scaled = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1) * each[..., None]
        weight = scaled.reshape(weight.shape)
    elif layer.op == "MatMul" or (layer.op == "Gemm" and not layer.attrs.get("transB", 0)):
        weight = weight * factor
    else:
        weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    old = layer.inputs[2] if len(layer.inputs) > 2 else None
    bias = 0.0 if old is None else graph.producers[old].data.astype(np.float64).reshape(-1)
    bias = np.broadcast_to(bias * factor + offset, factor.shape)
    name = old or graph.fresh(f"{layer.name}.bias")
    role = graph.producers[norm.inputs[2]].role if old is None else graph.producers[old].role
    graph.producers[layer.inputs[1]] = replace(producer, data=weight.astype(producer.data.dtype))
    graph.producers[name] = Producer(name, bias.astype(producer.data.dtype), role)
    folded = layer.replace(
        op="Gemm" if layer.op == "MatMul" else layer.op,
        inputs=(layer.inputs[0], layer.inputs[1], name),
        outputs=norm.outputs[:1],
    )
    graph.nodes = [folded if n.name == layer.name else n for n in graph.nodes if n.name != norm.name]
    graph.values.pop(norm.inputs[0], None)
