"""Runs of equal blocks in a graph, such as the layers of a transformer: found once, so that they can be compiled once.

A run is `count` blocks of `period` nodes each.  Equal means: the same operators with the same attributes, on tensors of
the same types, wired in the same way.  What a block reads is of one of four kinds:

* written in the block itself;
* written by the block before it, a carry (the first block reads something of that type from outside);
* the same tensor for every block;
* another tensor for every block, of one type and from outside the run: parameters, or what a forward saved.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..graph import Graph, Node

LEAST_NODES = 24  # that a run must save, or finding it is not worth a loop
Place = tuple[int, int]  # (position in the block, number of the output)


@dataclass(frozen=True)
class Run:
    """Steps start .. start + count * period of a graph.

    carries: {name in the first block's reads: (its name inside, the place that the next block reads)}.
    stacked: {its name inside: the tensor of each block}.
    inputs: for each node of the block, its inputs by their names inside.
    """

    start: int
    period: int
    count: int
    carries: dict[str, tuple[str, Place]]
    stacked: dict[str, tuple[str, ...]]
    inputs: tuple[tuple[Any, ...], ...]

    @property
    def stop(self) -> int:
        return self.start + self.period * self.count


def find_runs(graph: Graph, kinds: Sequence[Hashable], settings: Sequence[Sequence[bool]], last: set[str]) -> list[Run]:
    """The runs of a graph, in order, none overlapping another; of several, the one that saves the most nodes first.

    kinds: of every node, what must be equal beside its wiring; settings: of every node, which inputs must be known when
    it is lowered; last: the tensors that lie channels-last.
    """
    return _Search(graph, kinds, settings, last).runs(0, len(graph.nodes))


def stack_name(names: Sequence[str]) -> str:
    """Under which the tensors of a run's blocks stand as one array."""
    return "|".join(names) + "/stack"


class Stacked(NamedTuple):
    """A parameter of each of several equal blocks, as one array [blocks, ...]; its name is their stack_name."""

    blocks: Any


class Stacks(dict):
    """{name: array}, where some tensors are found in stacks: sliced from there when somebody asks for one alone.

    names: {name of a stack: the tensors that it holds, in order}.
    """

    def __init__(self, arrays: Mapping[str, Any], names: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(arrays)
        self._places: dict[str, tuple[str, int]] = dict(getattr(arrays, "_places", {}))
        for stack, members in (names or {}).items():
            if stack in self:
                self._places |= {name: (stack, k) for k, name in enumerate(members)}

    def __missing__(self, name: str) -> Any:
        stack, k = self._places[name]
        self[name] = lax.index_in_dim(self[stack], k, keepdims=False)
        return self[name]

    def add(self, names: Sequence[str], stack: Any) -> None:
        """These tensors, as one array [names, ...]."""
        name = stack_name(names)
        self[name] = stack
        self._places |= {n: (name, k) for k, n in enumerate(names)}

    def in_a_stack(self, name: str) -> bool:
        """Is it in a stack, and nowhere else?"""
        return name in self._places and name not in self

    def series(self, names: Sequence[str]) -> tuple[Any, int, int]:
        """(a stack, the first of these tensors' place in it, 1 or -1 from one to the next); made if there is none."""
        places = [self._places.get(n, ("", 0)) for n in names]
        steps = {b - a for (_, a), (_, b) in pairwise(places)}
        if places[0][0] and len({stack for stack, _ in places}) == 1 and steps in ({1}, {-1}):
            return self[places[0][0]], places[0][1], steps.pop()
        self.add(names, jnp.stack([self[n] for n in names]))
        return self[stack_name(names)], 0, 1

    def stacked(self, names: Sequence[str]) -> Any:
        """These tensors along a new first axis."""
        stack, first, step = self.series(names)
        if first == 0 and step == 1 and len(stack) == len(names):
            return stack
        return jnp.stack([self[n] for n in names])


class _Search:
    def __init__(
        self, graph: Graph, kinds: Sequence[Hashable], settings: Sequence[Sequence[bool]], last: set[str]
    ) -> None:
        self.graph, self.settings, self.last = graph, settings, last
        numbers: dict[Hashable, int] = {}
        self.kinds = np.array([numbers.setdefault(k, len(numbers)) for k in kinds], np.int64)
        self.written = {o: (k, n) for k, node in enumerate(graph.nodes) for n, o in enumerate(node.outputs) if o}

    def runs(self, begin: int, end: int) -> list[Run]:
        for saves, start, period, length in self._candidates(begin, end):
            if saves < LEAST_NODES:
                break
            found = self._best(start, period, length)
            if found is not None:
                return [*self.runs(begin, found.start), found, *self.runs(found.stop, end)]
        return []

    def _candidates(self, begin: int, end: int) -> list[tuple[int, int, int, int]]:
        """(nodes saved, start, period, length) of stretches whose kinds are periodic, the best first."""
        found = []
        kinds = self.kinds[begin:end]
        for period in range(1, len(kinds) // 2 + 1):
            same = np.concatenate([[False], kinds[period:] == kinds[:-period], [False]])
            edges = np.flatnonzero(same[1:] != same[:-1])
            for first, beyond in zip(edges[::2], edges[1::2], strict=True):
                count = (beyond - first + period) // period
                if count > 1:
                    found.append(((count - 1) * period, begin + int(first), period, int(beyond - first + period)))
        # Of equal savings the shortest period, which makes the smallest program.
        return sorted(found, key=lambda c: (-c[0], c[2], c[1]))[:64]

    def _best(self, start: int, period: int, length: int) -> Run | None:
        """Blocks may be cut at any node of the period; the cut that leaves the most blocks is taken."""
        for count in range(length // period, 1, -1):
            if (count - 1) * period < LEAST_NODES:
                return None
            for shift in range(min(period, length - count * period + 1)):
                for skipped in range(length // period - count + 1):
                    at = start + shift + skipped * period
                    if at + count * period <= start + length:
                        run = self._wired(at, period, count)
                        if run is not None:
                            return run
        return None

    def _wired(self, start: int, period: int, count: int) -> Run | None:
        carries: dict[str, tuple[str, Place]] = {}
        places: dict[Place, str] = {}
        stacked: dict[str, tuple[str, ...]] = {}
        inputs = []
        for j in range(period):
            nodes = [self.graph.nodes[start + b * period + j] for b in range(count)]
            names: list[Any] = []
            for n, first in enumerate(nodes[0].inputs):
                if not isinstance(first, str):
                    names.append(first)
                    continue
                read = [str(node.inputs[n]) for node in nodes]
                if all(r == first for r in read):
                    if self._at(first, start) is not None:
                        return None  # written inside and read by all: not what this run says
                    names.append(first)
                    continue
                at = [self._at(r, start) for r in read]
                inside = {(a[0] - b * period, a[1]) if a else None for b, a in enumerate(at)}
                if len(inside) == 1 and None not in inside:
                    names.append(first)
                    continue
                before = {(a[0] - (b - 1) * period, a[1]) if a else None for b, a in enumerate(at) if b}
                (place,) = before if len(before) == 1 else (None,)
                if at[0] is None and place is not None and 0 <= place[0] < period:
                    if self.settings[start + j][n]:
                        return None
                    if places.setdefault(place, first) != first or not self._alike([first, *read[1:]]):
                        return None
                    names.append(carries.setdefault(first, (f"{first}/carried", place))[0])
                    if carries[first][1] != place:
                        return None
                    continue
                if any(a is not None for a in at) or not self._alike(read):
                    return None
                if self.settings[start + j][n]:
                    if not self._equal(read):
                        return None
                    names.append(first)
                    continue
                inside_name = f"{first}/stacked"
                if stacked.setdefault(inside_name, tuple(read)) != tuple(read):
                    return None
                names.append(inside_name)
            inputs.append(tuple(names))
        return Run(start, period, count, carries, stacked, tuple(inputs))

    def _at(self, name: str, start: int) -> Place | None:
        """(node counted from `start`, output) where it is written; None where that is before, or outside the graph."""
        k, n = self.written.get(name, (-1, 0))
        return (k - start, n) if k >= start else None

    def _alike(self, names: Sequence[str]) -> bool:
        """Of one known type and layout, and settled neither here nor there when the graph is lowered."""
        values = [self.graph.value(n) for n in names]
        return (
            values[0].shape is not None
            and len({(v.shape, v.dtype) for v in values}) == 1
            and len({n in self.last for n in names}) == 1
        )

    def _equal(self, names: Sequence[str]) -> bool:
        known = self.graph.constants
        return all(n in known and np.array_equal(known[n], known[names[0]]) for n in names)


def kind_of(graph: Graph, node: Node, *more: Hashable) -> Hashable:
    """What must be equal of two nodes beside their wiring: operator, attributes, literals, types of the outputs."""
    literals = tuple(repr(i) if not isinstance(i, str) else "" for i in node.inputs)
    attributes = tuple(sorted((k, repr(v)) for k, v in node.attrs.items()))
    types = tuple((graph.value(o).shape, graph.value(o).dtype) if o else None for o in node.outputs)
    return node.op, attributes, literals, types, more
