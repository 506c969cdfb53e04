"""Training or inference: the graph as it will be executed, and which of its nodes update buffers and parameters."""

from __future__ import annotations

from ..errors import GraphError
from ..graph import Graph, Node, Value
from ..interpreter.evaluate import Arrays
from ..ops import Operator, check_known, lookup
from ..ops.control_flow import is_control_flow


def normalized(graph: Graph, training: bool | None = None) -> Graph:
    """The graph as it will be executed: operators known, mode set, the outputs named that rules and buffers need."""
    check_known(graph.nodes, f"graph {graph.name!r}")
    graph.check()
    copy = graph.copy()
    nodes = []
    for node in copy.nodes:
        operator = lookup(node.op)
        _check_call(graph, node, operator)
        if training is not None:
            node = _in_mode(graph, operator, node, training)
        wanted = set(operator.residual_outputs) | (
            {*operator.updates.values()} if _is_training(operator, node) else set()
        )
        outputs = list(node.outputs) + [None] * (max(wanted, default=-1) + 1 - len(node.outputs))
        for k in wanted:
            if outputs[k] is None:
                name = copy.fresh(f"{node.name}.{k}")
                copy.values[name] = Value(name, None, None)
                outputs[k] = name
        nodes.append(node.replace(outputs=tuple(outputs)))
    copy.nodes = nodes
    return copy


def statistics_that_stay(graph: Graph) -> list[str]:
    """The batch normalizations in training whose momentum of 1 never moves their running statistics."""
    return [
        n.name
        for n in graph.nodes
        if "momentum" in lookup(n.op).attributes and n.attrs.get("momentum") == 1 and _is_training(lookup(n.op), n)
    ]


def with_momentum(graph: Graph, momentum: float) -> Graph:
    """The graph whose running statistics keep this share of themselves in each training step: 0.9, say.

    Raises GraphError for a share that is not from 0 to below 1.
    """
    if not 0 <= momentum < 1:
        raise GraphError(f"momentum={momentum}: running statistics keep a share of themselves from 0 to below 1")
    copy = graph.copy()
    for k, n in enumerate(graph.nodes):
        if not is_control_flow(n) and "momentum" in lookup(n.op).attributes:
            copy.nodes[k] = n.replace(attrs={**n.attrs, "momentum": momentum})
    return copy


def _check_call(graph: Graph, node: Node, operator: Operator) -> None:
    unknown = [a for a in node.attrs if a not in operator.attributes]
    if unknown:
        raise GraphError(
            f"node {node.name!r} of graph {graph.name!r}: {node.op} has no attribute "
            f"{', '.join(map(repr, unknown))}; it has {', '.join(operator.attributes) or 'none'}"
        )
    if not operator.variadic and len(node.inputs) > len(operator.inputs):
        raise GraphError(
            f"node {node.name!r} of graph {graph.name!r}: {node.op} takes at most "
            f"{len(operator.inputs)} inputs ({', '.join(operator.inputs)}), got {len(node.inputs)}"
        )


def _in_mode(graph: Graph, operator: Operator, node: Node, training: bool) -> Node:
    """Frozen statistics, see freeze.py, keep their node in inference."""
    if "training_mode" in operator.attributes:
        training = training and not any(node.inputs[k] in graph.constants for k in operator.updates)
        return node.replace(attrs={**node.attrs, "training_mode": int(training)})
    if "training_mode" in operator.inputs:
        at = operator.inputs.index("training_mode")
        inputs = list(operator.pad_inputs(node.inputs))
        inputs[at] = training
        return node.replace(inputs=tuple(inputs))
    return node


def _is_training(operator: Operator, node: Node) -> bool:
    return bool({**operator.attributes, **node.attrs}.get("training_mode", False))


def state_updates(graph: Graph, producers: Arrays, moves: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in graph.nodes:
        operator = lookup(node.op)
        if operator.updates and _is_training(operator, node) and (operator.updates_parameters or not moves):
            for i, o in operator.updates.items():
                name = node.outputs[o]
                if node.inputs[i] in producers and name is not None:
                    found[node.inputs[i]] = name
    return found
