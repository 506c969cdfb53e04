"""Freezing parameters and statistics; extracting a body for fine-tuning.

A frozen tensor is a constant of the graph: training does not change it, and the file that is written notes its role.
A BatchNormalization whose statistics are constants computes as in inference, whatever mode a program is made for.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..arguments import takes_graph
from ..errors import GraphError
from ..graph import Graph, Node
from ..ops import lookup
from .roles import with_decided_roles


@takes_graph
def freeze_statistics(graph: Graph, nodes: Iterable[str] | None = None, *, scale_and_bias: bool = False) -> Graph:
    """The same graph whose batch normalizations keep their running statistics, and normalize with them in training.

    nodes: names of those that are meant; default: all.  scale_and_bias: True freezes these as well.
    Raises GraphError for a name that is not a node with running statistics.
    """
    known = {n.name: n for n in graph.nodes if _statistics(n)}
    wanted = list(known) if nodes is None else list(nodes)
    odd = [n for n in wanted if n not in known]
    if odd:
        raise GraphError(
            f"graph {graph.name!r} has no node {', '.join(map(repr, odd))} with running statistics; "
            f"it has {', '.join(map(repr, known)) or 'none'}"
        )
    names: list[str] = []
    for node in (known[n] for n in wanted):
        names += _statistics(node)
        names += [i for i in node.input_names[1:] if scale_and_bias and i in graph.params]
    return _constant(graph, names)


@takes_graph
def freeze_body(graph: Graph, up_to: str) -> Graph:
    """The same graph with everything frozen on which the tensor `up_to` depends: parameters and running statistics.

    What is computed from it, the head, is trained.  Raises GraphError where there is no such tensor, nothing to freeze
    or nothing left to train.
    """
    graph.value(up_to)
    needed = {up_to}
    for node in reversed(graph.nodes):
        if needed.intersection(node.output_names):
            needed.update(node.input_names)
    frozen = [p.name for p in graph.producers.values() if p.name in needed and p.role != "constant"]
    if not frozen or not set(graph.params) - set(frozen):
        raise GraphError(
            f"freezing graph {graph.name!r} up to {up_to!r} leaves {'nothing' if frozen else 'all of it'} "
            f"to train: {len(frozen)} tensors are above it, of {len(graph.params)} parameters in all"
        )
    return _constant(graph, frozen)


@takes_graph
def cut_at(graph: Graph, tensor: str) -> Graph:
    """The part of a graph that computes this tensor, its only output; a new head can be built on it.

    Roles that were decided by the structure of the whole are decided again.
    """
    graph.value(tensor)
    copy = graph.copy()
    copy.outputs = [tensor]
    copy.prune()
    read = {tensor, *(i for n in copy.nodes for i in n.input_names)}
    copy.producers = {k: p for k, p in copy.producers.items() if k in read}
    copy.inputs = {k: v for k, v in copy.inputs.items() if k in read}
    return with_decided_roles(copy)


def _statistics(node: Node) -> list[str]:
    operator = lookup(node.op)
    if operator.updates_parameters or "training_mode" not in operator.attributes:
        return []
    return [node.inputs[k] for k in operator.updates if isinstance(node.inputs[k], str)]


def _constant(graph: Graph, names: Iterable[str]) -> Graph:
    copy = graph.copy()
    for name in dict.fromkeys(names):
        if name in copy.producers:
            copy.producers[name].role = "constant"
    return copy
