"""The first stages of quantization after training: scaling nodes, and the ranges that they divide by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..aidge_core.errors import GraphViewError, OrderError
from ..aidge_core.execution import SequentialScheduler
from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node, Port
from ..aidge_core.quantizers import Quantizer
from ..aidge_core.recipes.surgery import checked, data_of, like, redirect
from ..aidge_core.tensor import Tensor
from .clipping import Clipping, clipped_part
from .graphs import affine, insert
from .quantizers import inner
from .tags import MERGING, PATH, TRANSPARENT, precision_of

# ---- scaling nodes ----------------------------------------------------------------------------------------


def factors(node: Node) -> np.ndarray:
    """The factor of a scaling node, one or one per channel, f64 in the shape in which it multiplies."""
    mul = inner(node, "Mul")
    tensor = None if mul is None else mul.get_operator().get_input(1)
    if tensor is None:
        raise GraphViewError(f"node {node.name()!r} has no factor")
    return tensor.cell.read().astype(np.float64)


def set_factors(node: Node, value: np.ndarray) -> None:
    mul = inner(node, "Mul")
    tensor = None if mul is None else mul.get_operator().get_input(1)
    if tensor is not None:
        tensor.copy_from(Tensor(np.asarray(value, np.float32)))


def set_tag(node: Node, key: str) -> None:
    node.annotations().set_attr(f"{PATH}.{key}", 0.0)


def has_tag(node: Node, key: str) -> bool:
    return node.annotations().has_attr(f"{PATH}.{key}")


def _behind(graph: GraphView, node: Node, new: Node) -> None:
    """Put a node behind the first output, in front of all that read it."""
    redirect(graph, Port(node, 0), Port(new, 0))
    node.add_child(new, 0, 0)
    if graph.chosen_outputs is not None:
        graph.chosen_outputs = [Port(new, 0) if p == Port(node, 0) else p for p in graph.chosen_outputs]
    like(new, node)
    graph.add(new)


def insert_scaling_nodes(network: GraphView, channel_wise: bool = False) -> None:
    """<layer>_Scaling behind layers and merging nodes, <producer>_ProducerScaling in front of weights and biases, and
    <source>_Res where what others read too is merged.  All factors are 1, one per output channel with channel_wise."""
    for node in list(checked(network, "insert_scaling_nodes").execution_order()):
        if node.type() in MERGING:
            for k, source in enumerate(list(node.sources)):
                if source is not None and len(source.node.readers[source.index]) > 1:
                    residual = Quantizer(1.0, name=f"{source.node.name()}_Res")
                    insert(network, node, k, residual)
                    set_tag(residual, "isActivationQuantizer")
                    set_tag(residual, "isResidual")
    for node in list(network.execution_order()):
        if node in affine(network, "insert_scaling_nodes"):
            for k in (1, 2):
                source = node.sources[k]
                if source is not None:
                    made = Quantizer(1.0, name=f"{source.node.name()}_ProducerScaling")
                    insert(network, node, k, made)
                    data = data_of(made, 0)
                    if channel_wise and data is not None:
                        set_factors(made, np.ones((len(data), *[1] * (data.ndim - 1))))
                    set_tag(made, "isProducerQuantizer")
        if node in affine(network, "insert_scaling_nodes") or node.type() in MERGING:
            made = Quantizer(1.0, name=f"{node.name()}_Scaling")
            _behind(network, node, made)
            weight = parameter_scaling(node, 1) if node.type() not in MERGING else None
            data = None if weight is None else data_of(weight, 0)
            if channel_wise and data is not None:
                set_factors(made, np.ones((len(data), *[1] * (data.ndim - 2))))
            set_tag(made, "isActivationQuantizer")


def scaling_behind(node: Node) -> Node:
    return node.readers[0][0].node


def parameter_scaling(node: Node, k: int) -> Node | None:
    source = node.sources[k]
    return source.node if source is not None and has_tag(source.node, "isProducerQuantizer") else None


def normalize_parameters(network: GraphView, channel_wise: bool) -> None:
    """Weights into [-1, 1], of a layer or of each output channel; the scaling node behind takes the factor back."""
    for node in affine(network, "normalize_parameters"):
        weight = parameter_scaling(node, 1)
        data = None if weight is None else data_of(weight, 0)
        if weight is None or data is None:
            raise OrderError(f"node {node.name()!r} has no scaling nodes: call insert_scaling_nodes first")
        if channel_wise:
            most = np.abs(data).reshape(len(data), -1).max(1).astype(np.float64)
        else:
            most = np.abs(data).max(keepdims=True).reshape(1).astype(np.float64)
        most = np.where(most > 0, most, 1.0)
        behind = scaling_behind(node)
        multiply(weight, (1 / most).reshape(-1, *[1] * (data.ndim - 1)) if channel_wise else 1 / most)
        bias = parameter_scaling(node, 2)
        if bias is not None:
            multiply(bias, 1 / most)
        multiply(behind, most.reshape(-1, *[1] * (data.ndim - 2)) if channel_wise else most)


def multiply(node: Node, by: Any) -> None:
    set_factors(node, factors(node) * by)


# ---- ranges -----------------------------------------------------------------------------------------------


def _outputs(graph: GraphView, calibration: Sequence[Any], nodes: Sequence[Node]) -> Any:
    """For each calibration tensor, the first output of each of these nodes."""
    if not calibration:
        raise OrderError("the calibration set is empty: give a list of Tensors")
    scheduler = SequentialScheduler(graph)
    for x in calibration:
        scheduler.forward(True, data=[x])
        yield [n.get_operator().get_output(0).cell.read() for n in nodes]


def compute_ranges(network: GraphView, calibration_set: Sequence[Any], scaling_nodes_only: bool) -> dict[Node, float]:
    """{node: max |first output|} over the calibration set."""
    nodes = [
        n
        for n in checked(network, "compute_ranges").execution_order()
        if (has_tag(n, "isActivationQuantizer") if scaling_nodes_only else n.type() != "Producer")
    ]
    found = dict.fromkeys(nodes, 0.0)
    for values in _outputs(network, calibration_set, nodes):
        for node, value in zip(nodes, values, strict=True):
            found[node] = max(found[node], float(np.abs(value).max()))
    return found


def compute_histograms(
    value_range: dict[Node, float], network: GraphView, calibration_set: Sequence[Any]
) -> dict[Node, tuple[list[int], int]]:
    """{node: (counts of |first output| in 2^(bits + 4) bins from 0 to its range, bits of its precision)}"""
    nodes = list(value_range)
    counts = {n: np.zeros(_bins(bits(n)), np.int64) for n in nodes}
    for values in _outputs(network, calibration_set, nodes):
        for node, value in zip(nodes, values, strict=True):
            counts[node] += _counted(value, value_range[node], len(counts[node]))
    return {n: (counts[n].tolist(), bits(n)) for n in nodes}


def _bins(bits: int) -> int:
    """16 for each level, as Aidge; no more than 2^20."""
    return int(2 ** (min(bits, 16) + 4))


def _counted(value: np.ndarray, most: float, bins: int) -> np.ndarray:
    at = np.rint(np.abs(value).astype(np.float64) / max(most, 1e-30) * bins).astype(np.int64)
    return np.bincount(np.minimum(at, bins - 1).reshape(-1), minlength=bins)


def input_range(mode: Clipping, graph: GraphView, calibration: Sequence[Any]) -> float:
    """The range of the graph's input over the calibration set, clipped as the activations' are."""
    arrays = [np.asarray(x) for x in calibration]
    most = max(float(np.abs(a).max()) for a in arrays)
    if mode is Clipping.MAX:
        return most
    width = bits(graph.get_ordered_inputs()[0].node)
    histogram = np.sum([_counted(a, most, _bins(width)) for a in arrays], axis=0)
    return most * clipped_part(mode, histogram, width)


def bits(node: Node) -> int:
    """The precision of the activation that a scaling node scales."""
    source: Node | None = node
    while source is not None and not source.annotations().has_attr(f"{PATH}.precision"):
        above = source.sources[0] if source.sources else None
        source = None if above is None else above.node
    return 8 if source is None else precision_of(source)


def adjust_ranges(
    clipping_mode: Clipping,
    value_ranges: dict[Node, float],
    network: GraphView,
    calibration_set: Sequence[Any],
    verbose: bool = False,
) -> dict[Node, float]:
    """The ranges, clipped as clipping_mode says; only those of scaling nodes change."""
    if clipping_mode is Clipping.MAX:
        return dict(value_ranges)
    chosen = {n: r for n, r in value_ranges.items() if has_tag(n, "isActivationQuantizer")}
    found = dict(value_ranges)
    for node, (histogram, bits) in compute_histograms(chosen, network, calibration_set).items():
        found[node] = clipped_part(clipping_mode, histogram, bits) * value_ranges[node]
        if verbose:
            print(f"{node.name()}: range {value_ranges[node]:g} -> {found[node]:g}")
    return found


def scaling_above(node: Node, k: int = 0) -> Node | None:
    """The scaling node whose values reach this input through transparent nodes; None for the graph's input."""
    source = node.sources[k]
    while source is not None and source.node.type() in TRANSPARENT:
        source = source.node.sources[0]
    return source.node if source is not None and source.node.type() == "Quantizer" else None


