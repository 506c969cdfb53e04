"""Quantized graphs written with real numbers between the layers (QDQ), and back.

quantized   x -> Quantizer -> FC (integers) -> Quantizer -> ...
QDQ         x -> Quantizer -> Dequantizer -> FC (real numbers) -> Quantizer -> Dequantizer -> ...
"""

from __future__ import annotations

import numpy as np

from ..aidge_core.dtypes import dtype
from ..aidge_core.errors import GraphViewError
from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node, Port
from ..aidge_core.quantizers import Dequantizer, Quantizer
from ..aidge_core.recipes.surgery import bypass, checked, constant, like, put_in_place
from .graphs import AFFINE, insert
from .ptq_ranges import factors, has_tag, set_factors
from .quantizers import append_cast, cast_quantizer_ios, clip_range, inner, prepend_cast
from .rounding import folded
from .scales import integer_scales, one, scale_before
from .tags import MERGING, TRANSPARENT


def set_to_qdq(graph_view: GraphView) -> None:
    """Dequantizers <node>_<input>_dq in front of every layer, <node>_dq and <node>_quantizer around what has no
    weights; quantizers then take real numbers.  The function stays.

    For the graphs of quantize_network(rescale_inputs=True, fold_graph=False).  Raises GraphViewError where an input of
    a layer has no Quantizer above it, and changes nothing then.
    """
    order = checked(graph_view, "set_to_qdq").execution_order()
    scales = integer_scales(graph_view)
    _check_quantized(order)
    read = {(n, k): scale_before(n, k, scales) for n in order for k in range(len(n.sources))}
    for node in [n for n in order if n.type() == "Quantizer" and not _is_first(n)]:
        set_factors(node, 1 / _like_factor(node, scales[Port(node, 0)]))
    for node in order:
        if node.type() in AFFINE | MERGING:
            for k, source in enumerate(list(node.sources)):
                if source is not None:
                    if k == 2 and node.type() in AFFINE and inner(source.node, "Cast") is not None:
                        _hold(graph_view, source.node)
                    _dequantized(graph_view, node, k, f"{node.name()}_{k}_dq", read[node, k])
        elif node.type() in TRANSPARENT:
            scale = read[node, 0]
            made = _dequantized(graph_view, node, 0, f"{node.name()}_dq", scale)
            above = made.sources[0]
            limits = clip_range(above.node) if above is not None and above.node.type() == "Quantizer" else (-128, 127)
            _quantized(graph_view, node, scale, limits)
        elif has_tag(node, "isResidual"):
            _dequantized(graph_view, node, 0, f"{node.name()}_dq", read[node, 0])


def _check_quantized(order: list[Node]) -> None:
    for node in order:
        if node.type() == "Dequantizer" and node.readers[0]:
            raise GraphViewError(f"node {node.name()!r}: the graph has Dequantizers inside already")
        for source in node.sources if node.type() in AFFINE else []:
            if source is not None and source.node.type() == "Producer":
                raise GraphViewError(
                    f"node {node.name()!r} was expected to have a Quantizer as a parent, got {source.node.name()} "
                    f"(Producer): call quantize_network with fold_graph=False"
                )
        if node.type() in AFFINE and node.sources[0] is None:
            raise GraphViewError(
                f"node {node.name()!r} reads the graph's input as it is: call quantize_network with rescale_inputs=True"
            )


def _is_first(node: Node) -> bool:
    """Does it read real numbers already: the graph's input, or a Producer?"""
    return node.sources[0] is None or node.sources[0].node.type() == "Producer"


def _like_factor(node: Node, scale: np.ndarray) -> np.ndarray:
    """The scale in the shape of the node's factor."""
    shape = factors(node).shape
    return scale.reshape(shape) if scale.size == int(np.prod(shape)) else np.broadcast_to(one(scale, node), shape)


def _dequantized(graph: GraphView, node: Node, k: int, name: str, scale: np.ndarray) -> Node:
    """A Dequantizer in front of input k."""
    made = Dequantizer(1.0, name=name, internal_type=dtype.float32)
    insert(graph, node, k, made)
    rank = 1
    source = made.sources[0]
    if scale.size > 1 and source is not None:
        tensor = source.node.get_operator().get_output(source.index)
        rank = max(len(tensor.dims), 1)
    set_factors(made, scale.reshape(-1, *[1] * (rank - 1)) if scale.size > 1 else scale.reshape(-1))
    made.get_operator().set_datatype(dtype.float32)
    node.get_operator().set_datatype(dtype.float32)
    return made


