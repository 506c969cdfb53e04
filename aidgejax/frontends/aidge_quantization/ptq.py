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
from ..aidge_core.node import Node
from ..aidge_core.recipes.surgery import checked, data_of, write
from .clipping import Clipping
from .graphs import affine
from .ptq_ranges import (
    adjust_ranges,
    compute_ranges,
    input_range,
    insert_scaling_nodes,
    normalize_activations,
    normalize_parameters,
)
from .rounding import (
    cast_quantized_network,
    fold_producer_quantizers,
    insert_input_rescaling,
    perform_dequantization,
    perform_single_shift_approximation,
    quantize_normalized_network,
)
from .tags import TRANSPARENT, check_architecture, precision_of, prepare_network, unsupported


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
    dequantize: its outputs are real numbers as well.  BatchNorms are folded.  Tensors are of integer types, and sums of
    the biases'; with fake_quantize integers stand in float tensors.
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
    found = compute_ranges(network, calibration_set, True)
    ranges = adjust_ranges(clipping_mode, found, network, calibration_set, verbose)
    top = input_range(clipping_mode, network, calibration_set) if rescale_inputs else 1.0
    normalize_activations(network, ranges, top)
    integers = not fake_quantize and not no_quant
    if optimize_signs and integers:
        Log.notice("quantize_network: optimize_signs is left out, as the tensors hold signed integers")
    quantize_normalized_network(network, no_quant, optimize_signs and not integers, verbose)
    if single_shift:
        perform_single_shift_approximation(network)
    if rescale_inputs:
        insert_input_rescaling(network, top, no_quant)
    if dequantize:
        perform_dequantization(network, not integers)
    if integers:
        cast_quantized_network(network, single_shift, dequantize)
    if fold_graph:
        fold_producer_quantizers(network)