def shared_ranges(graph: GraphView, ranges: dict[Node, float]) -> dict[Node, float]:
    """The ranges, where what an Add or a Concat merges shares the largest."""
    found = dict(ranges)
    for node in graph.execution_order():
        if node.type() in MERGING:
            merged = [s for k in range(node.get_nb_inputs()) if (s := scaling_above(node, k)) is not None]
            most = max((found[s] for s in merged), default=0.0)
            found.update(dict.fromkeys(merged, most))
    return found


def normalize_activations(network: GraphView, value_ranges: dict[Node, float], input_range: float = 1.0) -> None:
    """All activations into [-1, 1]: every scaling node multiplies by the range before it over its own."""
    ranges = shared_ranges(checked(network, "normalize_activations"), value_ranges)

    def before(node: Node, k: int = 0) -> float:
        above = scaling_above(node, k)
        return input_range if above is None else max(ranges[above], 1e-30)

    merging = [n for n in network.execution_order() if n.type() in MERGING]
    changes: list[tuple[Node, float]] = []
    for node in affine(network, "normalize_activations"):
        behind, bias = scaling_behind(node), parameter_scaling(node, 2)
        changes.append((behind, before(node) / max(ranges[behind], 1e-30)))
        if bias is not None:
            changes.append((bias, 1 / before(node)))
    for node in merging:
        behind = scaling_behind(node)
        changes.append((behind, before(node) / max(ranges[behind], 1e-30)))
    for node in network.execution_order():
        if has_tag(node, "isResidual"):
            changes.append((node, before(node) / max(ranges[node], 1e-30)))
    for node, by in changes:
        multiply(node, by)
