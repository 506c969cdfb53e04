"""The shape and dtype of every tensor, symbolic sizes included.

Every node is evaluated at two points, which are numbers for the symbols, and the sizes that it writes are explained
from the sizes that it reads (size_explaining.py).  Where a node refuses the numbers, its own constants say which it
allows; what can only be one number, or the same as another size, is written into the inputs (size_repair.py).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import takes_graph
from ..errors import AidgeJaxError, GraphError
from ..graph import Graph, Value
from ..ops.control_flow import check_unrolled
from .abstract_evaluation import Point, SymbolicEvaluation, symbols_of
from .size_explaining import Dims, explained, other_numbers
from .size_repair import Findings, Refused, repaired

SIZES = "aidgejax.sizes"  # in a graph's metadata: what was found out about the sizes of its inputs, in sentences
MOST_REPAIRS = 24
PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 101, 103, 107, 109, 113)
OTHERS = (53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 127, 131, 137, 139, 149, 151)
# Many divisors, so that a Reshape that splits a symbolic size goes through; and none of them.
DIVISIBLE, ODD = 840, 121
SHAPE_CACHE: dict[Any, dict[int, tuple[Dims, Any]]] = {}
SHAPE_CACHE_SIZE = 1 << 13


@takes_graph
def infer_shapes(graph: Graph) -> Graph:
    """The same graph, knowing the shape and dtype of every tensor; symbolic sizes stay symbolic.

    A symbolic size of an input for which the graph allows one number only becomes this number, and one that has to be
    the same as another becomes that one; the metadata say so, under SIZES.
    Raises GraphError naming the node whose inputs do not fit.
    """
    check_unrolled(graph.nodes, f"graph {graph.name!r}")
    unknown = [str(v) for v in graph.inputs.values() if v.shape is None or None in v.shape]
    if unknown:
        raise GraphError(
            f"graph {graph.name!r} does not say the shape of its input {', '.join(unknown)}; "
            f"give every size as a number or a name"
        )
    findings = Findings()
    with jax.enable_x64(True):
        for _ in range(MOST_REPAIRS):
            try:
                return _inferred(graph, findings)
            except Refused as refused:
                graph = repaired(graph, refused, findings)
        return _inferred(graph, findings)


def _inferred(graph: Graph, findings: Findings) -> Graph:
    evaluation, symbols = SymbolicEvaluation(graph), symbols_of(graph)
    first, second = _numbers(symbols, findings)
    points = [Point(evaluation, first), Point(evaluation, second)] if symbols else [Point(evaluation, {})]
    checks = [Point(evaluation, other_numbers(symbols, findings.allowed, k)) for k in range(3)] if symbols else []
    context = (tuple(first.items()), tuple(second.items()), findings.key)
    for k, step in enumerate(evaluation.steps):
        shape_key = None
        try:
            if not step.folded and (shape_key := evaluation.shape_key(k, points)) is not None:
                shape_key = (context, shape_key)
                if shape_key in SHAPE_CACHE:
                    cached = SHAPE_CACHE[shape_key].items()
                    evaluation.learn(k, {o: a for n, a in cached if (o := step.node.outputs[n]) is not None})
                    continue
            for p in points:
                p.run(k)
        except AidgeJaxError as e:
            if not symbols:
                raise
            raise Refused(evaluation, k, points, e) from e
        dims = explained(evaluation, k, points, checks)
        arrays = points[0].tensors.arrays
        outputs = {o: (d, np.dtype(jnp.result_type(arrays[o]))) for o, d in dims.items()}
        evaluation.learn(k, outputs)
        if shape_key is not None and not any(o in {n for n, _ in evaluation.own.values()} for o in outputs):
            if len(SHAPE_CACHE) >= SHAPE_CACHE_SIZE:
                SHAPE_CACHE.clear()
            SHAPE_CACHE[shape_key] = {n: outputs[o] for n, o in enumerate(step.node.outputs) if o in outputs}
    copy = graph.copy()
    for o in evaluation.at:
        copy.values[o] = Value(o, evaluation.dims[o], evaluation.dtypes[o].name)
    if findings.sentences:
        copy.metadata[SIZES] = tuple(dict.fromkeys((*graph.metadata.get(SIZES, ()), *findings.sentences)))
    return copy


def _numbers(symbols: list[str], findings: Findings) -> tuple[dict[str, int], dict[str, int]]:
    first, second = {}, {}
    for k, s in enumerate(symbols):
        far = k // len(PRIMES) + 1
        first[s] = DIVISIBLE * PRIMES[k % len(PRIMES)] * far
        second[s] = (DIVISIBLE if s in findings.divisible else ODD) * OTHERS[k % len(OTHERS)] * far
        if s in findings.allowed:
            first[s], second[s] = findings.points(s)
    return first, second