def _quantized(graph: GraphView, node: Node, scale: np.ndarray, limits: tuple[float, float]) -> None:
    """A Quantizer behind the node's first output."""
    made = Quantizer(1.0, name=f"{node.name()}_quantizer", round=True, clip_min=limits[0], clip_max=limits[1])
    readers = list(node.readers[0])
    set_factors(made, 1 / scale.reshape(-1))
    cast_quantizer_ios(made, dtype.int8 if limits[0] < 0 else dtype.uint8)
    for reader, k in readers:
        made.add_child(reader, 0, k)
    node.add_child(made, 0, 0)
    like(made, node)
    graph.add(made)
    if graph.chosen_outputs is not None:
        graph.chosen_outputs = [Port(made, 0) if p == Port(node, 0) else p for p in graph.chosen_outputs]


def _hold(graph: GraphView, quantizer: Node) -> None:
    """An integer constant in the place of a bias's quantizer, with its name."""
    name = quantizer.name()
    made = constant(folded(quantizer), name, quantizer)
    put_in_place(graph, quantizer, made, [])
    made.set_name(name)


def from_qdq(graph_view: GraphView) -> None:
    """The Dequantizers out, and what they multiplied by into the Quantizers behind: layers then sum integers.

    A Quantizer whose factor becomes 1 goes too, and so does a Dequantizer at the end: the graph gives integers.
    Raises GraphViewError where no Quantizer, ReLU or pool stands between two layers.
    """
    order = checked(graph_view, "from_qdq").execution_order()
    scales = {p: s for n in order for p, s in _scales_without(n).items()}
    found: dict[Port, np.ndarray] = {}
    integers = any(inner(n, "Cast") is not None for n in order if n.type() == "Quantizer" and not _is_weight(n))
    for node in order:
        for k in range(node.get_nb_outputs()):
            found[Port(node, k)] = scales.get(Port(node, k), _through(node, found))
    for node in order:
        if node.type() in AFFINE and not any(_ends(r.node) for r in node.readers[0]):
            raise GraphViewError(
                f"node {node.name()!r} was expected to have a Quantizer as a child, got "
                f"{', '.join(r.node.name() for r in node.readers[0]) or 'none'}"
            )
    for node in [n for n in order if n.type() == "Quantizer" and not _is_first(n)]:
        before = found[node.sources[0]] if node.sources[0] is not None else np.ones(1)
        new = factors(node) * one(before, node)
        if np.allclose(new, 1.0, rtol=1e-5) and not has_tag(node, "isActivationQuantizer"):
            bypass(graph_view, node)
        else:
            set_factors(node, new)
    for node in [n for n in order if n.type() == "Dequantizer"]:
        source = node.sources[0]
        if source is not None and source.node.type() == "Producer" and integers:
            _requantized(graph_view, node, source.node)
        else:
            bypass(graph_view, node)
    for node in order:
        if integers and node.type() in AFFINE | MERGING and node.type() != "Concat":
            node.get_operator().set_datatype(dtype.int32)
        elif integers and node.type() in TRANSPARENT:
            node.get_operator().set_datatype(dtype.int8)


def _is_weight(node: Node) -> bool:
    return node.sources[0] is not None and node.sources[0].node.type() == "Producer"


def _ends(node: Node) -> bool:
    return node.type() == "Quantizer" or (
        node.type() in TRANSPARENT | MERGING and any(_ends(r.node) for r in node.readers[0])
    )


def _scales_without(node: Node) -> dict[Port, np.ndarray]:
    """What a node gives stands on this scale, once the Dequantizers are out."""
    if node.type() == "Dequantizer":
        return {Port(node, 0): factors(node).reshape(-1)}
    return {Port(node, 0): np.ones(1)} if node.type() in ("Quantizer", "Producer") else {}


def _through(node: Node, found: dict[Port, np.ndarray]) -> np.ndarray:
    sources = [s for s in node.sources if s is not None]
    if node.type() in AFFINE and len(sources) > 1:
        return found[sources[0]] * found[sources[1]]
    return found[sources[0]] if sources else np.ones(1)


def _requantized(graph: GraphView, dequantizer: Node, producer: Node) -> None:
    """An integer bias as Aidge leaves it: its real values, and a Quantizer that makes them integers again."""
    scale = factors(dequantizer)
    reader, k = dequantizer.readers[0][0]
    real = producer.get_operator().get_output(0).cell.read().astype(np.float64) * scale
    stem = dequantizer.name()
    held = constant(real.astype(np.float32), f"{stem}_1", dequantizer)
    made = Quantizer(1.0, name=f"{stem.removesuffix('_dq')}_q", round=True, clip_min=-(2.0**31), clip_max=2.0**31)
    set_factors(made, 1 / scale)
    prepend_cast(made, dtype.float32)
    append_cast(made, dtype.int32)
    like(made, dequantizer)
    held.add_child(made, 0, 0)
    graph.add([held, made])
    bypass(graph, dequantizer)
    reader.disconnect(k)
    made.add_child(reader, 0, k)
    if not any(producer.readers[0]):
        graph.remove(producer)
