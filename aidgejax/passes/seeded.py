"""Random draws as plain arithmetic: the same numbers in any runtime, from a seed that is an input of the graph.

A runtime's own generator is out of reach once a graph is a file: onnxruntime's Dropout draws from a hidden state.  Here
every drawn number is a permutation of its index, taken twice, as a number below the prime 2^31 - 1:

    x -> x^5 mod p       5 has no factor in common with p - 1 = 2 * 3^2 * 7 * 11 * 31 * 151 * 331, so nothing collides

with the seed, the counter of steps and the node's place among the random nodes added in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import GraphError
from ..graph import Builder, Graph, Node, Value
from ..interpreter.shape_inference import infer_shapes
from ..ops import lookup
from .rewrite import Replacement, replace_nodes

PRIME = (1 << 31) - 1
SPREAD = (48271, 1103515245, 69621, 1220703125)  # multipliers below the prime
TINY = 2.0**-25
FLOAT, INT64 = 1, 7  # as ONNX numbers element types


def with_seeded_draws(graph: Graph, seed: str, step: str | None) -> Graph:
    """The graph whose Dropout, RandomNormalLike, RandomUniformLike and Bernoulli draw from `seed`, its int64 scalar.

    step: a counter that makes the draws of each step others; None where the seed itself is new in every step.
    Raises GraphError for another operator that draws.
    """
    while any(_is_composed(n) for n in graph.nodes):
        graph = infer_shapes(replace_nodes(graph, _composition))
    drawn = [n.name for n in graph.nodes if lookup(n.op).random]

    def replacement(node: Node) -> Replacement | None:
        if not lookup(node.op).random:
            return None
        if node.op not in DRAWS:
            raise GraphError(
                f"node {node.name!r} ({node.op}) of graph {graph.name!r} draws random numbers in a way that has "
                f"no form in plain operators; there are {', '.join(DRAWS)}"
            )
        place = drawn.index(node.name) + 1

        def write(op: Builder, *inputs: Any, **attributes: Any) -> Any:
            return DRAWS[node.op](_Source(op, seed, step, place), op, *inputs, **attributes)

        return write

    return infer_shapes(replace_nodes(graph, replacement)) if drawn else graph


def _is_composed(node: Node) -> bool:
    """Does it draw by way of plainer operators, as noise of analog tiles does?"""
    operator = lookup(node.op)
    return operator.random and node.op not in DRAWS and operator.decompose is not None


def _composition(node: Node) -> Replacement | None:
    if not _is_composed(node):
        return None
    operator = lookup(node.op)

    def write(op: Builder, *inputs: Any, **attributes: Any) -> Any:
        if operator.decompose is None:
            return None
        return operator.decompose(op, *operator.pad_inputs(inputs), **{**operator.attributes, **attributes})

    return write


class _Source:
    """Uniform numbers for one node."""

    def __init__(self, op: Builder, seed: str, step: str | None, place: int) -> None:
        self.op, self._seed, self._step, self._place = op, seed, step, place
        self._draws = 0

    def uniform(self, like: Value) -> Any:
        """Float32 numbers between 0 and 1, both excluded, of the shape of `like`."""
        op = self.op
        self._draws += 1
        start = op.Add(op.Mod(op.Cast(self._seed, to=INT64), PRIME), 7919 * self._place + 104729 * self._draws)
        start = self._power(op.Mod(start, PRIME))
        if self._step is not None:
            start = op.Mod(op.Add(start, op.Mul(op.Cast(self._step, to=INT64), SPREAD[2])), PRIME)
            start = self._power(start)
        count, shape = _size(op, like)
        x = op.Add(op.Mul(op.Range(0, count, 1), SPREAD[0]), start)
        x = self._power(op.Mod(x, PRIME))
        x = self._power(op.Mod(op.Add(op.Mul(x, SPREAD[1]), start), PRIME))
        u = op.Mul(op.Add(op.Cast(x, to=FLOAT), 0.5), 1 / PRIME)
        return op.Reshape(op.Clip(u, TINY, 1 - TINY), shape)

    def _power(self, x: Any) -> Any:
        """x^5 mod p; no product reaches 2^63."""
        op = self.op
        square = op.Mod(op.Mul(x, x), PRIME)
        return op.Mod(op.Mul(op.Mod(op.Mul(square, square), PRIME), x), PRIME)

    def normal(self, like: Value) -> Any:
        """Box and Muller, 1958."""
        op = self.op
        radius = op.Sqrt(op.Mul(op.Log(self.uniform(like)), -2.0))
        return op.Mul(radius, op.Cos(op.Mul(self.uniform(like), 2 * math.pi)))


def _size(op: Builder, like: Value) -> tuple[Any, Any]:
    """(number of elements, shape), as numbers where they are known."""
    if like.shape is not None and all(isinstance(d, int) for d in like.shape):
        shape = tuple(d for d in like.shape if isinstance(d, int))
        return np.asarray(math.prod(shape), np.int64), shape
    return op.Size(like), op.Shape(like)


def _dropout(
    source: _Source, op: Builder, x: Value, ratio: Any = None, training: Any = None, *, seed: Any = None
) -> tuple:
    if training is None or training is False:
        return op.Identity(x), op.GreaterOrEqual(op.ZerosLike(x), 0.0)
    ratio = 0.5 if ratio is None else ratio
    kept = op.GreaterOrEqual(source.uniform(x), ratio if isinstance(ratio, float | int) else op.Cast(ratio, to=FLOAT))
    scale = 1 / (1 - ratio) if isinstance(ratio, float | int) else op.CastLike(op.Reciprocal(op.Sub(1.0, ratio)), x)
    dropped = op.Where(kept, op.Mul(x, scale), 0.0)
    if training is True:
        return dropped, kept
    return op.Where(training, dropped, x), op.Or(kept, op.Not(training))


def _in_type(op: Builder, drawn: Any, x: Value, dtype: Any) -> Any:
    return op.CastLike(drawn, x) if dtype is None else op.Cast(drawn, to=dtype)


def _normal_like(
    source: _Source,
    op: Builder,
    x: Value,
    *,
    dtype: Any = None,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: Any = None,
) -> Any:
    drawn = op.Add(op.Mul(source.normal(x), float(scale)), float(mean))
    return _in_type(op, drawn, x, dtype)


def _uniform_like(
    source: _Source, op: Builder, x: Value, *, dtype: Any = None, low: float = 0.0, high: float = 1.0, seed: Any = None
) -> Any:
    drawn = op.Add(op.Mul(source.uniform(x), float(high - low)), float(low))
    return _in_type(op, drawn, x, dtype)


def _bernoulli(source: _Source, op: Builder, x: Value, *, dtype: Any = None, seed: Any = None) -> Any:
    return _in_type(op, op.Less(source.uniform(x), op.Cast(x, to=FLOAT)), x, dtype)


DRAWS: dict[str, Callable[..., Any]] = {
    "Dropout": _dropout,
    "RandomNormalLike": _normal_like,
    "RandomUniformLike": _uniform_like,
    "Bernoulli": _bernoulli,
}
