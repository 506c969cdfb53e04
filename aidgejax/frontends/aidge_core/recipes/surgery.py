"""What the recipes share: taking nodes out of a graph, and putting others in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..attributes import edited
from ..errors import TensorTypeError
from ..graphview import GraphView
from ..node import Node, Port, Producer
from ..tensor import Tensor


def checked(graph: Any, recipe: str) -> GraphView:
    if not isinstance(graph, GraphView):
        raise TensorTypeError(f"{recipe}: expected a GraphView, got {type(graph).__name__}")
    return graph


def nodes_of(graph: GraphView, *types: str) -> list[Node]:
    """The nodes of these types, in the order in which they run."""
    return [n for n in graph.execution_order() if n.type() in types]


def redirect(graph: GraphView, old: Port, new: Port | None) -> None:
    """Whoever reads `old` reads `new` instead; None leaves the inputs free.  The graph's outputs follow."""
    for reader, k in list(old.node.readers[old.index]):
        if new is None:
            reader.disconnect(k)
        else:
            new.node.add_child(reader, new.index, k)
    if graph.chosen_outputs is not None and new is not None:
        graph.chosen_outputs = [new if p == old else p for p in graph.chosen_outputs]
    edited()


def take_out(graph: GraphView, node: Node, include_producers: bool = True) -> None:
    """Remove a node, and the Producers that feed nothing else, from the graph and from its neighbours."""
    graph.remove(node, include_attached_producers=include_producers)
    node.reset_connections(include_learnable_param=True)


def bypass(graph: GraphView, node: Node, include_producers: bool = True) -> None:
    """Take a node out; who reads its first output reads its first input instead."""
    source = node.sources[0]
    readers = list(node.readers[0])
    if graph.chosen_inputs is not None and source is None:
        graph.chosen_inputs = [p for old in graph.chosen_inputs for p in (readers if old == Port(node, 0) else [old])]
    redirect(graph, Port(node, 0), source)
    take_out(graph, node, include_producers)


def put_in_place(graph: GraphView, old: Node, new: Node, sources: Sequence[Port | None]) -> None:
    """`new`, fed by these, takes the place of `old`'s first output; it runs where the old one ran."""
    if graph.chosen_inputs is not None:
        graph.chosen_inputs = [Port(new, 0) if p == Port(old, 0) else p for p in graph.chosen_inputs]
    for k, source in enumerate(sources):
        if source is not None:
            source.node.add_child(new, source.index, k)
    like(new, old)
    redirect(graph, Port(old, 0), Port(new, 0))
    graph.add(new)
    take_out(graph, old)


def like(new: Node, old: Node) -> None:
    """The same backend and data type, where there are any."""
    op = old.get_operator()
    if op.datatype is not None:
        new.get_operator().set_datatype(op.datatype)
    if op.backend_name is not None:
        new.get_operator().set_backend(op.backend_name)


def only_reader(node: Node) -> Node | None:
    """The one node that reads the first output, through one input; None where there is none or several."""
    readers = node.readers[0]
    return readers[0].node if len(readers) == 1 else None


def data_of(node: Node, k: int) -> np.ndarray | None:
    """What the Producer at input k holds; None where there is none, or it is not filled."""
    source = node.sources[k]
    if source is None or source.node.type() != "Producer":
        return None
    tensor = source.node.get_operator().get_output(0)
    return tensor.cell.read() if tensor.has_data() else None


def write(node: Node, k: int, array: np.ndarray) -> None:
    """Put an array into the Producer at input k, in the dtype that it has."""
    source = node.sources[k]
    if source is not None:
        tensor = source.node.get_operator().get_output(0)
        tensor.copy_from(Tensor(np.ascontiguousarray(array, dtype=tensor.cell.dtype)))


def constant(array: Any, name: str, like_node: Node, trained: bool = False) -> Node:
    """A new Producer of this array."""
    made = Producer(Tensor(np.asarray(array)), name, constant=not trained)
    backend = like_node.get_operator().backend_name
    if backend is not None:
        made.get_operator().set_backend(backend)
    return made
