"""What running a function node by node has cost: tvm.runtime.profiling.Report, as it was before TVM lost it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from ....graph import Graph, Node
from ....interpreter.evaluate import Evaluator
from ....ops import lookup

COLUMNS = ("Name", "Duration (us)", "Percent", "Device", "Count", "Argument Shapes")
DURATION, PERCENT, COUNT = "Duration (us)", "Percent", "Count"
UNITS = {DURATION: "microseconds", PERCENT: "percent", COUNT: "count"}  # of a number in JSON, by column


class Report:
    """calls: one row per node; device_metrics: {device: totals}; configuration: what was measured, and beside it."""

    def __init__(
        self,
        calls: Iterable[Mapping[str, Any]],
        device_metrics: Mapping[str, Mapping[str, Any]],
        configuration: Mapping[str, Any],
    ) -> None:
        self.calls = [dict(c) for c in calls]
        self.device_metrics = {d: dict(m) for d, m in device_metrics.items()}
        self.configuration = dict(configuration)

    def table(self, sort: bool = True, aggregate: bool = True, col_sums: bool = True) -> str:
        """The rows as text.  sort: the longest first; aggregate: rows alike in name, shapes and device are one row;
        col_sums: below them their sum and the totals of the devices."""
        rows = _aggregated(self.calls) if aggregate else [dict(c) for c in self.calls]
        if sort:
            rows.sort(key=lambda r: -r.get(DURATION, 0.0))
        columns = _columns(rows)
        if col_sums:
            sums = {"Name": "Sum"} | {c: sum(r.get(c, 0) for r in rows) for c in (DURATION, PERCENT, COUNT)}
            rows = [
                *rows,
                {"Name": "----------"},
                sums,
                *({"Name": "Total", "Device": d} | m for d, m in self.device_metrics.items()),
            ]
        cells = [columns, *([_shown(c, r.get(c)) for c in columns] for r in rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
        lines = [
            "  ".join(
                text.ljust(w) if k == 0 else text.rjust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        settings = [f"{k}: {_shown(k, v)}" for k, v in self.configuration.items()]
        return "\n".join([*lines, "", "Configuration", "-------------", *settings])

    def csv(self) -> str:
        """The calls, columns in alphabetical order; text is quoted, a missing cell is empty."""
        columns = sorted({c for r in self.calls for c in r})
        lines = [",".join(columns)]
        lines += [",".join(_cell(r.get(c)) for c in columns) for r in self.calls]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        return json.dumps(
            {
                "calls": [_packed(c) for c in self.calls],
                "device_metrics": {d: _packed(m) for d, m in self.device_metrics.items()},
                "configuration": _packed(self.configuration),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Report:
        read = json.loads(text)
        return cls(
            [_unpacked(c) for c in read["calls"]],
            {d: _unpacked(m) for d, m in read["device_metrics"].items()},
            _unpacked(read["configuration"]),
        )

    def __str__(self) -> str:
        return self.table()


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    there = {c for r in rows for c in r}
    return [c for c in COLUMNS if c in there] + sorted(there - {*COLUMNS})


def _aggregated(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple, dict[str, Any]] = {}
    for c in calls:
        same = (c.get("Hash", c.get("Name")), c.get("Argument Shapes"), c.get("Device"))
        if same not in found:
            found[same] = dict(c)
        else:
            for column in (DURATION, PERCENT, COUNT):
                found[same][column] += c[column]
    return list(found.values())


def _shown(column: str, value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return repr(value)
    quoted = str(value).replace('"', '""')
    return f'"{quoted}"'


def _packed(row: Mapping[str, Any]) -> dict[str, Any]:
    def one(column: str, v: Any) -> dict[str, Any]:
        if isinstance(v, int | float):
            unit = UNITS.get(column) or (
                "microseconds" if "(us)" in column else "count" if isinstance(v, int) else "ratio"
            )
            return {unit: v}
        return {"string": str(v)}

    return {k: one(k, v) for k, v in row.items()}


def _unpacked(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: next(iter(v.values())) for k, v in row.items()}


# ---- measuring ----------------------------------------------------------------------------------------


def profile(
    evaluator: Evaluator,
    arrays: Mapping[str, Any],
    device: Any,
    beside: Mapping[str, Callable[[], Any]],
    *,
    key: Any = None,
    passes: int = 5,
) -> Report:
    """Execute a graph node by node, each compiled by itself, and report what every node took.

    arrays: all inputs and producers by name.  beside: other programs to time, by what to call them in the
    configuration.  Compilation is not counted.  A pass walks through all nodes; times are means over passes.
    """
    nodes = _compiled_nodes(evaluator, arrays, key)
    times = np.zeros((passes, len(nodes)))
    walls = np.zeros(passes)
    for p in range(passes):
        began = time.perf_counter()
        for k, (_, run, args, _) in enumerate(nodes):
            start = time.perf_counter()
            jax.block_until_ready(run(*args))
            times[p, k] = time.perf_counter() - start
        walls[p] = time.perf_counter() - began
    spent, wall = times.mean(axis=0) * 1e6, float(walls.mean() * 1e6)
    name = f"{ {'gpu': 'cuda'}.get(device.platform, device.platform) }{device.id}"
    calls = [
        {
            "Name": node.name,
            DURATION: float(t),
            PERCENT: float(100 * t / wall),
            "Device": name,
            COUNT: 1,
            "Argument Shapes": shapes,
            "Operator": node.op,
        }
        for (node, _, _, shapes), t in zip(nodes, spent, strict=True)
    ]
    configuration = {"Executor": "node by node", "Passes": passes, "Node by node (us)": wall}
    configuration |= {what: _timed(f) for what, f in beside.items()}
    return Report(calls, {name: {DURATION: wall, PERCENT: 100.0, COUNT: 1}}, configuration)


def _timed(f: Callable[[], Any], repeats: int = 5) -> float:
    """The median time of a call in microseconds; the first, which compiles, is not counted."""
    jax.block_until_ready(f())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e6)


def _compiled_nodes(
    evaluator: Evaluator, arrays: Mapping[str, Any], key: Any
) -> list[tuple[Node, Callable, list, str]]:
    """(node, its compiled program, the arrays to call it with, their shapes), in order; executing each on the way.

    Nodes that do the same with tensors of the same shapes share a program.
    """
    known: dict[str, Any] = dict(arrays)
    programs: dict[tuple, Callable] = {}
    found = []
    for node in evaluator.graph.nodes:
        alone = Graph(evaluator.graph.name)
        alone.nodes, alone.values = [node], {o: evaluator.graph.value(o) for o in node.output_names}
        for i in dict.fromkeys(node.input_names):
            if i in evaluator.metadata or i in evaluator.graph.constants:
                alone.constant(i, np.asarray(known[i]))
            else:
                alone.inputs[i] = evaluator.graph.value(i)
        args = [known[i] for i in alone.inputs]
        same = (
            node.op,
            repr(node.attrs),
            tuple(o is None for o in node.outputs),
            tuple(
                list(alone.inputs).index(i)
                if isinstance(i, str) and i in alone.inputs
                else alone.constants[i].tobytes()
                if isinstance(i, str)
                else repr(i)
                for i in node.inputs
            ),
            tuple((a.shape, a.dtype, i in evaluator.channels_last) for i, a in zip(alone.inputs, args, strict=True)),
        )
        run = programs.get(same) if not lookup(node.op).random else None
        if run is None:
            run = programs[same] = _program(Evaluator(alone, "NHWC", given=evaluator.channels_last), alone, node, key)
        known |= dict(zip(node.output_names, run(*args), strict=True))
        shapes = ", ".join(_typed(known[i], i in evaluator.channels_last) for i in dict.fromkeys(node.input_names))
        found.append((node, run, args, shapes))
    return found


def _typed(array: Any, last: bool) -> str:
    """dtype and shape, as the graph says them: channels first."""
    n, *rest = array.shape or (None,)
    return f"{array.dtype}{[n, rest[-1], *rest[:-1]] if last else list(array.shape)}"


def _program(evaluator: Evaluator, graph: Graph, node: Node, key: Any) -> Callable:
    names = list(graph.inputs)

    def run(*arrays: Any) -> list[Any]:
        tensors = evaluator(dict(zip(names, arrays, strict=True)) | graph.constants, key, node.output_names)
        return [tensors.in_storage_layout(o) for o in node.output_names]

    return jax.jit(run)
