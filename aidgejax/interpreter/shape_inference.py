"""The shape and dtype of every tensor, symbolic sizes included."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node, Value
from ..ops import Operator, shape_inference_only
from ..ops.control_flow import check_unrolled
from .constant_folding import SMALL, cache_key, is_concrete, memoized
from .evaluate import Evaluator, Tensors

# Symbolic sizes are replaced by numbers, twice, and what changes in the results tells how a size depends on them.
# The first pair has many divisors, so that a Reshape that splits a symbolic axis goes through; a graph that
# cannot take sizes so large (a table of positions) gets the smaller ones.
TRIAL_SIZES = (840, 48, 16, 4, 2)


def infer_shapes(graph: Graph) -> Graph:
    """The same graph, knowing the shape and dtype of every tensor; symbolic sizes stay symbolic.

    Raises GraphError naming the node whose inputs do not fit.
    """
    check_unrolled(graph.nodes, f"graph {graph.name!r}")
    unknown = [str(v) for v in graph.inputs.values() if v.shape is None or None in v.shape]
    if unknown:
        raise GraphError(
            f"graph {graph.name!r} does not say the shape of its input {', '.join(unknown)}; "
            f"give every size as a number or a name"
        )
    symbols = symbols_of(graph)
    primes = (1, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
    prober = ShapeInference(graph)
    for n, probe in enumerate(TRIAL_SIZES):
        first = {s: probe * primes[k % len(primes)] for k, s in enumerate(symbols)}
        second = {s: 2 * v for s, v in first.items()}
        try:
            small = prober.probe(first)
            large = prober.probe(second) if symbols else small
            break
        except GraphError:
            if not symbols or n == len(TRIAL_SIZES) - 1:
                raise
    twin = graph.copy()
    for node in graph.nodes:
        for o in node.output_names:
            a, b = small[o], large[o]
            shape = tuple(_size(p, q, first, second) for p, q in zip(a.shape, b.shape, strict=True))
            twin.values[o] = Value(o, shape, a.dtype.name)
    return twin


def symbols_of(graph: Graph) -> list[str]:
    """The symbols that the sizes of a graph's inputs are made of."""
    return list(
        dict.fromkeys(
            s for v in graph.inputs.values() for d in v.shape or () if isinstance(d, str) for s in _parsed(d)[1]
        )
    )


class ShapeInference(Evaluator):
    """Walks through shapes and dtypes instead of arrays; what decides a shape is computed as ever."""

    def start(self, sizes: Mapping[str, int]) -> Tensors:
        """What there is before the first node, symbolic sizes being these numbers."""
        env = {k: _struct(v, sizes) for k, v in self.graph.inputs.items()}
        env |= {p.name: _struct(p.value, sizes) for p in self.graph.producers.values() if p.role != "constant"}
        return Tensors(env | self.graph.constants, self.last)

    def visit(self, node: Node, tensors: Tensors) -> None:
        """Add the outputs of one node, which need not be the graph's."""
        with jax.enable_x64(True):
            results = self._execute(self._plan(node, "NCHW"), 0, tensors, jax.random.key(0), set(node.output_names))
        tensors.arrays |= {o: a for o, a in zip(node.outputs, results, strict=False) if o is not None}

    def probe(self, sizes: Mapping[str, int]) -> dict[str, jax.ShapeDtypeStruct]:
        """What every node writes."""
        written = [o for n in self.graph.nodes for o in n.output_names]
        with jax.enable_x64(True):
            found = self(self.start(sizes).arrays, jax.random.key(0), written).arrays
            return {o: jax.ShapeDtypeStruct(np.shape(found[o]), jnp.result_type(found[o])) for o in written}

    def _forward(self, operator: Operator, args: list, keywords: dict[str, Any]) -> Any:
        static = {k for k, name in enumerate(operator.inputs) if name in operator.static}
        abstract = [k for k, a in enumerate(args) if not is_concrete(a) or np.size(a) > SMALL and k not in static]
        structs = [
            jax.ShapeDtypeStruct(np.shape(args[k]), args[k].dtype, weak_type=getattr(args[k], "weak_type", False))
            for k in abstract
        ]
        key = keywords.pop("key", None)

        def call(key: Any, *arrays: Any) -> Any:
            full = list(args)
            for k, a in zip(abstract, arrays, strict=True):
                full[k] = a
            with shape_inference_only():
                return operator.forward(*full, **keywords, **({} if key is None else {"key": key}))

        question = cache_key(operator, args, keywords, {k: str(s) for k, s in zip(abstract, structs, strict=True)})
        return memoized(question, lambda: jax.eval_shape(call, key, *structs))


def _struct(v: Value, sizes: Mapping[str, int]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct([number_of(d, sizes) for d in v.shape or ()], jnp.dtype(v.dtype))


# A size as `_size` spells it: "3*N*M", "2*N+1", "N-1", "N/2".
DERIVED = re.compile(r"(?:(\d+)\*)?([A-Za-z_]\w*)(?:\*([A-Za-z_]\w*))?(?:/([1-9]\d*))?([+-]\d+)?")


def _parsed(size: str) -> tuple[int, tuple[str, ...], int, int]:
    """(factor, symbols, divisor, offset); any other string is a symbol of its own."""
    match = DERIVED.fullmatch(size)
    if match is None:
        return 1, (size,), 1, 0
    factor, one, other, divisor, offset = match.groups()
    return int(factor or 1), (one, other) if other else (one,), int(divisor or 1), int(offset or 0)


def number_of(size: Any, sizes: Mapping[str, int]) -> int:
    """A size as a number, symbols looked up in `sizes`; KeyError for one that is not there."""
    if not isinstance(size, str):
        return size
    factor, symbols, divisor, offset = _parsed(size)
    return factor * math.prod(sizes[s] for s in symbols) // divisor + offset


def _size(a: int, b: int, first: dict[str, int], second: dict[str, int]) -> int | str:
    if a == b:
        return a
    for s in first:
        if (a, b) == (first[s], second[s]):
            return s
    multiples = []
    for s in first:
        factor, rest = divmod(b - a, second[s] - first[s])
        offset = a - factor * first[s]
        if rest == 0 and factor > 0 and abs(offset) < first[s]:
            multiples.append((offset != 0, factor, s, offset))
    if multiples:
        _, factor, s, offset = min(multiples)
        return (f"{factor}*{s}" if factor > 1 else s) + (f"{offset:+d}" if offset else "")
    for s, t in itertools.combinations_with_replacement(first, 2):
        factor, rest = divmod(a, first[s] * first[t])
        if rest == 0 and factor and b == factor * second[s] * second[t]:
            return f"{factor}*{s}*{t}" if factor > 1 else f"{s}*{t}"
    for s in first:
        if first[s] % a == 0 and second[s] % b == 0 and first[s] // a == second[s] // b:
            return f"{s}/{first[s] // a}"
    return f"?{a}"
