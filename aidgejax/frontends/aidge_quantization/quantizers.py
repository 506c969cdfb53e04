"""Reading and changing Quantizer nodes: their factor, their limits, their Round and Cast."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..aidge_core.dtypes import dtype
from ..aidge_core.errors import GraphViewError
from ..aidge_core.graphview import GraphView
from ..aidge_core.meta import MetaOperatorOp
from ..aidge_core.node import Node, Port, Producer
from ..aidge_core.operators import make_operator
from ..aidge_core.recipes.surgery import bypass, like, put_in_place
from ..aidge_core.tensor import Tensor
from .graphs import insert


def micro_graph(quantizer: Node) -> GraphView:
    if not isinstance(quantizer, Node) or quantizer.type() not in ("Quantizer", "Dequantizer"):
        raise GraphViewError(f"expected a Quantizer node, got {quantizer!r}")
    graph = quantizer.get_operator().get_micro_graph()
    found: GraphView = getattr(quantizer.get_operator(), "micro_graph", graph)
    return found


def inner(quantizer: Node, kind: str) -> Node | None:
    """The node of this type inside."""
    return next((n for n in micro_graph(quantizer).execution_order() if n.type() == kind), None)


def _factor(quantizer: Node) -> Tensor:
    node = inner(quantizer, "Mul")
    tensor = None if node is None else node.get_operator().get_input(1)
    if tensor is None:
        raise GraphViewError(f"node {quantizer.name()!r} has no factor: its Mul became a BitShift")
    return tensor


def get_scaling_factor(quantizer: Node, index: int = 0) -> float:
    """The factor of a Quantizer (of the channel `index`)."""
    return float(_factor(quantizer).cell.read().reshape(-1)[index])


def set_scaling_factor(quantizer: Node, value: float, index: int = 0) -> None:
    tensor = _factor(quantizer)
    values = tensor.cell.read().copy()
    values.reshape(-1)[index] = value
    tensor.copy_from(Tensor(values))


def multiply_scaling_factor(quantizer: Node, coefficient: float, index: int = 0) -> None:
    set_scaling_factor(quantizer, get_scaling_factor(quantizer, index) * coefficient, index)


def set_clip_range(quantizer: Node, min: float, max: float) -> None:
    """The limits of the Clip."""
    node = inner(quantizer, "Clip")
    if node is None:
        raise GraphViewError(f"node {quantizer.name()!r} clips nothing; call append_round_clip")
    for k, value in ((1, min), (2, max)):
        tensor = node.get_operator().get_input(k)
        if tensor is not None:
            tensor.copy_from(Tensor(np.asarray(value, tensor.cell.dtype)))


def remove_round(quantizer: Node) -> None:
    """Leave the Round out, if there is one."""
    node = inner(quantizer, "Round")
    if node is not None:
        bypass(micro_graph(quantizer), node)


def append_round_clip(quantizer: Node, clip_min: float, clip_max: float) -> None:
    """Round halves up behind the factor, and clip."""
    graph = micro_graph(quantizer)
    muls = [n for n in graph.execution_order() if n.type() == "Mul"]
    if muls and inner(quantizer, "Round") is None:
        node = Node(make_operator("Round", rounding_mode="half_up"), "Round")
        reader = muls[-1].readers[0][0]
        insert(graph, reader.node, reader.index, node)
    set_clip_range(quantizer, clip_min, clip_max)


def _behind(graph: GraphView, last: Port, node: Node) -> None:
    """Put a node behind the graph's output."""
    last.node.add_child(node, last.index, 0)
    like(node, last.node)
    graph.add(node)
    if graph.chosen_outputs is not None:
        graph.chosen_outputs = [Port(node, 0)]


def append_cast(quantizer: Node, datatype: dtype) -> None:
    """A Cast behind everything else."""
    graph = micro_graph(quantizer)
    _behind(graph, graph.get_ordered_outputs()[0], Node(make_operator("Cast", target_type=datatype), "CastOut"))


def prepend_cast(quantizer: Node, datatype: dtype) -> None:
    """A Cast in front of everything else."""
    graph, op = micro_graph(quantizer), quantizer.get_operator()
    first = graph.get_ordered_inputs()[0]
    insert(graph, first.node, first.index, Node(make_operator("Cast", target_type=datatype), "CastIn"))
    if isinstance(op, MetaOperatorOp):
        op.ports = graph.get_ordered_inputs()


def cast_quantizer_ios(quantizer: Node, external_type: dtype) -> None:
    """It computes in float32, and what it gives is of external_type: a Cast in front and one behind."""
    prepend_cast(quantizer, dtype.float32)
    append_cast(quantizer, external_type)


def set_scaling_factor_dtype(quantizer: Node, new_type: dtype) -> None:
    """The factor as a tensor of this dtype."""
    _factor(quantizer).set_datatype(new_type)


def replace_scaling_with_bitshift(quantizer: Node, unsqueeze: bool) -> None:
    """Integers only: the Mul by a power of two and the Round become a BitShift that rounds halves up.

    A factor m 2^-k of two Muls keeps its Mul by m.  unsqueeze: Aidge's shape of the amounts; shapes follow here.
    Raises GraphViewError where the last factor is no power of two.
    """
    graph = micro_graph(quantizer)
    muls = [n for n in graph.execution_order() if n.type() == "Mul"]
    factor = muls[-1].get_operator().get_input(1) if muls else None
    if factor is None:
        raise GraphViewError(f"node {quantizer.name()!r} has no factor")
    shifts = np.log2(factor.cell.read().astype(np.float64))
    amounts = np.rint(shifts).astype(np.int32)
    if not np.array_equal(shifts, amounts) or amounts.min() < 0 < amounts.max():
        raise GraphViewError(
            f"node {quantizer.name()!r}: its factor is no power of two; call perform_single_shift_approximation first"
        )
    right = bool(amounts.max() <= 0)
    shift = Node(make_operator("BitShift", direction="right" if right else "left", rounding=right), "BitShift")
    put_in_place(graph, muls[-1], shift, [muls[-1].sources[0]])
    by = Producer(Tensor(np.abs(amounts)), "Shift", constant=True)
    by.add_child(shift, 0, 1)
    like(by, shift)
    graph.add(by)
    remove_round(quantizer)
    for node in graph.execution_order():
        if node.type() == "Producer" and node is not by:
            tensor = node.get_operator().get_output(0)
            whole = np.clip(tensor.cell.read().astype(np.float64), -(2.0**31), 2.0**31 - 1)
            tensor.set_datatype(dtype.int32)
            tensor.copy_from(Tensor(np.rint(whole).astype(np.int32)))
    op = quantizer.get_operator()
    if isinstance(op, MetaOperatorOp):
        op.ports = graph.get_ordered_inputs()


def clip_range(quantizer: Node) -> tuple[float, float]:
    node = inner(quantizer, "Clip")
    found: list[Any] = [] if node is None else [node.get_operator().get_input(k) for k in (1, 2)]
    low, high = (float(t.cell.read()) for t in found)
    return low, high
