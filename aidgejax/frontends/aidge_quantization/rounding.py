"""From [-1, 1] to integers: rounding, shifts, casts, and real numbers again at the outputs."""

from __future__ import annotations

import numpy as np

from ..aidge_core.dtypes import dtype
from ..aidge_core.errors import GraphViewError, OrderError
from ..aidge_core.graphview import GraphView
from ..aidge_core.log import Log
from ..aidge_core.node import Node, Port
from ..aidge_core.operators import make_operator
from ..aidge_core.quantizers import Dequantizer, Quantizer
from ..aidge_core.recipes.surgery import checked, constant, data_of, like, put_in_place
from ..aidge_core.tensor import Tensor
from .graphs import AFFINE, affine, insert
from .ptq_ranges import bits, factors, has_tag, multiply, parameter_scaling, scaling_behind, set_factors, set_tag
from .quantizers import (
    append_cast,
    append_round_clip,
    cast_quantizer_ios,
    inner,
    micro_graph,
    replace_scaling_with_bitshift,
)
from .scales import integer_scales, one, positive_levels
from .signs import compute_sign_map
from .tags import MERGING, PATH, precision_of

BIAS = 2.0**20  # Aidge's limit of a bias of 32 bits


def quantize_normalized_network(
    network: GraphView, no_quant: bool = False, optimize_signs: bool = False, verbose: bool = False
) -> None:
    """Integers in the place of [-1, 1]: weights of their bits, biases on the scale of activation times weight.

    optimize_signs: where nothing is negative (compute_sign_map) the limits are those of unsigned integers; factors
    stay as they are.
    """
    signs = compute_sign_map(network, verbose) if optimize_signs else {}
    for node in affine(network, "quantize_normalized_network"):
        weight, bias, behind = parameter_scaling(node, 1), parameter_scaling(node, 2), scaling_behind(node)
        if weight is None:
            raise OrderError(f"node {node.name()!r} has no scaling nodes: call insert_scaling_nodes first")
        a, b = positive_levels(bits(behind)), positive_levels(_bits_of_weight(weight))
        multiply(weight, b)
        multiply(behind, 1 / b)
        if bias is not None:
            multiply(bias, a * b)
        if not no_quant:
            append_round_clip(weight, -b - 1, b)
            if bias is not None:
                append_round_clip(bias, -BIAS - 1, BIAS)
    for node in network.execution_order():
        if has_tag(node, "isActivationQuantizer") and not no_quant:
            a = positive_levels(bits(node))
            append_round_clip(node, *((0, 2 * a + 1) if signs.get(node, (False, False))[1] else (-a - 1, a)))


def _bits_of_weight(quantizer: Node) -> int:
    source = quantizer.sources[0]
    return 8 if source is None else precision_of(source.node)


def insert_input_rescaling(graph: GraphView, input_range: float, no_quant: bool = False) -> None:
    """A Quantizer InputRescaling at the graph's input: real numbers become integers of the activations' precision."""
    for port in list(graph.get_ordered_inputs()):
        a = positive_levels(bits(port.node))
        node = Quantizer(1.0, name="InputRescaling")
        insert(graph, port.node, port.index, node)
        set_tag(node, "isActivationQuantizer")
        set_tag(node, "isInputRescaling")
        multiply(node, a / max(input_range, 1e-30))
        if not no_quant:
            append_round_clip(node, -a - 1, a)


def perform_single_shift_approximation(graphview: GraphView) -> None:
    """Factors behind layers become powers of two, rounded up; the weights and biases take the rest.

    Where there are no weights to take it (what is merged, and what merges) the factor becomes m 2^-k with m an integer
    from 64 to 127: two Muls.
    """
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
        if has_tag(node, "isActivationQuantizer") and (has_tag(node, "isResidual") or _is_behind_merging(node)):
            exact = factors(node)
            k = 6 - np.floor(np.log2(exact))
            set_factors(node, np.minimum(np.rint(exact * 2.0**k), 127))
            _append_factor(node, 2.0**-k)


def _is_behind_merging(node: Node) -> bool:
    return bool(node.sources) and node.sources[0] is not None and node.sources[0].node.type() in MERGING


