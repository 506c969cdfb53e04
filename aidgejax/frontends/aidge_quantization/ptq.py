"""Quantization after training: scaling nodes, ranges, and integers in their place.  Symmetric, zero point 0.

quantize_network runs the stages in this order; each can be called alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..aidge_core.errors import GraphViewError, OrderError
from ..aidge_core.execution import SequentialScheduler
from ..aidge_core.graphview import GraphView
from ..aidge_core.log import Log
from ..aidge_core.meta import MetaOperatorOp
from ..aidge_core.node import Node, Port
from ..aidge_core.quantizers import Dequantizer, Quantizer, scaling
from ..aidge_core.recipes.surgery import checked, constant, data_of, like, put_in_place, redirect, write
from ..aidge_core.tensor import Tensor
from .clipping import Clipping, clipped_part
from .graphs import affine, insert
from .quantizers import inner
from .tags import MERGING, PATH, TRANSPARENT, check_architecture, precision_of, prepare_network, unsupported

BINS = 4096


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


def _flag(node: Node, key: str) -> None:
    node.annotations().set_attr(f"{PATH}.{key}", 0.0)


def _is(node: Node, key: str) -> bool:
    return node.annotations().has_attr(f"{PATH}.{key}")


def _behind(graph: GraphView, node: Node, new: Node) -> None:
    """Put a node behind the first output, in front of all that read it."""
    redirect(graph, Port(node, 0), Port(new, 0))
    node.add_child(new, 0, 0)
    if graph.chosen_outputs is not None:
        graph.chosen_outputs = [Port(new, 0) if p == Port(node, 0) else p for p in graph.chosen_outputs]
    like(new, node)
    graph.add(new)


def insert_scaling_nodes(graph: GraphView, channel_wise: bool = False) -> None:
    """<layer>_Scaling behind layers and merging nodes, <producer>_ProducerScaling in front of weights and biases, and
    <source>_Res where what others read too is merged.  All factors are 1."""
    for node in list(checked(graph, "insert_scaling_nodes").execution_order()):
        if node.type() in MERGING:
            for k, source in enumerate(list(node.sources)):
                if source is not None and len(source.node.readers[source.index]) > 1:
                    residual = scaling(f"{source.node.name()}_Res")
                    insert(graph, node, k, residual)
                    _flag(residual, "isActivationQuantizer")
                    _flag(residual, "isResidual")
    for node in list(graph.execution_order()):
        if node in affine(graph, "insert_scaling_nodes"):
            for k in (1, 2):
                source = node.sources[k]
                if source is not None:
                    made = scaling(f"{source.node.name()}_ProducerScaling")
                    insert(graph, node, k, made)
                    _flag(made, "isProducerQuantizer")
        if node in affine(graph, "insert_scaling_nodes") or node.type() in MERGING:
            made = scaling(f"{node.name()}_Scaling")
            _behind(graph, node, made)
            _flag(made, "isActivationQuantizer")


def _scaling_behind(node: Node) -> Node:
    return node.readers[0][0].node


def _parameter_scaling(node: Node, k: int) -> Node | None:
    source = node.sources[k]
    return source.node if source is not None and _is(source.node, "isProducerQuantizer") else None


def normalize_parameters(graph: GraphView, channel_wise: bool) -> None:
    """Weights into [-1, 1], of a layer or of each output channel; the scaling node behind takes the factor back."""
    for node in affine(graph, "normalize_parameters"):
        weight = _parameter_scaling(node, 1)
        data = None if weight is None else data_of(weight, 0)
        if weight is None or data is None:
            raise OrderError(f"node {node.name()!r} has no scaling nodes: call insert_scaling_nodes first")
        if channel_wise:
            most = np.abs(data).reshape(len(data), -1).max(1).astype(np.float64)
        else:
            most = np.abs(data).max(keepdims=True).reshape(1).astype(np.float64)
        most = np.where(most > 0, most, 1.0)
        behind = _scaling_behind(node)
        _multiply(weight, (1 / most).reshape(-1, *[1] * (data.ndim - 1)) if channel_wise else 1 / most)
        bias = _parameter_scaling(node, 2)
        if bias is not None:
            _multiply(bias, 1 / most)
        _multiply(behind, most.reshape(-1, *[1] * (data.ndim - 2)) if channel_wise else most)


def _multiply(node: Node, by: Any) -> None:
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


def compute_ranges(graph: GraphView, calibration_set: Sequence[Any], scaling_nodes_only: bool) -> dict[Node, float]:
    """{node: max |first output|} over the calibration set."""
    nodes = [
        n
        for n in checked(graph, "compute_ranges").execution_order()
        if (_is(n, "isActivationQuantizer") if scaling_nodes_only else n.type() != "Producer")
    ]
    found = dict.fromkeys(nodes, 0.0)
    for values in _outputs(graph, calibration_set, nodes):
        for node, value in zip(nodes, values, strict=True):
            found[node] = max(found[node], float(np.abs(value).max()))
    return found


def compute_histograms(
    value_range: dict[Node, float], graph: GraphView, calibration_set: Sequence[Any]
) -> dict[Node, tuple[list[int], int]]:
    """{node: (4096 counts of |first output| from 0 to its range, bits of its precision)}"""
    nodes = list(value_range)
    counts = {n: np.zeros(BINS, np.int64) for n in nodes}
    for values in _outputs(graph, calibration_set, nodes):
        for node, value in zip(nodes, values, strict=True):
            counts[node] += _counted(value, value_range[node])
    return {n: (counts[n].tolist(), _bits(n)) for n in nodes}


def _counted(value: np.ndarray, most: float) -> np.ndarray:
    at = np.rint(np.abs(value).astype(np.float64) / max(most, 1e-30) * BINS).astype(np.int64)
    return np.bincount(np.minimum(at, BINS - 1).reshape(-1), minlength=BINS)


def _input_range(mode: Clipping, graph: GraphView, calibration: Sequence[Any]) -> float:
    """The range of the graph's input over the calibration set, clipped as the activations' are."""
    arrays = [np.asarray(x) for x in calibration]
    most = max(float(np.abs(a).max()) for a in arrays)
    if mode is Clipping.MAX:
        return most
    histogram = np.sum([_counted(a, most) for a in arrays], axis=0)
    return most * clipped_part(mode, histogram, _bits(graph.get_ordered_inputs()[0].node))


def _bits(node: Node) -> int:
    """The precision of the activation that a scaling node scales."""
    source: Node | None = node
    while source is not None and not source.annotations().has_attr(f"{PATH}.precision"):
        above = source.sources[0] if source.sources else None
        source = None if above is None else above.node
    return 8 if source is None else precision_of(source)


def adjust_ranges(
    clipping_mode: Clipping,
    value_ranges: dict[Node, float],
    graph: GraphView,
    calibration_set: Sequence[Any],
    verbose: bool = False,
) -> dict[Node, float]:
    """The ranges, clipped as clipping_mode says; only those of scaling nodes change."""
    if clipping_mode is Clipping.MAX:
        return dict(value_ranges)
    chosen = {n: r for n, r in value_ranges.items() if _is(n, "isActivationQuantizer")}
    found = dict(value_ranges)
    for node, (histogram, bits) in compute_histograms(chosen, graph, calibration_set).items():
        found[node] = clipped_part(clipping_mode, histogram, bits) * value_ranges[node]
        if verbose:
            print(f"{node.name()}: range {value_ranges[node]:g} -> {found[node]:g}")
    return found


def _scaling_above(node: Node, k: int = 0) -> Node | None:
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
            merged = [s for k in range(node.get_nb_inputs()) if (s := _scaling_above(node, k)) is not None]
            most = max((found[s] for s in merged), default=0.0)
            found.update(dict.fromkeys(merged, most))
    return found


def normalize_activations(graph: GraphView, value_ranges: dict[Node, float], input_range: float = 1.0) -> None:
    """All activations into [-1, 1]: every scaling node multiplies by the range before it over its own."""
    ranges = shared_ranges(checked(graph, "normalize_activations"), value_ranges)

    def before(node: Node, k: int = 0) -> float:
        above = _scaling_above(node, k)
        return input_range if above is None else max(ranges[above], 1e-30)

    merging = [n for n in graph.execution_order() if n.type() in MERGING]
    changes: list[tuple[Node, float]] = []
    for node in affine(graph, "normalize_activations"):
        behind, bias = _scaling_behind(node), _parameter_scaling(node, 2)
        changes.append((behind, before(node) / max(ranges[behind], 1e-30)))
        if bias is not None:
            changes.append((bias, 1 / before(node)))
    for node in merging:
        behind = _scaling_behind(node)
        changes.append((behind, before(node) / max(ranges[behind], 1e-30)))
    for node in graph.execution_order():
        if _is(node, "isResidual"):
            changes.append((node, before(node) / max(ranges[node], 1e-30)))
    for node, by in changes:
        _multiply(node, by)


# ---- integers ---------------------------------------------------------------------------------------------


def _levels(bits: int) -> int:
    return 2 ** (bits - 1) - 1


def _rounded(node: Node, low: float, high: float) -> None:
    """Let a scaling node round halves up and clip as well."""
    op, value = node.get_operator(), factors(node)
    full = Quantizer(1.0, name=node.name(), round=True, clip_min=low, clip_max=high).get_operator()
    if isinstance(op, MetaOperatorOp) and isinstance(full, MetaOperatorOp):
        op.micro_graph, op.ports = full.micro_graph, full.ports
        if op.backend_name is not None:
            op.micro_graph.set_backend(op.backend_name)
    set_factors(node, value)


def quantize_normalized_network(
    graph: GraphView, no_quant: bool = False, optimize_signs: bool = False, verbose: bool = False
) -> None:
    """Integers in the place of [-1, 1]: weights of their bits, biases on the scale of activation times weight.

    optimize_signs: in front of a ReLU the limits are those of unsigned integers; factors stay as they are.
    """
    for node in affine(graph, "quantize_normalized_network"):
        weight, bias, behind = _parameter_scaling(node, 1), _parameter_scaling(node, 2), _scaling_behind(node)
        if weight is None:
            raise OrderError(f"node {node.name()!r} has no scaling nodes: call insert_scaling_nodes first")
        a, b = _levels(_bits(behind)), _levels(_bits_of_weight(weight))
        _multiply(weight, b)
        _multiply(behind, 1 / b)
        if bias is not None:
            _multiply(bias, a * b)
        if not no_quant:
            _rounded(weight, -b - 1, b)
            if bias is not None:
                _rounded(bias, -(2.0**31), 2.0**31 - 1)
    for node in graph.execution_order():
        if _is(node, "isActivationQuantizer") and not no_quant:
            a = _levels(_bits(node))
            unsigned = optimize_signs and bool(node.readers[0]) and all(r.type() == "ReLU" for r, _ in node.readers[0])
            _rounded(node, *((0, 2 * a + 1) if unsigned else (-a - 1, a)))


def _bits_of_weight(quantizer: Node) -> int:
    source = quantizer.sources[0]
    return 8 if source is None else precision_of(source.node)


def insert_input_rescaling(graph: GraphView, input_range: float, no_quant: bool = False) -> None:
    """A Quantizer InputRescaling at the graph's input: real numbers become integers of the activations' precision."""
    for port in list(graph.get_ordered_inputs()):
        a = _levels(_bits(port.node))
        node = scaling("InputRescaling")
        insert(graph, port.node, port.index, node)
        _flag(node, "isActivationQuantizer")
        _flag(node, "isInputRescaling")
        _multiply(node, a / max(input_range, 1e-30))
        if not no_quant:
            _rounded(node, -a - 1, a)


def perform_single_shift_approximation(graph: GraphView) -> None:
    """Factors behind layers become powers of two, rounded up; the weights and biases take the rest."""
    for node in affine(graph, "perform_single_shift_approximation"):
        behind = _scaling_behind(node)
        exact = factors(behind)
        shift = 2.0 ** np.ceil(np.log2(exact))
        rest = (exact / shift).reshape(-1)
        for k in (1, 2):
            made = _parameter_scaling(node, k)
            if made is not None:
                data = data_of(made, 0)
                rank = 1 if data is None else data.ndim
                _multiply(made, rest.reshape(-1, *[1] * (rank - 1)) if len(rest) > 1 else rest)
        set_factors(behind, shift)
    for node in graph.execution_order():
        if _is(node, "isResidual") or (node.sources and node.sources[0] and node.sources[0].node.type() in MERGING):
            if _is(node, "isActivationQuantizer"):
                exact = factors(node)
                k = 6 - np.floor(np.log2(exact))
                set_factors(node, np.minimum(np.rint(exact * 2.0**k), 127) * 2.0**-k)


def fold_producer_quantizers(graph: GraphView) -> None:
    """What a weight's or a bias's quantizer gives becomes a constant Producer, <quantizer>_ClipQuant."""
    for node in [n for n in checked(graph, "fold_producer_quantizers").execution_order()]:
        if _is(node, "isProducerQuantizer"):
            node.forward()
            value = node.get_operator().get_output(0).cell.read()
            put_in_place(graph, node, constant(value, f"{node.name()}_ClipQuant", node), [])


def cross_layer_equalization(graph: GraphView, target_delta: float = 0.01) -> None:
    """Channels that are small in one layer and large in the next are evened out, without changing the function.

    r1 = max|W| per output channel, r2 = per input channel of the next layer; W, b *= sqrt(r2 / r1), next W /= the same.
    Swept until the largest |r1 - r2| is below target_delta.  Call it before insert_scaling_nodes.
    """
    pairs = []
    for node in affine(graph, "cross_layer_equalization"):
        after = node
        while len(after.readers[0]) == 1 and after.readers[0][0].index == 0:
            after = after.readers[0][0].node
            if after.type() not in TRANSPARENT:
                break
        if after is not node and after in affine(graph, "cross_layer_equalization"):
            if data_of(node, 1) is not None and data_of(after, 1) is not None:
                pairs.append((node, after))
    for _ in range(1000):
        worst = max((_equalize(u, t) for u, t in pairs), default=0.0)
        if worst < target_delta:
            return


def _equalize(first: Node, second: Node) -> float:
    w1, w2 = (np.asarray(data_of(n, 1), np.float64) for n in (first, second))
    channels = len(w1)
    by_input = w2.reshape(channels, 1, -1) if "DepthWise" in second.type() else w2.reshape(len(w2), channels, -1)
    axes = (1, 2) if "DepthWise" in second.type() else (0, 2)
    r1, r2 = np.abs(w1).reshape(channels, -1).max(1), np.abs(by_input).max(axes)
    good = (r1 > 0) & (r2 > 0)
    f = np.where(good, np.sqrt(np.where(good, r2, 1) / np.where(good, r1, 1)), 1.0)
    write(first, 1, w1 * f.reshape(-1, *[1] * (w1.ndim - 1)))
    bias = data_of(first, 2)
    if bias is not None:
        write(first, 2, bias * f)
    spread = f[:, None, None] if "DepthWise" in second.type() else f[None, :, None]
    write(second, 1, (by_input / spread).reshape(w2.shape))
    return float(np.abs(r1 - r2).max())


# ---- all of it --------------------------------------------------------------------------------------------


def quantize_network(
    network: GraphView,
    calibration_set: Sequence[Any],
    clipping_mode: Clipping = Clipping.MAX,
    rescale_inputs: bool = False,
    equalize: bool = True,
    channel_wise: bool = False,
    no_quant: bool = False,
    optimize_signs: bool = False,
    single_shift: bool = False,
    fold_graph: bool = True,
    fake_quantize: bool = False,
    dequantize: bool = False,
    verbose: bool = False,
) -> None:
    """Quantize a trained graph in place, to the precisions that auto_assign_node_precision has noted.

    calibration_set: Tensors, one forward each.  rescale_inputs: the graph takes real numbers, and not integers.
    dequantize: its outputs are real numbers as well.  BatchNorms are folded.  Integers stand in float tensors, with
    fake_quantize or without: aidgejax.quant writes integer files.
    Raises GraphViewError for an operator that it does not know, OrderError where precisions or data are missing.
    """
    checked(network, "quantize_network")
    odd = ", ".join(f"{n.name()!r} ({n.type()})" for n in unsupported(network))
    if not check_architecture(network):
        raise GraphViewError(f"quantize_network does not know the operators of {odd}")
    if not calibration_set:
        raise OrderError("quantize_network: the calibration set is empty: give a list of Tensors")
    for node in affine(network, "quantize_network"):
        precision_of(node)
    prepare_network(network)
    if equalize:
        cross_layer_equalization(network)
    insert_scaling_nodes(network, channel_wise)
    normalize_parameters(network, channel_wise)
    ranges = adjust_ranges(
        clipping_mode, compute_ranges(network, calibration_set, True), network, calibration_set, verbose
    )
    top = _input_range(clipping_mode, network, calibration_set) if rescale_inputs else 1.0
    normalize_activations(network, ranges, top)
    quantize_normalized_network(network, no_quant, optimize_signs, verbose)
    if single_shift:
        perform_single_shift_approximation(network)
    if rescale_inputs:
        insert_input_rescaling(network, top, no_quant)
    if dequantize:
        _dequantized(network, shared_ranges(network, ranges))
    if fold_graph:
        fold_producer_quantizers(network)
    if not fake_quantize:
        Log.notice("quantize_network: integers are kept in float tensors; aidgejax.quant writes integer files")


def _dequantized(graph: GraphView, ranges: dict[Node, float]) -> None:
    for port in list(graph.get_ordered_outputs()):
        above = port.node if port.node in ranges else _scaling_above(port.node)
        if above is None or port.index != 0:
            continue
        node = Dequantizer(ranges[above] / _levels(_bits(above)), name=f"{port.node.name()}_DeQuant")
        port.node.add_child(node, port.index, 0)
        like(node, port.node)
        graph.add(node)
        if graph.chosen_outputs is not None:
            graph.chosen_outputs = [Port(node, 0) if p == port else p for p in graph.chosen_outputs]


__all__ = [
    "adjust_ranges", "compute_histograms", "compute_ranges", "cross_layer_equalization", "fold_producer_quantizers",
    "insert_input_rescaling", "insert_scaling_nodes", "normalize_activations", "normalize_parameters",
    "perform_single_shift_approximation", "quantize_network", "quantize_normalized_network",
]  # fmt: skip
