"""A graph trained with quantizers becomes one of integers: weights and biases whole numbers, Quantizers between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..aidge_core.dtypes import dtype
from ..aidge_core.errors import GraphViewError, OrderError
from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node, Port
from ..aidge_core.operators import make_operator
from ..aidge_core.quantizers import Quantizer
from ..aidge_core.recipes.surgery import constant, like, put_in_place
from ..aidge_core.tensor import Tensor
from .graphs import affine, sources_above
from .ptq_ranges import factors, set_factors
from .quantizers import cast_quantizer_ios, clip_range

TRAINED = ("LSQ", "TanhClamp", "DoReFa", "ScaleAdjust", "CGPACT")


@dataclass
class Grid:
    """Steps of a quantizer, and its smallest and largest integer."""

    step: float
    low: float
    high: float


def post_training_transform(network: GraphView, true_integers: bool, call: str) -> None:
    """LSQ, DoReFa and CGPACT into integers: see lsq.post_training_transform."""
    layers = affine(network, call)
    found = []
    for node in layers:
        weight = sources_above(node, 1, *TRAINED)
        if not any(n.type() in ("LSQ", "DoReFa") for n in weight):
            continue
        data = node.sources[0]
        above = data.node if data is not None and data.node.type() in ("LSQ", "CGPACT") else None
        found.append((node, weight, above, 1.0 if above is None else _grid(above).step))
    if not found:
        raise OrderError(f"{call}: no weight of the graph has an LSQ or a DoReFa above it")
    steps: dict[Node, float] = {}
    for node, weight, above, before in found:
        quantizer = weight[-1]
        step, integers = _integers(weight)
        top = quantizer.sources[0]
        producer = None if top is None else top.node
        if producer is None:
            raise OrderError(f"{call}: the weight of node {node.name()!r} is fed by nothing")
        _write(producer, integers, dtype.int8 if true_integers else None)
        for k, inserted in enumerate(weight):
            if k == 0:
                put_in_place(network, inserted, producer, [])
            else:
                network.remove(inserted, include_attached_producers=False)
        bias = node.sources[2]
        if bias is not None:
            values = bias.node.get_operator().get_output(0).cell.read().astype(np.float64)
            _write(bias.node, _away(values / (before * step)), dtype.int32 if true_integers else None)
        if above is not None:
            _quantizer(network, above)
        steps[node] = before * step
    for node in layers:
        if node in steps:
            _rescale(network, node, steps[node], true_integers)
    if true_integers:
        _cast(network, steps)


def _grid(quantizer: Node) -> Grid:
    op = quantizer.get_operator()
    second = op.get_input(1)
    value = float(second.cell.read().reshape(-1)[0]) if second is not None else 0.0
    if not value > 0:
        raise OrderError(f"node {quantizer.name()!r}: its step is {value:g}; run a forward or train first")
    if quantizer.type() == "LSQ":
        low, high = (float(r) for r in op.attr.range)
        return Grid(value, low, high)
    return Grid(value / float(op.attr.range), 0.0, float(op.attr.range))


def _away(x: np.ndarray) -> np.ndarray:
    """Rounded, halves away from zero."""
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


def _integers(above: list[Node]) -> tuple[float, np.ndarray]:
    """The weight's step, and its integers: from what the quantizer gives in a forward."""
    for node in reversed(above):
        node.forward()
    quantizer = next(n for n in above if n.type() in ("LSQ", "DoReFa"))
    given = quantizer.get_operator().get_output(0).cell.read().astype(np.float64)
    step = _grid(quantizer).step if quantizer.type() == "LSQ" else 1.0 / float(quantizer.get_operator().attr.range)
    last = above[0].get_operator().get_output(0).cell.read().astype(np.float64)
    at = int(np.argmax(np.abs(given)))
    scale = float(last.reshape(-1)[at] / given.reshape(-1)[at]) if given.reshape(-1)[at] else 1.0  # of a ScaleAdjust
    return step * scale, _away(given / step)


def _write(producer: Node, values: np.ndarray, kind: dtype | None) -> None:
    tensor = producer.get_operator().get_output(0)
    if kind is not None:
        limit = 2.0 ** (7 if kind is dtype.int8 else 31)
        if values.min() < -limit or values.max() >= limit:
            raise GraphViewError(f"Producer {producer.name()!r}: {values.min():g} to {values.max():g} exceeds {kind}")
        tensor.set_datatype(kind)
    tensor.copy_from(Tensor(np.ascontiguousarray(values.astype(tensor.cell.dtype))))


def _quantizer(graph: GraphView, trained: Node) -> None:
    """A Quantizer <trained>_quant in the place of the quantizer that was trained."""
    grid, source = _grid(trained), trained.sources[0]
    name = f"{trained.name()}_quant"
    made = Quantizer(1 / grid.step, name=name, round=True, clip_min=grid.low, clip_max=grid.high)
    put_in_place(graph, trained, made, [source])


def _rescale(graph: GraphView, node: Node, scale: float, true_integers: bool) -> None:
    """The layer's sums become real numbers: in the next Quantizer's factor where one node after the other leads there
    through ReLU and MaxPooling, else by a Mul <layer>_Scaling."""
    after = node
    while len(after.readers[0]) == 1:
        after = after.readers[0][0].node
        if after.type() == "Quantizer":
            set_factors(after, factors(after) * scale)
            return
        if after.type() != "ReLU" and not after.type().startswith("MaxPooling"):
            break
    made = Node(make_operator("Mul"), f"{node.name()}_Scaling")
    by = constant(np.asarray([scale], np.float32), f"{node.name()}_Scaling_scaling", node, trained=True)
    readers = list(node.readers[0])
    first: Node = made
    if true_integers:
        first = Node(make_operator("Cast", target_type=dtype.float32), f"{node.name()}_Scaling_cast")
        first.add_child(made, 0, 0)
    for reader, k in readers:
        made.add_child(reader, 0, k)
    node.add_child(first, 0, 0)
    by.add_child(made, 0, 1)
    for n in dict.fromkeys((first, made)):
        like(n, node)
    graph.add([by, *dict.fromkeys((first, made))])
    if graph.chosen_outputs is not None:
        graph.chosen_outputs = [Port(made, 0) if p == Port(node, 0) else p for p in graph.chosen_outputs]


def _cast(graph: GraphView, steps: dict[Node, Any]) -> None:
    """Integer tensors from every Quantizer to the sums of its layer."""
    for node in steps:
        source = node.sources[0]
        if source is None or source.node.type() != "Quantizer":
            raise GraphViewError(
                f"node {node.name()!r} reads real numbers: true_integers needs quantized activations "
                f"(insert_activ_quantizers)"
            )
    for node in {n.sources[0].node for n in steps if n.sources[0] is not None}:
        cast_quantizer_ios(node, dtype.int8 if clip_range(node)[0] < 0 else dtype.uint8)
    for node in steps:
        node.get_operator().set_datatype(dtype.int32)
