"""Pictures of training and of arrays, as SVG that notebooks show: history, confusion, weights, ranges, sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arguments import takes_graph
from ..drawing.charts import (
    Line,
    Mark,
    Picture,
    bar_chart,
    histogram_chart,
    line_chart,
    matrix_chart,
    range_chart,
    stacked,
)
from ..errors import DataError
from ..graph import Graph
from ..interpreter.shape_inference import infer_shapes
from ..training.fit import read_history
from ..training.metrics import confusion_matrix
from .compare import every_tensor

POINTS = 2000  # of a line; of a longer one every n-th is drawn, and each that is not finite
LOWER_IS_BETTER = ("loss", "error", "perplexity")


def plot_history(history: Sequence[Mapping[str, Any]], *, monitor: str | None = None) -> Picture:
    """Loss, metrics and, where the records have it, learning rate of the records of `fit`, one below the other.

    monitor: the column whose best value is marked, highest or, of a loss or an error, lowest; default: the last test
    column, or else the loss.  Steps at which a number was NaN or infinite are marked in red.  Raises DataError for no
    records.
    """
    if not history:
        raise DataError("plot_history needs the records of a training, got none")
    records = [dict(r) for r in history]
    names = list(dict.fromkeys(k for r in records for k in r))
    tests = [n for n in names if n.startswith("test_")]
    shown = [n for n in names if n == "loss" or f"test_{n}" in tests]
    monitor = monitor or (tests[-1] if tests else "loss")
    charts = []
    rate = ["learning_rate"] if "learning_rate" in names else []
    for name in dict.fromkeys([*shown, *(n.removeprefix("test_") for n in tests), *rate]):
        columns = [c for c in (name, f"test_{name}") if c in names]
        lines = [_line(records, c, "test" if c.startswith("test_") else "training") for c in columns]
        marks = [_best(records, c) for c in columns if c == monitor]
        label = name.replace("_", " ")
        charts.append(line_chart(lines, y=label, log=name == "loss", marks=[m for m in marks if m], x="step"))
    return stacked(charts)


def plot_confusion(predictions: Any, targets: Any, *, names: Sequence[str] | None = None) -> Picture:
    """How often each class was taken for which.  predictions: classes, or scores [rows, classes]; targets: classes."""
    targets = np.asarray(targets).reshape(-1)
    scores = np.asarray(predictions)
    seen = scores.shape[-1] if scores.ndim > 1 else 1 + int(max(scores.max(initial=0), targets.max(initial=0)))
    counts = np.asarray(confusion_matrix(scores, targets, seen if names is None else len(names)))
    right = np.trace(counts) / max(1, counts.sum())
    return matrix_chart(counts, names=names, title=f"accuracy {right:.3f}")


@takes_graph
def plot_weights(graph: Graph, *, largest: int = 24) -> Picture:
    """A histogram of every floating parameter of more than one axis; of more than `largest`, the biggest."""
    found = {k: a for k, a in graph.params.items() if a.ndim > 1 and a.dtype.kind == "f"}
    kept = sorted(found, key=lambda k: -found[k].size)[:largest]
    return histogram_chart({k: a for k, a in found.items() if k in kept})


@takes_graph
def plot_ranges(graph: Graph, batch: Mapping[str, Any]) -> Picture:
    """The smallest and the largest value of every floating tensor that a node writes, for one batch."""
    tensors = every_tensor(infer_shapes(graph), batch)
    ranges = {k: (float(a.min()), float(a.max())) for k, a in tensors.items() if a.dtype.kind == "f" and a.size}
    return range_chart(ranges, title=f"{graph.name}: ranges")


def plot_sweep(sweeps: Mapping[str, Sequence[Mapping[str, float]]], *, y: str = "accuracy") -> Picture:
    """Sweeps of several models over one field: the mean, and the spread of the draws as a band.

    sweeps: {model: [{field: value, "mean": ..., "low": ..., "high": ...}]}, as analog.sweep.sweep gives them, or a
    plain {model: [{field: value, "mean": ...}]}.
    """
    lines, field = [], ""
    for name, rows in sweeps.items():
        field = next(iter(rows[0]))
        low, high = ([r.get(k, r["mean"]) for r in rows] for k in ("low", "high"))
        lines.append(Line(name, [r[field] for r in rows], [r["mean"] for r in rows], (low, high)))
    values = sorted({float(v) for line in lines for v in line.x})
    whole = len(values) <= 12 and all(v.is_integer() for v in values)  # bits, tiles: there is nothing between them
    return line_chart(lines, x=field, y=y, ticks=values if whole else ())


def plot_sensitivity(scores: Mapping[str, float], *, title: str = "what quantization of a layer costs") -> Picture:
    """A bar for every layer."""
    return bar_chart(scores, title=title)


def _line(records: list[dict], column: str, name: str) -> Line:
    steps, values = read_history(records, column)
    every = max(1, len(steps) // POINTS)
    kept = [k for k, v in enumerate(values) if k % every == 0 or k == len(values) - 1 or not np.isfinite(v)]
    return Line(name, [steps[k] for k in kept], [values[k] for k in kept], thin=name == "training")


def _best(records: list[dict], column: str) -> Mark | None:
    steps, values = read_history(records, column)
    good = [(v, s) for s, v in zip(steps, values, strict=True) if np.isfinite(v)]
    if not good:
        return None
    lower = column.endswith(LOWER_IS_BETTER)
    value, step = min(good) if lower else max(good, key=lambda p: (p[0], -p[1]))
    return Mark(step, value, f"best {value:.4g}, step {step:.0f}")
