"""What data without labels can mend after calibration, without training: biases, and the direction of each rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..arguments import checked_call, whole_number
from ..errors import GraphError
from ..execution.program import make_program
from ..graph import Graph, Node
from ..interpreter.shape_inference import infer_shapes
from ..passes.edit import passed_on
from .batches import Batches, each_batch
from .calibrate import bypassed
from .convert import Layer, layers
from .notes import restored
from .sites import weight_axis

Run = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]


@checked_call
def correct_bias(graph: Graph, data: Batches) -> Graph:
    """The graph with each layer's bias moved by the mean error that quantization leaves in its output, per channel.

    Layer by layer in order, each seeing those before it corrected.  Layers without a bias are left; a converted graph
    has them where BatchNormalization was.  Source: Nagel et al. 2019 (empirical bias correction).
    """
    graph = infer_shapes(restored(graph))
    mendable = [(layer, b) for layer in layers(graph) if (b := _bias_of(graph, layer)) is not None]
    if not mendable:
        raise GraphError(f"graph {graph.name!r} has no quantized layer with a bias")
    tensors = [layer.node.output_names[0] for layer, _ in mendable]
    floats, quantized = runner(floating(graph), tensors), runner(graph, tensors)
    batches = list(each_batch(graph, data))
    params: dict[str, Any] = dict(graph.params)
    want = _channel_means(floats, dict(graph.params), batches, tensors)
    for (_, bias), t in zip(mendable, tensors, strict=True):
        got = _channel_means(quantized, params, batches, [t])
        params[bias] = (params[bias] + want[t] - got[t]).astype(params[bias].dtype)
    return graph.with_params(params)


def _bias_of(graph: Graph, layer: Layer) -> str | None:
    """The parameter that a layer's rounded bias is made of."""
    if layer.node.op == "MatMul" or len(layer.node.inputs) < 3:
        return None
    writer = graph.writer().get(layer.node.inputs[2])
    name = writer.inputs[0] if writer is not None and writer.op == "RoundTo" else layer.node.inputs[2]
    return name if name in graph.params else None


def floating(graph: Graph) -> Graph:
    """The graph with no quantizer at all."""
    copy = bypassed(graph, [n for n in graph.nodes if n.op == "FakeQuantize"])
    return copy.map_nodes(lambda n: passed_on(n) if n.op == "RoundTo" else n)


def runner(graph: Graph, tensors: list[str]) -> Run:
    """(params, batch) -> {tensor: array}, compiled."""
    watch = graph.copy()
    watch.metadata = {}
    watch.outputs = list(dict.fromkeys(tensors))
    program = make_program(watch, wrt=[], training=False)
    call = jax.jit(lambda p, x: program.forward(p, watch.buffers, x, jax.random.key(0), save=False)[0])
    return lambda params, batch: call({k: params[k] for k in program.graph.params}, batch)


def _channel_means(run: Run, params: dict, batches: list, tensors: list[str]) -> dict[str, np.ndarray]:
    sums: dict[str, Any] = dict.fromkeys(tensors, 0.0)
    count = 0
    for batch in batches:
        found = jax.device_get(run(params, batch))
        rows = len(next(iter(batch.values())))
        for t in tensors:
            a = np.asarray(found[t], np.float64)
            sums[t] = sums[t] + a.mean(axis=tuple(k for k in range(a.ndim) if k != 1)) * rows
        count += rows
    return {t: s / count for t, s in sums.items()}


# ---- rounding -----------------------------------------------------------------------------------------


