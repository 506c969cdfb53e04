"""Is what was trained what is deployed?  Counted, layer by layer, in every runtime that there is.

report = verify(q, integers, batches)
report.exact, report.first_bad
print(report)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..arguments import checked_call
from ..errors import GraphError
from ..graph import Graph
from ..training.data import Dataset
from .batches import Batches, each_batch
from .deploy import OnGrid
from .layerwise import apart
from .notes import restored
from .proof import unproved
from .reading import grids_of
from .runtimes import RUNTIMES, expanded, instructions, runner, saturates

GRADES = ("proved", "counted")
MOST_STEPS, MOST_SHARE = 1.0, 1e-5  # what the grade "counted" allows
FLOAT = 1e-5  # of the largest value: what an output in floating point, behind the last grid, may be rounded apart


@dataclass(frozen=True)
class Row:
    """One tensor in one runtime: how many values were compared, how many differ, and by how many steps at most.

    An output in floating point (a Softmax behind the last grid) differs where it is more than 1e-5 of its largest away.
    """

    runtime: str
    tensor: str
    node: str
    values: int
    differing: int
    largest: float


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    rows: per runtime and tensor, in the order of the graph, each runtime from the network's inputs on.
    reasons: why the equality is not proved (proof.py).
    missing: runtimes that are not installed here.  instructions: the processor's, for products of 8-bit integers.
    notes: more lines, such as the memory that a program takes.
    alone: where the equality is counted and `rows` differ: the same with every layer on the trained graph's own inputs,
    so that a difference is counted where it arises and not again in each layer behind it.
    """

    rows: tuple[Row, ...]
    reasons: tuple[str, ...]
    missing: tuple[str, ...]
    instructions: str
    notes: tuple[str, ...] = ()
    alone: tuple[Row, ...] = ()

    @property
    def values(self) -> int:
        """How many values of outputs were compared in each runtime."""
        last = self.rows[-1].runtime if self.rows else ""
        return sum(r.values for r in self.rows if r.runtime == last)

    @property
    def differing(self) -> int:
        return sum(r.differing for r in self.rows)

    @property
    def largest(self) -> float:
        return max((r.largest for r in self.rows), default=0.0)

    @property
    def exact(self) -> bool:
        """Not one value differs anywhere."""
        return self.differing == 0

    @property
    def grade(self) -> str:
        """'proved': equal on any data, by steps and bounds of sums.  'counted': as equal as the data show."""
        return "counted" if self.reasons else "proved"

    @property
    def first_bad(self) -> Row | None:
        """The first row with a difference, in the order of the graph: on equal inputs where those were compared, and
        there one that alone exceeds what is allowed, if there is one."""
        differing = [r for r in (self.alone or self.rows) if r.differing]
        return next((r for r in differing if r.largest > MOST_STEPS), next(iter(differing), None))

    @property
    def passes(self) -> bool:
        """Nothing differs; or, where the equality is counted, each layer differs from its own inputs on in few values,
        by a step."""
        counted = self.alone or self.rows
        bad, total = sum(r.differing for r in counted), sum(r.values for r in counted)
        few = bad <= MOST_SHARE * total and max((r.largest for r in counted), default=0.0) <= MOST_STEPS
        return self.exact or (self.grade == "counted" and few)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows, alone = ([asdict(r) for r in held] for held in (self.rows, self.alone))
        return {"grade": self.grade, "exact": self.exact, "reasons": list(self.reasons), "missing": list(self.missing),
                "instructions": self.instructions, "rows": rows, "alone": alone}  # fmt: skip

    def __str__(self) -> str:
        names = list(dict.fromkeys(r.runtime for r in self.rows))
        wide = max((len(r.tensor) for r in self.rows), default=6)
        lines = [f"{'tensor':{wide}}  {'values':>9}  " + "  ".join(f"{n:>15}" for n in names)]
        for tensor in dict.fromkeys(r.tensor for r in self.rows):
            cells = {r.runtime: r for r in self.rows if r.tensor == tensor}
            shown = [
                f"{c.differing} ({c.largest:g})" if (c := cells.get(n)) and c.differing else "0" if n in cells else "-"
                for n in names
            ]
            lines.append(
                f"{tensor:{wide}}  {next(iter(cells.values())).values:>9}  " + "  ".join(f"{s:>15}" for s in shown)
            )
        lines.append(f"values that differ: {self.differing}; at most {self.largest:g} steps; equality {self.grade}")
        if self.alone:
            bad, total = sum(r.differing for r in self.alone), sum(r.values for r in self.alone)
            most = max(r.largest for r in self.alone)
            lines.append(
                f"each layer on equal inputs: {bad} of {total} values differ ({bad / total:.1e}), at most "
                f"{most:g} steps"
            )
        lines += [f"  not proved: {r}" for r in self.reasons[:5]]
        if len(self.reasons) > 5:
            lines.append(f"  and {len(self.reasons) - 5} more")
        lines.append(f"processor: {self.instructions}")
        if saturates(self.instructions):
            lines.append("without VNNI uint8 x int8 may overflow in onnxruntime: nothing is claimed of it here")
        lines += self.notes
        lines += [f"{m}: not installed, not checked" for m in self.missing]
        return "\n".join(lines)


