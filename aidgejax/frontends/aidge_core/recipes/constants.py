"""Recipes about constants, and those that have nothing to do here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..generic import GenericOperatorOp
from ..graphview import GraphView
from ..node import Node
from ..node_by_node import EagerRun
from ..operator import InputCategory
from .surgery import checked, constant, put_in_place


def constant_folding(
    graph_view: GraphView, backends: Sequence[Any] = (), constant_producer: bool = True, constant_shape: bool = False
) -> bool:
    """Compute what depends on constant Producers alone; was there any?  The result is a Producer of the node's name.

    Producers that are trained are left alone, whatever constant_producer says (Aidge folds them away by default): make
    them constant first, with set_producers_constant.
    """
    found = False
    for node in checked(graph_view, "constant_folding").execution_order():
        feeding = [p.node for p in node.sources if p is not None]
        known = all(_is_constant(f) for f in feeding)
        complete = all(
            p is not None or node.input_category(k) & InputCategory.Optional for k, p in enumerate(node.sources)
        )
        if node.type() == "Producer" or not feeding or not known or not complete or node.get_nb_outputs() != 1:
            continue
        op = node.get_operator()
        if op.is_opaque or op.type() == "Dropout":
            continue
        EagerRun([node]).forward()
        name = node.name()
        node.set_name("")
        put_in_place(graph_view, node, constant(op.get_output(0).cell.read(), name, node), [])
        found = True
    return found


def _is_constant(node: Node) -> bool:
    if node.type() != "Producer":
        return False
    op = node.get_operator()
    return bool(op.attr.constant) and op.get_output(0).has_data()


def to_generic_op(node: Node) -> None:
    """The node becomes a GenericOperator of its type, with its attributes, in every graph that holds it."""
    op = node.get_operator()
    for view in list(node.views):
        generic = GenericOperatorOp(op.type(), op.input_category(), op.nb_outputs(), **op.attr.dict())
        name = node.name()
        node.set_name("")
        put_in_place(view, node, Node(generic, name), list(node.sources))


def adapt_to_backend(graph_view: GraphView, backends: Sequence[Any] = ()) -> None:
    """Nothing to do: every operator runs on every backend here."""
    checked(graph_view, "adapt_to_backend")


def adapt_fc_params_format(graph_view: GraphView, backends: Sequence[Any] = (), constant_fold: bool = True) -> None:
    """Nothing to do: an FC behind an image reads channels first, as its weights do."""
    checked(graph_view, "adapt_fc_params_format")


def explicit_cast_move(graph_view: GraphView) -> None:
    """Nothing to do: there are no implicit casts or copies between devices here."""
    checked(graph_view, "explicit_cast_move")


def explicit_transpose(graph_view: GraphView) -> None:
    """Nothing to do: tensors are channels first here."""
    checked(graph_view, "explicit_transpose")


def skip_attr_backward(graph_view: GraphView) -> int:
    """Nothing to do: no gradient is computed for attributes.  0, as many as were marked."""
    checked(graph_view, "skip_attr_backward")
    return 0