@checked_call
def round_learned(graph: Graph, data: Batches, *, rows: int = 256, sweeps: int = 4) -> Graph:
    """The graph with each weight rounded up or down as its layer's output wants it, not to the nearest.

    Per output channel the sum of (x . e)^2 over the data, e what rounding adds to its weights, is lowered by turning
    one weight at a time from the one neighbouring level to the other, `sweeps` times through all.  It never rises above
    what rounding to nearest gives.  Layers: Conv of one group, Gemm, MatMul; others stay.
    The objective is that of Nagel et al. 2020 (AdaRound), descended by coordinates.
    """
    for name, value in (("rows", rows), ("sweeps", sweeps)):
        whole_number(name, value, 1)
    graph = infer_shapes(restored(graph))
    chosen = [layer for layer in layers(graph) if layer.node.attrs.get("group", 1) == 1 and _is_matrix(graph, layer)]
    if not chosen:
        raise GraphError(f"graph {graph.name!r} has no quantized layer that can be rounded so")
    side = {layer.name: (layer.weight.inputs[1], layer.weight.output_names[0]) for layer in chosen}
    watched = [layer.node.inputs[0] for layer in chosen]
    run = runner(graph, watched + [t for pair in side.values() for t in pair if t not in graph.producers])
    batch = next(iter(each_batch(graph, data, rows)))
    params: dict[str, Any] = dict(graph.params)
    for layer in chosen:
        seen = jax.device_get(run(params, batch))
        step, x = side[layer.name][0], np.asarray(seen[layer.node.inputs[0]])
        held = np.asarray(seen[step] if step in seen else graph.producers[step].data)
        params[layer.weight.inputs[0]] = _rounded(graph, layer, x, params, held, sweeps)
    return graph.with_params(params)


def _is_matrix(graph: Graph, layer: Layer) -> bool:
    """A weight that is a parameter itself, with one step for all or one per output channel, zero point 0."""
    weight, step = graph.producers.get(layer.weight.inputs[0]), graph.value(layer.weight.inputs[1]).shape
    if weight is None or layer.node.op not in ("Conv", "Gemm", "MatMul") or layer.weight.inputs[2] is not None:
        return False
    axis = weight_axis(graph, layer.node)
    return (
        weight.role == "parameter"
        and axis is not None
        and step is not None
        and all(n == 1 or k == axis for k, n in enumerate(step))
    )


def _rounded(graph: Graph, layer: Layer, x: np.ndarray, params: dict, step: np.ndarray, sweeps: int) -> np.ndarray:
    weight = np.asarray(params[layer.weight.inputs[0]], np.float64)
    axis = weight_axis(graph, layer.node) or 0
    low, high = layer.weight.inputs[3:5]
    w = np.moveaxis(weight, axis, 0)
    shape = w.shape
    w = w.reshape(len(w), -1)
    s = np.broadcast_to(step.reshape(-1, 1) if step.size > 1 else step.reshape(1, 1), (len(w), 1)).astype(np.float64)
    seen = _windows(layer.node, x, weight.shape)
    gram = seen.T @ seen
    down = np.clip(np.floor(w / s), low, high)
    up = np.clip(down + 1, low, high)
    level = np.clip(np.rint(w / s), low, high)
    error = level * s - w
    pull = error @ gram  # half the slope of each channel's sum of squares
    for _ in range(sweeps):
        changed = 0
        for j in range(w.shape[1]):
            other = np.where(level[:, j] == down[:, j], up[:, j], down[:, j])
            move = (other - level[:, j]) * s[:, 0]
            gain = 2 * move * pull[:, j] + move**2 * gram[j, j]
            better = gain < -1e-12
            if better.any():
                changed += int(better.sum())
                change = np.where(better, move, 0.0)
                pull += change[:, None] * gram[j]
                level[:, j] = np.where(better, other, level[:, j])
        if not changed:
            break
    return np.moveaxis((level * s).reshape(shape), 0, axis).astype(np.float32)


def _windows(node: Node, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """f[places, inputs]: what each output of a layer is a product with."""
    if node.op != "Conv":
        return x.reshape(-1, x.shape[-1]).astype(np.float64)
    rank = x.ndim - 2
    kernel, strides = shape[2:], node.attrs.get("strides") or (1,) * rank
    dilations = node.attrs.get("dilations") or (1,) * rank
    pads = node.attrs.get("pads") or (0,) * 2 * rank
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        pads = tuple((k - 1) // 2 for k in kernel) + tuple(k // 2 for k in kernel)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    sizes = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(x, sizes, axis=tuple(range(2, 2 + rank)))
    every = [slice(None, None, k) for k in (1, 1, *strides, *dilations)]
    seen = seen[tuple(every)]
    seen = np.moveaxis(seen, 1, 1 + rank)  # [n, *places, channels, *kernel]
    return seen.reshape(-1, int(np.prod(shape[1:]))).astype(np.float64)