@checked_call
def verify(
    graph: Graph,
    integers: Graph,
    data: Batches,
    runtimes: Iterable[str] = RUNTIMES,
    *,
    form: Graph | None = None,
    reasons: Iterable[str] | None = None,
) -> Report:
    """Compare a quantized graph (JAX, as it was trained) with the deployed one, in levels, tensor by tensor.

    graph: the converted graph, or the deployed one itself (then NumPy's integers are what is compared with).
    runtimes: of "numpy", "jax", "onnxruntime" (asked twice, without and with all optimizations).
    form: another arrangement of `integers` (forms.py), which is then what runs; reasons: why that is not proved.
    Raises GraphError where the two have no tensor in common.
    """
    graph = restored(graph)
    grids = {t: g for t, g in grids_of(integers).items() if g.integers not in integers.producers}
    for o in (o for n in integers.nodes if n.op == "QLinearConv" for o in n.output_names):
        grids.setdefault(o, OnGrid(o, np.ones((), np.float32), np.zeros((), np.int32), 0, 255))
    common = [t for n in integers.nodes for t in n.output_names if t in grids and graph.has(t)]
    if not common:
        if not grids:
            raise GraphError(f"graph {integers.name!r} is not deployed yet: to_integer makes the graph to compare")
        raise GraphError(f"graphs {graph.name!r} and {integers.name!r} have no quantized tensor in common")
    there, missing = expanded(runtimes)
    runs = integers if form is None else form
    held = {t: grids[t].integers if runs.has(grids[t].integers) else t for t in common}
    common = [t for t in common if runs.has(held[t])]
    float_outputs = [o for o in integers.outputs if o not in grids and runs.has(o)]
    fake = any(n.op == "FakeQuantize" for n in graph.nodes)
    written = {o: n.name for n in integers.nodes for o in n.output_names}
    compared = _Comparison(runs, [grids[t] for t in common], common, held, float_outputs, written)
    trained = runner(graph, [*common, *float_outputs], "jax" if fake else "numpy")
    rows = compared.rows(trained, each_batch(integers, data), there)
    why = tuple(unproved(integers) if reasons is None else reasons)
    alone: tuple[Row, ...] = ()
    differ = list(dict.fromkeys(r.runtime for r in rows if r.differing))
    if why and differ and (isinstance(data, Dataset | Mapping) or not isinstance(data, Iterator)):
        alone = compared.rows(trained, each_batch(integers, data), differ, alone=True)
    return Report(rows, why, tuple(missing), instructions(), alone=alone)


@dataclass(frozen=True)
class _Comparison:
    """What runs, the tensors that are compared with their grids, and where their levels are held in it."""

    runs: Graph
    grids: list[OnGrid]
    common: list[str]
    held: dict[str, str]
    float_outputs: list[str]
    written: dict[str, str]

    def rows(
        self,
        trained: Callable[..., dict[str, np.ndarray]],
        batches: Iterable[Any],
        there: list[str],
        *,
        alone: bool = False,
    ) -> tuple[Row, ...]:
        """alone: each layer is given the trained graph's levels."""
        watched = list(dict.fromkeys(self.held[t] for t in self.common))
        runs, computed = apart(self.runs, watched) if alone else (self.runs, {})
        names = [computed.get(w, w) for w in watched]
        asked = {r: runner(runs, [*names, *self.float_outputs], r) for r in there}
        counts: dict[tuple[str, str], list[float]] = {}
        for batch in batches:
            want = trained(batch)
            levels = {
                t: np.rint(want[t].astype(np.float64) / g.step.astype(np.float64)) + g.zero
                for t, g in zip(self.common, self.grids, strict=True)
            }
            if alone:
                batch = {**batch, **self._given(want, levels, computed)}
            for r, call in asked.items():
                got = call(batch)
                for t, g in zip(self.common, self.grids, strict=True):
                    found = got[computed.get(self.held[t], self.held[t])]
                    on_grid = found.astype(np.float64) - self._offset(t, g, found.dtype)
                    if self.held[t] == t:
                        on_grid = np.rint(on_grid / g.step.astype(np.float64)) + g.zero
                    _count(counts, (r, t), levels[t], on_grid)
                for t in self.float_outputs:
                    scale = max(float(np.abs(want[t]).max(initial=0)), 1e-30)
                    _count(counts, (r, t), want[t] / scale, got[t] / scale, FLOAT)
        return tuple(
            Row(r, t, self.written[t], int(n), int(bad), most)
            for r in there
            for t in (*self.common, *self.float_outputs)
            for n, bad, most in [counts[r, t]]
        )

    def _offset(self, tensor: str, grid: OnGrid, kind: Any) -> int:
        """128 where the same levels lie in an unsigned container."""
        return 128 if kind == np.uint8 and grid.low < 0 and self.held[tensor] != tensor else 0

    def _given(self, want: dict[str, Any], levels: dict[str, Any], computed: dict[str, str]) -> dict[str, np.ndarray]:
        found = {}
        for t, g in zip(self.common, self.grids, strict=True):
            if self.held[t] in computed:
                kind = np.dtype(self.runs.value(self.held[t]).dtype or "float32")
                found[self.held[t]] = (want[t] if self.held[t] == t else levels[t] + self._offset(t, g, kind)).astype(
                    kind
                )
        return found


def _count(
    counts: dict[tuple[str, str], list[float]],
    key: tuple[str, str],
    want: np.ndarray,
    got: np.ndarray,
    allowed: float = 0.0,
) -> None:
    held = counts.setdefault(key, [0, 0, 0.0])
    if want.shape != got.shape:
        raise GraphError(f"{key[1]!r} has shape {list(got.shape)} in {key[0]}, {list(want.shape)} in training")
    away = np.abs(want - got)
    held[0] += away.size
    held[1] += int(np.count_nonzero(~(away <= allowed)))
    away = np.where(away <= allowed, 0, away)
    held[2] = max(held[2], float(np.nan_to_num(away, nan=np.inf).max(initial=0)))
