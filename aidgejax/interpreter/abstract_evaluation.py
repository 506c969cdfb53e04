"""Abstract evaluation of a graph: shapes and dtypes in the place of arrays, at any numbers for its symbols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node, Value
from ..ops import Operator, shape_inference_only
from .constant_folding import SMALL, cache_key, is_concrete, key_of, memoized
from .equal_nodes import EqualNodes
from .evaluate import Evaluator, Step, Tensors
from .sizes import Size, parse, value


def symbols_of(graph: Graph) -> list[str]:
    """The symbols that the sizes of a graph's inputs are made of."""
    return list(dict.fromkeys(s for v in graph.inputs.values() for s in symbols_of_shape(v.shape or ())))


def symbols_of_shape(shape: Iterable[Any]) -> list[str]:
    """The symbols that some sizes are made of."""
    sizes = [parse(d) for d in shape if isinstance(d, str)]
    return list(dict.fromkeys(s for size in sizes if isinstance(size, Size) for s in size.symbols))


def number_of(size: Any, sizes: Mapping[str, int]) -> int:
    """A size as a number, symbols looked up in `sizes`; KeyError for one that is not there."""
    return value(parse(size), sizes) if isinstance(size, str) else size


class ShapeInference(Evaluator):
    """Abstract evaluation: shapes and dtypes instead of arrays; what decides a shape is computed."""

    def start(self, sizes: Mapping[str, int]) -> Tensors:
        """What there is before the first node, symbolic sizes being these numbers."""
        env = {k: _struct(v, sizes) for k, v in self.graph.inputs.items()}
        env |= {p.name: _struct(p.value, sizes) for p in self.graph.producers.values() if p.role != "constant"}
        return Tensors(env | self.graph.constants, self.channels_last)

    def visit(self, node: Node, tensors: Tensors) -> None:
        """Add the outputs of one node, which need not be the graph's."""
        with jax.enable_x64(True):
            self.write(self._plan(node, "NCHW"), tensors)

    def write(self, step: Step, tensors: Tensors) -> None:
        """Add the outputs of one planned node."""
        names = step.node.output_names
        key = jax.random.key(0) if step.operator.random else None
        results = self._execute(step, 0, tensors, key, set(names))
        tensors.arrays |= {o: a for o, a in zip(step.node.outputs, results, strict=False) if o is not None}

    def _forward(self, operator: Operator, args: list, keywords: dict[str, Any], equal: EqualNodes) -> Any:
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

        shape_key = cache_key(operator, args, keywords, {k: str(s) for k, s in zip(abstract, structs, strict=True)})
        return memoized(shape_key, lambda: jax.eval_shape(call, key, *structs))


class Point:
    """One choice of numbers for the symbols.  Tensors are computed when they are asked for, and then kept.

    afresh: symbols whose effect on sizes is not to be taken from what was explained before.
    """

    def __init__(self, evaluation: SymbolicEvaluation, numbers: Mapping[str, int], afresh: Iterable[str] = ()) -> None:
        self.evaluation, self.numbers, self.afresh = evaluation, dict(numbers), frozenset(afresh)
        self.tensors = Tensors({}, set())
        self._sizes: dict[str, int] = {}

    def size(self, d: int | str) -> int:
        """A size at this point."""
        if isinstance(d, int):
            return d
        if d not in self._sizes:
            size = parse(d)
            for s in size.symbols if isinstance(size, Size) else ():
                if s not in self.numbers:  # a size that has no other name than its tensor's
                    name, axis = self.evaluation.own[s]
                    self._sizes[d] = -1
                    self.numbers[s] = self.shapes(self.evaluation.at[name])[name][axis]
            self._sizes[d] = value(size, self.numbers)
        return self._sizes[d]

    def shape(self, dims: Sequence[int | str]) -> tuple[int, ...]:
        return tuple(map(self.size, dims))

    def shapes(self, k: int) -> dict[str, tuple[int, ...]]:
        """The shapes that node k writes; an error of our family where it refuses."""
        self.run(k)
        node = self.evaluation.steps[k].node
        return {o: tuple(np.shape(self.tensors.arrays[o])) for o in node.output_names if o in self.tensors.arrays}

    def run(self, k: int) -> None:
        """Compute node k, and before it what it needs."""
        stack, needed = [k], {k}
        while stack:
            for name in self.evaluation.steps[stack.pop()].node.input_names:
                if (at := self._missing(name)) is not None and at not in needed:
                    needed.add(at)
                    stack.append(at)
        for at in sorted(needed):
            self.evaluation.count()
            self.evaluation.write(self.evaluation.steps[at], self.tensors)

    def _missing(self, name: str) -> int | None:
        """The node to compute first, if a tensor is not at hand and cannot be made from what is known of it."""
        if name in self.tensors.arrays:
            return None
        evaluation = self.evaluation
        at = evaluation.at.get(name)
        if at is None:
            fixed = evaluation.fixed.get(name)
            self.tensors.arrays[name] = self._struct(name) if fixed is None else fixed
            return None
        if (
            name in evaluation.metadata
            or name not in evaluation.dims
            or self.afresh.intersection(evaluation.carried[name])
        ):
            return at
        self.tensors.arrays[name] = self._struct(name)
        return None

    def _struct(self, name: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.shape(self.evaluation.dims[name]), self.evaluation.dtypes[name])


