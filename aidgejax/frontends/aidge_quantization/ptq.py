"""Quantization after training: scaling nodes, ranges, and integers in their place.  Symmetric, zero point 0.

quantize_network runs the stages in this order; each can be called alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..aidge_core.errors import GraphViewError, OrderError
from ..aidge_core.graphview import GraphView
from ..aidge_core.log import Log
from ..aidge_core.meta import MetaOperatorOp
from ..aidge_core.node import Node, Port
from ..aidge_core.quantizers import Dequantizer, Quantizer, scaling
from ..aidge_core.recipes.surgery import checked, constant, data_of, like, put_in_place, write
from .clipping import Clipping
from .graphs import affine, insert
from .ptq_ranges import (
    adjust_ranges,
    bits,
    compute_ranges,
    factors,
    has_tag,
    input_range,
    insert_scaling_nodes,
    multiply,
    normalize_activations,
    normalize_parameters,
    parameter_scaling,
    scaling_above,
    scaling_behind,
    set_factors,
    set_tag,
    shared_ranges,
)
from .tags import MERGING, TRANSPARENT, check_architecture, precision_of, prepare_network, unsupported

BINS = 4096


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
    network: GraphView, no_quant: bool = False, optimize_signs: bool = False, verbose: bool = False
) -> None:
    """Integers in the place of [-1, 1]: weights of their bits, biases on the scale of activation times weight.

    optimize_signs: in front of a ReLU the limits are those of unsigned integers; factors stay as they are.
    """
    for node in affine(network, "quantize_normalized_network"):
        weight, bias, behind = parameter_scaling(node, 1), parameter_scaling(node, 2), scaling_behind(node)
        if weight is None:
            raise OrderError(f"node {node.name()!r} has no scaling nodes: call insert_scaling_nodes first")
        a, b = _levels(bits(behind)), _levels(_bits_of_weight(weight))
        multiply(weight, b)
        multiply(behind, 1 / b)
        if bias is not None:
            multiply(bias, a * b)
        if not no_quant:
            _rounded(weight, -b - 1, b)
            if bias is not None:
                _rounded(bias, -(2.0**31), 2.0**31 - 1)
    for node in network.execution_order():
        if has_tag(node, "isActivationQuantizer") and not no_quant:
            a = _levels(bits(node))
            unsigned = optimize_signs and bool(node.readers[0]) and all(r.type() == "ReLU" for r, _ in node.readers[0])
            _rounded(node, *((0, 2 * a + 1) if unsigned else (-a - 1, a)))


def _bits_of_weight(quantizer: Node) -> int:
    source = quantizer.sources[0]
    return 8 if source is None else precision_of(source.node)


def insert_input_rescaling(graph: GraphView, input_range: float, no_quant: bool = False) -> None:
    """A Quantizer InputRescaling at the graph's input: real numbers become integers of the activations' precision."""
    for port in list(graph.get_ordered_inputs()):
        a = _levels(bits(port.node))
        node = scaling("InputRescaling")
        insert(graph, port.node, port.index, node)
        set_tag(node, "isActivationQuantizer")
        set_tag(node, "isInputRescaling")
        multiply(node, a / max(input_range, 1e-30))
        if not no_quant:
            _rounded(node, -a - 1, a)


def perform_single_shift_approximation(graphview: GraphView) -> None:
    """Factors behind layers become powers of two, rounded up; the weights and biases take the rest."""
    for node in affine(graphview, "perform_single_shift_approximation"):
        behind = scaling_behind(node)
        exact = factors(behind)
        shift = 2.0 ** np.ceil(np.log2(exact))
        rest = (exact / shift).reshape(-1)
        for k in (1, 2):
            made = parameter_scaling(node, k)
            if made is not None:
                data = data_of(made, 0)
                rank = 1 if data is None else data.ndim
                multiply(made, rest.reshape(-1, *[1] * (rank - 1)) if len(rest) > 1 else rest)
        set_factors(behind, shift)
    for node in graphview.execution_order():
        if has_tag(node, "isResidual") or (node.sources and node.sources[0] and node.sources[0].node.type() in MERGING):
            if has_tag(node, "isActivationQuantizer"):
                exact = factors(node)
                k = 6 - np.floor(np.log2(exact))
                set_factors(node, np.minimum(np.rint(exact * 2.0**k), 127) * 2.0**-k)


def fold_producer_quantizers(graphview: GraphView) -> None:
    """What a weight's or a bias's quantizer gives becomes a constant Producer, <quantizer>_ClipQuant."""
    for node in [n for n in checked(graphview, "fold_producer_quantizers").execution_order()]:
        if has_tag(node, "isProducerQuantizer"):
            node.forward()
            value = node.get_operator().get_output(0).cell.read()
            put_in_place(graphview, node, constant(value, f"{node.name()}_ClipQuant", node), [])


def cross_layer_equalization(network: GraphView, target_delta: float = 0.01) -> None:
    """Channels that are small in one layer and large in the next are evened out, without changing the function.

    r1 = max|W| per output channel, r2 = per input channel of the next layer; W, b *= sqrt(r2 / r1), next W /= the same.
    Swept until the largest |r1 - r2| is below target_delta.  Call it before insert_scaling_nodes.
    """
    pairs = []
    for node in affine(network, "cross_layer_equalization"):
        after = node
        while len(after.readers[0]) == 1 and after.readers[0][0].index == 0:
            after = after.readers[0][0].node
            if after.type() not in TRANSPARENT:
                break
        if after is not node and after in affine(network, "cross_layer_equalization"):
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
    top = input_range(clipping_mode, network, calibration_set) if rescale_inputs else 1.0
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
        above = port.node if port.node in ranges else scaling_above(port.node)
        if above is None or port.index != 0:
            continue
        node = Dequantizer(ranges[above] / _levels(bits(above)), name=f"{port.node.name()}_DeQuant")
        port.node.add_child(node, port.index, 0)
        like(node, port.node)
        graph.add(node)
        if graph.chosen_outputs is not None:
            graph.chosen_outputs = [Port(node, 0) if p == port else p for p in graph.chosen_outputs]


__all__ = [
    "cross_layer_equalization",
    "fold_producer_quantizers",
    "insert_input_rescaling",
    "perform_single_shift_approximation",
    "quantize_network",
    "quantize_normalized_network",
]
