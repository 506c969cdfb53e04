"""What a tensor of a graph is worth where constants and sizes decide it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..errors import AidgeJaxError
from ..graph import Graph, Node
from ..interpreter.constant_folding import fold
from ..ops import lookup

LARGEST = 1 << 20  # elements; more is data, not a setting
MOST_NODES = 200
TRIALS = (6, 10)  # for symbolic sizes: a value that is the same for both does not depend on them


def constant_value(graph: Graph, operand: Any) -> np.ndarray | None:
    """The value of a literal, a constant, or a tensor that follows from constants and sizes; else None.

    graph: with shapes inferred.  A symbolic size may take part as long as the value does not depend on it.  Parameters
    and buffers have no constant value, nor has what is drawn at random.
    """
    if not isinstance(operand, str):
        return None if operand is None else np.asarray(operand)
    order: list[Node] = []
    if not _collect(graph, operand, graph.writer(), order, set()):
        return None
    first, second = (_computed(graph, operand, order, trial) for trial in TRIALS)
    if first is None or second is None or first.shape != second.shape:
        return None
    return first if np.array_equal(first, second, equal_nan=first.dtype.kind == "f") else None


def _computed(graph: Graph, operand: str, order: list[Node], trial: int) -> np.ndarray | None:
    known: dict[str, Any] = {k: v for k, v in graph.constants.items()}
    for node in order:
        operator = lookup(node.op)
        args = [_argument(graph, i, known, operator.shape_only, trial) for i in node.inputs]
        try:
            results = fold(operator, args, dict(node.attrs))
        except (AidgeJaxError, TypeError, ValueError, IndexError):
            return None
        known |= {o: r for o, r in zip(node.outputs, results, strict=False) if o is not None}
    return known.get(operand)


def _argument(graph: Graph, operand: Any, known: dict[str, Any], shape_only: bool, trial: int) -> Any:
    if not isinstance(operand, str):
        return np.asarray(operand, np.int64) if isinstance(operand, tuple) else operand
    if not shape_only and operand in known:
        return known[operand]
    value = graph.value(operand)
    shape = tuple(d if isinstance(d, int) else trial for d in value.shape or ())
    return jax.ShapeDtypeStruct(shape, value.dtype or "float32")


def _collect(graph: Graph, name: str, writer: dict[str, Node], order: list[Node], seen: set[str]) -> bool:
    """Add to `order` the nodes that compute `name`; False where data decides it."""
    if name in graph.constants:
        return graph.constants[name].size <= LARGEST
    if name in seen:
        return True
    node = writer.get(name)
    if node is None or len(order) >= MOST_NODES:
        return False
    operator = lookup(node.op)
    if operator.random or operator.updates:
        return False
    if operator.shape_only:
        if any(graph.value(i).shape is None for i in node.input_names):
            return False
    elif not all(_collect(graph, i, writer, order, seen) for i in node.input_names):
        return False
    order.append(node)
    seen.update(node.output_names)
    return True