class SymbolicEvaluation(ShapeInference):
    """What is known of the tensors of one graph while its nodes are visited in order.

    dims: sizes as a graph writes them.  carried: the symbols that a tensor, or anything that it was computed from, is
    made of.  at: the node that writes a tensor, as an index.  own: {symbol: (tensor, axis)} of sizes without a formula.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.at = {o: k for k, n in enumerate(graph.nodes) for o in n.output_names}
        self.dims: dict[str, tuple[int | str, ...]] = {}
        self.dtypes: dict[str, np.dtype] = {}
        self.carried: dict[str, frozenset[str]] = {}
        self.fixed: dict[str, Any] = {}
        self.own: dict[str, tuple[str, int]] = {}
        self.executions, self.most_executions = 0, 1 << 60
        nothing: frozenset[str] = frozenset()
        for v in graph.inputs.values():
            self.dims[v.name] = tuple(d if isinstance(d, int) else str(d) for d in v.shape or ())
            self.dtypes[v.name] = np.dtype(jnp.dtype(v.dtype or "float32"))
            self.carried[v.name] = frozenset(
                s
                for d in self.dims[v.name]
                if isinstance(d, str) and isinstance(e := parse(d), Size)
                for s in e.symbols
            )
        for p in graph.producers.values():
            self.dims[p.name], self.dtypes[p.name] = tuple(p.data.shape), p.data.dtype
            self.carried[p.name] = nothing
            constant = p.role == "constant"
            self.fixed[p.name] = p.data if constant else jax.ShapeDtypeStruct(p.data.shape, p.data.dtype)

    def count(self) -> None:
        self.executions += 1
        if self.executions > self.most_executions:
            raise OutOfBudget("too many sizes were tried")

    def learn(self, k: int, outputs: Mapping[str, tuple[tuple[int | str, ...], np.dtype]]) -> None:
        """What node k writes."""
        node = self.steps[k].node
        carried: frozenset[str] = frozenset()
        for i in node.input_names:
            if not self.carried[i] <= carried:
                carried = carried | self.carried[i] if carried else self.carried[i]
        for name, (dims, dtype) in outputs.items():
            self.dims[name], self.dtypes[name], self.carried[name] = dims, dtype, carried

    def shape_key(self, k: int, points: Sequence[Point]) -> Any:
        """A hashable key that is equal where the shapes that the node writes are; None where there is none."""
        step = self.steps[k]
        parts: list[Any] = [step.operator.forward, *(o is None for o in step.node.outputs)]
        for name, v in step.keywords.items():
            parts.append((name, key_of(v)))
        for how, i in zip(step.reads, step.node.inputs, strict=True):
            if not isinstance(i, str):
                parts.append(key_of(i) or "absent")
                continue
            parts.append((self.dims[i], self.dtypes[i]))
            size = np.size(self.fixed[i]) if i in self.fixed and is_concrete(self.fixed[i]) else 0
            if i in self.metadata or how == "static" or 0 < size <= SMALL:
                for p in points:
                    if i not in p.tensors.arrays and (at := p._missing(i)) is not None:
                        p.run(at)
                    array = p.tensors.arrays[i]
                    if is_concrete(array) and (how == "static" or np.size(array) <= SMALL):
                        parts.append(key_of(array))
        return None if any(t is None or isinstance(t, tuple) and t[-1] is None for t in parts) else tuple(parts)

    def _where(self, node: Node, tensors: Tensors) -> str:
        took = []
        for i in node.inputs:
            if isinstance(i, str) and i in self.dims:
                took.append(str(Value(i, self.dims[i], self.dtypes[i].name)))
            else:
                took.append(str(i))
        return f"node {node.name!r} ({node.op}) of graph {self.graph.name!r} with inputs {', '.join(took)}"


class OutOfBudget(GraphError):
    """Finding sizes took longer than it may."""


def _struct(v: Value, sizes: Mapping[str, int]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct([number_of(d, sizes) for d in v.shape or ()], jnp.dtype(v.dtype))