def _append_factor(quantizer: Node, value: np.ndarray) -> None:
    """A second Mul behind the first."""
    graph, first = micro_graph(quantizer), inner(quantizer, "Mul")
    if first is not None:
        reader = first.readers[0][0]
        node = Node(make_operator("Mul"), "Mul_1")
        by = constant(np.asarray(value, np.float32), "ScalingFactor_1", first)
        by.add_child(node, 0, 1)
        graph.add(by)
        insert(graph, reader.node, reader.index, node)


def fold_producer_quantizers(graphview: GraphView) -> None:
    """What a weight's or a bias's quantizer gives becomes a constant Producer: <quantizer>_ClipQuant, or where it is
    cast <quantizer>_CastOut."""
    for node in [n for n in checked(graphview, "fold_producer_quantizers").execution_order()]:
        if has_tag(node, "isProducerQuantizer"):
            name = f"{node.name()}_{'ClipQuant' if inner(node, 'Cast') is None else 'CastOut'}"
            put_in_place(graphview, node, constant(folded(node), name, node), [])


def folded(quantizer: Node) -> np.ndarray:
    """What a quantizer of a Producer gives."""
    quantizer.forward()
    found: np.ndarray = quantizer.get_operator().get_output(0).cell.read()
    return found


def perform_dequantization(network: GraphView, fake_quantize: bool) -> None:
    """Real numbers again: a Dequantizer <node>_DeQuant behind each output.  (Aidge puts one at the indices of a pool.)

    fake_quantize: what it reads are integers in float tensors, and need no Cast.
    """
    scales = integer_scales(checked(network, "perform_dequantization"))
    for port in list(network.get_ordered_outputs()):
        if port.index != 0 or port.node.type() == "Dequantizer":
            continue
        scale = float(one(scales[port], port.node)[0])
        kind = dtype.any if fake_quantize else dtype.float32
        node = Dequantizer(scale, name=f"{port.node.name()}_DeQuant", internal_type=kind)
        port.node.add_child(node, port.index, 0)
        like(node, port.node)
        if not fake_quantize:
            node.get_operator().set_datatype(dtype.float32)
        network.add(node)
        if network.chosen_outputs is not None:
            network.chosen_outputs = [Port(node, 0) if p == port else p for p in network.chosen_outputs]


def container(bits: int) -> dtype:
    """The integer dtype that holds so many bits."""
    return dtype.int8 if bits <= 8 else dtype.int16 if bits <= 16 else dtype.int32


def cast_quantized_network(network: GraphView, single_shift: bool, dequantize: bool) -> None:
    """Integer tensors: activations and weights of their precision (in containers of 8, 16 or 32 bits), sums of the
    biases' precision.

    single_shift: factors that are powers of two become BitShifts, which need no real number.
    Raises GraphViewError on a quantizer that does not round.
    """
    for node in checked(network, "cast_quantized_network").execution_order():
        tags = node.annotations()
        if has_tag(node, "isProducerQuantizer"):
            source = node.sources[0]
            append_cast(node, container(8 if source is None else precision_of(source.node)))
        elif has_tag(node, "isActivationQuantizer"):
            kind = container(bits(node))
            if inner(node, "Round") is None:
                raise GraphViewError(f"node {node.name()!r} does not round: no integers come out of it")
            if single_shift and not has_tag(node, "isInputRescaling"):
                replace_scaling_with_bitshift(node, False)
                for n in micro_graph(node).execution_order():
                    n.get_operator().set_datatype(dtype.int32)
                append_cast(node, kind)
            else:
                cast_quantizer_ios(node, kind)
        elif node.type() in AFFINE | MERGING and tags.has_attr(f"{PATH}.accumulationprecision"):
            if node.type() != "Concat":
                node.get_operator().set_datatype(container(32))
        elif tags.has_attr(f"{PATH}.precision") and node.type() != "Producer":
            node.get_operator().set_datatype(container(precision_of(node)))
    if dequantize:
        Log.debug("cast_quantized_network: the outputs are real numbers")


def clear_biases(network: GraphView) -> None:
    """Every bias becomes 0."""
    for node in affine(network, "clear_biases"):
        source = node.sources[2]
        if source is not None and source.node.type() == "Producer":
            tensor = source.node.get_operator().get_output(0)
            tensor.copy_from(Tensor(np.zeros(tensor.cell.shape, tensor.cell.dtype)))
