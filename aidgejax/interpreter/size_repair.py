"""When a node refuses the numbers: which ones it allows, or what its sizes have to be.

Tried in this order, each by computing everything between the inputs that carry a symbol and the node: numbers with
many divisors; numbers that the node's own constants suggest (several that work leave the symbol free, one binds it);
the same as another size that is met here; several sizes at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import AidgeJaxError, GraphError
from ..graph import Graph, Value
from .abstract_evaluation import OutOfBudget, Point, SymbolicEvaluation, symbols_of
from .constant_folding import is_concrete
from .size_explaining import Dims
from .sizes import Expression, Size, divided, parse, put, symbol, value, written

MOST_TRIES, MOST_EXECUTIONS = 200, 4000
SCANNED = (*range(2, 17), 24, 32, 48, 64)
DIVISIBLE = 840
SHOWN = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29), (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)


@dataclass
class Findings:
    """allowed: {symbol: numbers that work}, where not all do.  divisible: symbols that the graph divides."""

    allowed: dict[str, tuple[int, ...]] = field(default_factory=dict)
    divisible: set[str] = field(default_factory=set)
    sentences: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple:
        return tuple(sorted(self.allowed.items())), tuple(sorted(self.divisible))

    def points(self, s: str) -> tuple[int, int]:
        numbers = self.allowed[s]
        return numbers[-1], numbers[-2]


class Refused(GraphError):
    """Node k of the evaluation does not work at one of the points."""

    def __init__(self, evaluation: SymbolicEvaluation, k: int, points: Sequence[Point], error: AidgeJaxError) -> None:
        super().__init__(str(error))
        self.evaluation, self.k, self.points, self.error = evaluation, k, points, error


def repaired(graph: Graph, refused: Refused, findings: Findings) -> Graph:
    """The graph with sizes of its inputs bound, or as it is, with more in the findings.

    Raises GraphError naming the node where no sizes are found for which it works.
    """
    repair = _Repair(graph, refused, findings)
    repair.evaluation.executions, repair.evaluation.most_executions = 0, MOST_EXECUTIONS
    try:
        bound = repair.find()
    except OutOfBudget:
        bound = None
    repair.evaluation.most_executions = 1 << 60
    if bound is None:
        raise repair.failure() from None
    if not bound:
        return graph
    copy = graph.copy()
    for name, v in graph.inputs.items():
        copy.inputs[name] = Value(name, tuple(_put(d, bound) for d in v.shape or ()), v.dtype)
    return copy


def _put(d: Any, bound: Mapping[str, Expression]) -> Any:
    return written(put(parse(d), bound)) if isinstance(d, str) else d


class _Repair:
    def __init__(self, graph: Graph, refused: Refused, findings: Findings) -> None:
        self.graph, self.findings, self.error = graph, findings, refused.error
        self.evaluation, self.k = refused.evaluation, refused.k
        self.node = self.evaluation.steps[self.k].node
        self.order = symbols_of(graph)
        failing = [p for p in refused.points if not self._runs(p)]
        self.base_point = failing[0] if failing else refused.points[0]
        self.only_odd = failing == [refused.points[-1]] and len(refused.points) > 1
        self.base = {s: self.base_point.numbers[s] for s in self.order}
        met = [d for i in self.node.input_names for d in self.evaluation.dims.get(i, ())]
        self.met: list[int | str] = list(dict.fromkeys(met))
        near = [s for d in self.met if isinstance(d, str) for s in _symbols(d)]
        carried = [s for i in self.node.input_names for s in sorted(self.evaluation.carried[i])]
        self.symbols = [s for s in dict.fromkeys([*reversed(near), *carried]) if s in self.base]
        self.tries = 0

    def _runs(self, point: Point) -> bool:
        try:
            point.run(self.k)
        except AidgeJaxError:
            return False
        return True

    def goes(self, numbers: Mapping[str, int]) -> bool:
        """Does the node work where these symbols have these numbers?"""
        self.tries += 1
        if self.tries > MOST_TRIES:
            raise OutOfBudget("too many sizes were tried")
        point = Point(self.evaluation, {**self.base, **numbers}, afresh=numbers)
        try:
            point.run(self.k)
        except OutOfBudget:
            raise
        except AidgeJaxError:
            return False
        return True

    def find(self) -> dict[str, Expression] | None:
        if not self.symbols:
            return None
        new = [s for s in self.symbols if s not in self.findings.divisible and s not in self.findings.allowed]
        if self.only_odd and new and self.goes({s: DIVISIBLE * (53 + 6 * k) for k, s in enumerate(new)}):
            self.findings.divisible.update(new)
            return {}
        constants = self._constants()
        alone: dict[str, int] = {}
        for s in self.symbols:
            if s in self.findings.allowed:
                works = [n for n in self.findings.allowed[s] if self.goes({s: n})]
                if len(works) == len(self.findings.allowed[s]):
                    continue
            else:
                works = self._working(s, constants)
            if len(works) > 1:
                self.findings.allowed[s] = tuple(works)
                self.findings.sentences.append(f"{s} is at most {works[-1]} (node {self.node.name!r})")
                return {}
            if works:
                alone[s] = works[0]
        for bound in (self._equal(), self._alone(alone), self._several(constants)):
            if bound:
                self._say(bound)
                return bound
        return None

    # ---- candidates -----------------------------------------------------------------------------------

    def _constants(self) -> list[int]:
        """Numbers that the node and those above it bring along."""
        names = list(self.node.input_names)
        for i in self.node.input_names:
            if (at := self.evaluation.at.get(i)) is not None:
                names += self.evaluation.steps[at].node.input_names
        found: list[int] = []
        for name in dict.fromkeys(names):
            found += [d for d in self.evaluation.dims.get(name, ()) if isinstance(d, int)]
            known = self.evaluation.fixed.get(name)
            if known is not None and is_concrete(known) and np.asarray(known).dtype.kind in "iu" and np.size(known) < 9:
                found += [int(n) for n in np.ravel(known)]
        literal = [i for i in self.node.inputs if isinstance(i, tuple)]
        found += [n for t in literal for n in t]
        return [n for n in dict.fromkeys(found) if 1 < n < 1 << 24]

    def _working(self, s: str, constants: Iterable[int]) -> list[int]:
        """The numbers for one symbol for which the node works, in order; not 1, which only broadcasts."""
        candidates: dict[int, None] = {}
        for c in constants:
            for wanted in (c, c - 1, c // 2, c // 4):
                candidates[wanted] = None
                candidates.update(dict.fromkeys(self._solved(s, wanted)))
        works = [n for n in candidates if n > 1 and self.goes({s: n})]
        scanned = [n for n in SCANNED if n not in candidates]
        near = [n for n in scanned[:8] if self.goes({s: n})]
        works += near
        if near:
            works += [n for n in scanned[8:] if self.goes({s: n})]
        return sorted(works)

    def _solved(self, s: str, wanted: int) -> Iterator[int]:
        """Numbers for s that make a size that is met here this number."""
        for d in self.met:
            if isinstance(d, str) and d != s and s in _symbols(d) and not set(_symbols(d)) - set(self.base):
                size, low, high = parse(d), 1, 1 << 24
                while low < high:
                    middle = (low + high) // 2
                    if value(size, {**self.base, s: middle}) >= wanted:
                        high = middle
                    else:
                        low = middle + 1
                if value(size, {**self.base, s: low}) == wanted:
                    yield low

    def _alone(self, alone: Mapping[str, int]) -> dict[str, Expression] | None:
        return next((dict[str, Expression]({s: n}) for s, n in alone.items()), None)

    def _equal(self) -> dict[str, Expression] | None:
        """One symbol as another size that is met here; the later name goes."""
        for d, e in itertools.permutations(self.met, 2):
            for s in _symbols(d) if isinstance(d, str) else ():
                new = _solution(parse(d), s, parse(e))
                if new is None or s not in self.base or not isinstance(new, Size) or s in new.symbols:
                    continue
                if not set(new.symbols) <= set(self.base):
                    continue
                bound = {s: new}
                other = written(new)
                if other in self.base and self.order.index(str(other)) > self.order.index(s):
                    bound = {str(other): symbol(s)}
                if self.goes({k: value(v, self.base) for k, v in bound.items()}):
                    return dict(bound)
        return None

    def _several(self, constants: Sequence[int]) -> dict[str, Expression] | None:
        """Axes side by side that have to be those of a constant; then any two."""
        shapes = [self.evaluation.dims[i] for i in self.node.input_names]
        for dims in shapes:
            runs = [dims[a:b] for a, b in itertools.combinations(range(len(dims) + 1), 2) if b - a > 1]
            for run in sorted(runs, key=len, reverse=True):
                if not all(isinstance(d, str) and d in self.base for d in run):
                    continue
                for fixed in shapes:
                    for at in range(len(fixed) - len(run) + 1):
                        numbers = fixed[at : at + len(run)]
                        if not all(isinstance(n, int) for n in numbers):
                            continue
                        tried = {str(s): int(n) for s, n in zip(run, numbers, strict=True)}
                        if self.goes(tried):
                            return self._released(tried)
        for s, t in itertools.combinations(self.symbols[:4], 2):
            for a, b in itertools.product(constants[:6], repeat=2):
                for p, q in itertools.product([a, *self._solved(s, a)], [b, *self._solved(t, b)]):
                    if self.goes({s: p, t: q}):
                        return self._released({s: p, t: q})
        return None

    def _released(self, bound: dict[str, int]) -> dict[str, Expression]:
        """Without those that need not be bound."""
        for s in list(bound):
            rest = {k: v for k, v in bound.items() if k != s}
            if rest and self.goes(rest):
                bound = rest
        return dict[str, Expression](bound)

    # ---- what is said ---------------------------------------------------------------------------------

    def _say(self, bound: Mapping[str, Expression]) -> None:
        for s, new in bound.items():
            owner = next(
                (i for i in self.node.input_names if i in self.graph.producers and new in self.evaluation.dims[i]), ""
            )
            why = f"{owner} of node {self.node.name}" if owner else f"node {self.node.name}"
            for v in self.graph.inputs.values():
                for k, d in enumerate(v.shape or ()):
                    if isinstance(d, str) and s in _symbols(d):
                        self.findings.sentences.append(f"{v.name}[{k}] is {_put(d, bound)} ({why} asks for it)")

    def failure(self) -> AidgeJaxError:
        """What to tell the user: no number that is not shown with its name."""
        where = self.evaluation._where(self.node, self.base_point.tensors)
        names = [s for s in self.order if s in self.symbols]
        texts = []
        for numbers in SHOWN:
            shown = {s: numbers[k % len(numbers)] for k, s in enumerate(names)}
            point = Point(self.evaluation, {**self.base, **shown}, afresh=names)
            try:
                point.run(self.k)
                texts.append("")
            except AidgeJaxError as e:
                texts.append(str(e))
        kind = type(self.error)
        if texts[0] == texts[1] and texts[0]:
            return kind(texts[0])
        given = ", ".join(f"{s} = {SHOWN[0][k % 10]}" for k, s in enumerate(names))
        what = texts[0].removeprefix(f"{where}: ")
        example = f"; with {given}: {what}" if what else ""
        open_ = {v.name: v.shape for v in self.graph.inputs.values() if set(_symbols_of(v.shape)) & set(names)}
        cure = ", ".join(f"{k!r}: {v}" for k, v in list(open_.items())[:2])
        return kind(
            f"{where}: no sizes {', '.join(names)} were found for which it works{example}. Say them: shapes={{{cure}}} "
            f"with numbers or names that fit"
        )


def _symbols(d: int | str) -> tuple[str, ...]:
    size = parse(d)
    return size.symbols if isinstance(size, Size) else ()


def _symbols_of(dims: Dims | Any) -> list[str]:
    return [s for d in dims or () for s in _symbols(d)]


def _solution(d: Expression, s: str, e: Expression) -> Expression | None:
    """What s has to be, for d == e, where d is a multiple of s and a number; None where that is no whole number."""
    if not isinstance(d, Size):
        return None
    slopes = [c for f, c in d.terms if f == (s,)]
    rest = [c for f, c in d.terms if not f]
    if len(slopes) != 1 or len(d.terms) != 1 + len(rest):
        return None
    wanted = e - sum(rest) if isinstance(e, Size) else e - sum(rest)
    solved = divided(wanted, slopes[0])
    return solved if solved * slopes[0] == wanted else None
