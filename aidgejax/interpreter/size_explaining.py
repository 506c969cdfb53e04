"""Explaining the sizes that one node writes from the sizes that it reads.

Candidates come cheapest first: the same number everywhere, a size of an input, products and sums of them, what a
Reshape leaves over; then what is found by asking the node at neighbouring sizes: (a*d+b)//c, a*((d+b)//c)+e, minima.  A
candidate holds where it agrees with all that the node has answered.  What nothing explains becomes a symbol named after
its tensor, "y[2]".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from ..errors import AidgeJaxError
from .abstract_evaluation import Point, SymbolicEvaluation
from .evaluate import Tensors
from .sizes import Expression, Size, divided, least, parse, symbol, value, written

Dims = tuple[int | str, ...]
# Where else a node is asked: small and odd numbers, for which rounding and bounds show.
CHECKS = ((7, 9, 11, 13, 6, 10, 14, 15, 17, 19), (41, 23, 29, 16, 31, 37, 43, 12, 47, 53), (96, 60, 72, 48, 36, 84))
NEAR, FAR = 17, 42  # neighbouring sizes that are asked for: periods up to half as many are seen


def explained(
    evaluation: SymbolicEvaluation, k: int, points: Sequence[Point], checks: Sequence[Point]
) -> dict[str, Dims]:
    """The sizes of what node k writes, which has been computed at the points."""
    return _Explaining(evaluation, k, points, checks).outputs()


class _Explaining:
    def __init__(
        self, evaluation: SymbolicEvaluation, k: int, points: Sequence[Point], checks: Sequence[Point]
    ) -> None:
        self.evaluation, self.k, self.points = evaluation, k, points
        self.node = evaluation.steps[k].node
        self.ins = [(i, evaluation.dims[i]) for i in dict.fromkeys(self.node.input_names)]
        self.symbols = sorted({s for i in self.node.input_names for s in evaluation.carried[i]})
        self.seen = [(p, p.shapes(k)) for p in points]
        self.checks = list(checks) if self.symbols else []
        self._series: dict[Any, dict[str, tuple[int, ...]] | None] = {}

    def outputs(self) -> dict[str, Dims]:
        found: dict[str, Dims] = {}
        self._look(1)
        for o, shape in self.seen[0][1].items():
            dims: list[int | str] = []
            for j in range(len(shape)):
                dims.append(self._size(o, j, dims))
            found[o] = tuple(dims)
        return found

    def _look(self, checks: int) -> None:
        """Ask at this many more points; where the node refuses, nothing is learnt."""
        for _ in range(min(checks, len(self.checks))):
            p = self.checks.pop(0)
            try:
                self.seen.append((p, p.shapes(self.k)))
            except AidgeJaxError:
                continue

    def _size(self, o: str, j: int, before: list[int | str]) -> int | str:
        for d in self._plain(o, j):
            if self._holds(d, o, j):
                return d
        self._look(len(self.checks))
        for candidate in itertools.chain(self._structural(o, j, before), self._asked(o, j)):
            d = written(candidate)
            if self._holds(d, o, j):
                return d
        own = f"{o}[{j}]"
        self.evaluation.own[own] = (o, j)
        for p in self.points:
            p.numbers[own] = p.shapes(self.k)[o][j]
        return written(symbol(own))

    def _holds(self, d: int | str, o: str, j: int) -> bool:
        return all(p.size(d) == shapes[o][j] for p, shapes in self.seen if o in shapes)

    def _plain(self, o: str, j: int) -> Iterator[int | str]:
        first = self.seen[0][1][o][j]
        if len({shapes[o][j] for _, shapes in self.seen[:2]}) == 1:
            yield first
        rank = len(self.seen[0][1][o])
        for _, dims in self.ins:
            if len(dims) == rank:
                yield dims[j]
        for _, dims in self.ins:
            yield from dims
        yield from (written(symbol(s)) for s in self.symbols)

    # ---- from the shapes that are read ----------------------------------------------------------------

    def _structural(self, o: str, j: int, before: list[int | str]) -> Iterator[Expression]:
        a = self.seen[0][1][o]
        for _, dims in self.ins:
            sizes = [parse(d) for d in dims]
            if not sizes:
                continue
            total = math.prod(sizes[1:], start=sizes[0])
            others = math.prod((parse(d) for d in before), start=1) * math.prod(a[j + 1 :], start=1)
            yield divided(total, others)  # what is left over, where what follows are numbers
            for start, stop in itertools.combinations(range(len(sizes) + 1), 2):
                if stop - start > 1:
                    yield math.prod(sizes[start:stop], start=1)
        along = [parse(dims[j]) for i in self.node.input_names if len(dims := self.evaluation.dims[i]) > j]
        if len(along) > 1:
            yield sum(along[1:], start=along[0])
        distinct = list(dict.fromkeys(d for _, dims in self.ins for d in dims if isinstance(d, str)))
        distinct += [s for d in self.symbols if (s := str(written(symbol(d)))) not in distinct]
        for d in distinct:
            yield from self._multiples(parse(d), d, a[j])
        for c, d in itertools.combinations_with_replacement(distinct[:6], 2):
            product = parse(c) * parse(d)
            yield from self._multiples(product, written(product), a[j])

    def _multiples(self, size: Expression, d: int | str, wanted: int) -> Iterator[Expression]:
        number = self.points[0].size(d)
        if number and wanted % number == 0:
            yield size * (wanted // number)
        elif wanted and number % wanted == 0:
            yield divided(size, number // wanted)

    # ---- from what the node answers at neighbouring sizes ----------------------------------------------

    def _asked(self, o: str, j: int) -> Iterator[Expression]:
        distinct = list(dict.fromkeys(d for _, dims in self.ins for d in dims if isinstance(d, str)))
        if not self._settings_follow():
            for d in distinct:
                yield from self._fitted(parse(d), partial(self._by_size, d), o, j)
        for s in self.symbols:
            yield from self._fitted(symbol(s), partial(self._by_symbol, s), o, j)
        yield from self._several(o, j)

    def _settings_follow(self) -> bool:
        """Does what decides the shape change with the symbols?"""
        known = [i for i in self.node.input_names if i in self.evaluation.metadata and i not in self.evaluation.fixed]
        return any(self.evaluation.carried[i] for i in known)

    def _fitted(
        self, d: Expression, ask: Callable[[range], list[tuple[int, dict[str, tuple[int, ...]]]]], o: str, j: int
    ) -> Iterator[Expression]:
        if len({shapes[o][j] for _, shapes in self.seen[:2]}) == 1:  # the same at large sizes
            yield from self._bounded(d, ask, o, j)
            return
        for span in (range(40, 40 + NEAR), range(40, 40 + FAR)):
            answers = [(v, shapes[o][j]) for v, shapes in ask(span) if o in shapes]
            if len({a for _, a in answers}) < 2:
                return
            if fit := _formula(d, answers):
                yield fit
                return

    def _bounded(self, d: Expression, ask: Callable, o: str, j: int) -> Iterator[Expression]:
        """The same number from some size on: min(S, 100)."""
        limit = self.seen[0][1][o][j]
        low, high = 1, self.points[0].size(written(d))
        while low < high:
            middle = (low + high) // 2
            found = ask(range(middle, middle + 1))
            if found and found[0][1][o][j] >= limit:
                high = middle
            else:
                low = middle + 1
        yield least(d, low) - least(d, low - limit) if low > limit else least(d, limit)

    def _by_size(self, d: str, span: range) -> list[tuple[int, dict[str, tuple[int, ...]]]]:
        """Answers with another number in place of one size of the inputs."""
        return [(v, found) for v in span if (found := self._answer(("size", d, v), self._with_size)) is not None]

    def _by_symbol(self, s: str, span: range) -> list[tuple[int, dict[str, tuple[int, ...]]]]:
        return [(v, found) for v in span if (found := self._answer(("symbol", s, v), self._with_symbol)) is not None]

    def _answer(self, shape_key: tuple[str, str, int], ask: Callable) -> dict[str, tuple[int, ...]] | None:
        if shape_key not in self._series:
            try:
                self._series[shape_key] = ask(*shape_key[1:])
            except AidgeJaxError:
                self._series[shape_key] = None  # a refusal
        return self._series[shape_key]

    def _with_size(self, d: str, v: int) -> dict[str, tuple[int, ...]]:
        evaluation, base = self.evaluation, self.points[0]
        tensors = Tensors({}, set())
        for i in self.node.input_names:
            known = base.tensors.arrays[i]
            if isinstance(known, jax.ShapeDtypeStruct):
                shape = tuple(v if n == d else base.size(n) for n in evaluation.dims[i])
                known = jax.ShapeDtypeStruct(shape, known.dtype)
            tensors.arrays[i] = known
        evaluation.count()
        evaluation.write(evaluation.steps[self.k], tensors)
        return {o: tuple(np.shape(tensors.arrays[o])) for o in self.node.output_names}

    def _with_symbol(self, s: str, v: int) -> dict[str, tuple[int, ...]]:
        if s not in self.points[0].numbers or s in self.evaluation.own:
            return {}
        return Point(self.evaluation, {**self._free_numbers(), s: v}).shapes(self.k)

    def _free_numbers(self) -> dict[str, int]:
        return {s: n for s, n in self.points[0].numbers.items() if s not in self.evaluation.own}

    def _several(self, o: str, j: int) -> Iterator[Expression]:
        """Sums of multiples of symbols, and products of a formula for each."""
        at = self._free_numbers()
        wanted = self.seen[0][1][o][j]
        slopes: dict[str, int] = {}
        parts: list[Expression] = []
        for s in self.symbols:
            if s not in at:
                continue
            near = self._by_symbol(s, range(at[s], at[s] + 2))
            if len(near) == 2 and near[0][1] and near[1][1]:
                slopes[s] = near[1][1][o][j] - near[0][1][o][j]
            answers = [(v, shapes[o][j]) for v, shapes in self._by_symbol(s, range(40, 40 + NEAR)) if shapes]
            common = math.gcd(*(a for _, a in answers)) if answers else 0
            if common and len({a for _, a in answers}) > 1:
                if fit := _formula(symbol(s), [(v, a // common) for v, a in answers]):
                    parts.append(fit)
        total: Expression = sum((symbol(s) * c for s, c in slopes.items()), start=0)
        yield total + (wanted - value(total, at))
        if len(parts) > 1:
            product = math.prod(parts[1:], start=parts[0])
            number = value(product, at)
            if number and wanted % number == 0:
                yield product * (wanted // number)


def _formula(d: Expression, answers: Sequence[tuple[int, int]]) -> Expression | None:
    """(a*d+b)//c or a*((d+b)//c)+e that gives these answers at consecutive sizes."""
    found = dict(answers)
    first, last = min(found), max(found)
    if len(found) < NEAR or last - first + 1 != len(found):
        return None
    for period in range(1, len(found) // 2 + 1):
        steps = {found[v + period] - found[v] for v in range(first, last + 1 - period)}
        if len(steps) == 1:
            break
    else:
        return None
    slope = steps.pop()
    low = max(period * a - slope * v for v, a in found.items())
    high = min(period * a + period - 1 - slope * v for v, a in found.items())
    if low <= high:
        return divided(d * slope + low, period)
    for shift in range(period):
        rest = {a - slope * ((v + shift) // period) for v, a in found.items()}
        if len(rest) == 1:
            return divided(d + shift, period) * slope + rest.pop()
    return None


def other_numbers(symbols: Sequence[str], allowed: Mapping[str, Sequence[int]], check: int) -> dict[str, int]:
    """Numbers for one more look, inside what is allowed."""
    found = {}
    for k, s in enumerate(symbols):
        choices = CHECKS[check]
        number = choices[k % len(choices)] + 60 * (k // len(choices))
        if s in allowed:
            inside = sorted(allowed[s])
            number = inside[(check + k) % len(inside)]
        found[s] = number
    return found


def is_symbolic(dims: Dims) -> bool:
    return any(isinstance(d, str) and isinstance(parse(d), Size) for d in dims)
