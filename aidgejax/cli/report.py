"""report.html of a run: the history as a picture, what was set, what is trained, which classes are confused."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..drawing.html import table
from ..graph import Graph
from ..tools.page import Section, graph_page
from ..tools.pictures import plot_confusion, plot_history
from ..tools.train import predicted
from ..training.class_names import class_names
from ..training.data import Dataset

FILE = "report.html"
CLASSES = 100  # of a confusion matrix that can be read
NUMBERS = 1 << 24  # scores that are computed for it at most


def report(
    model: Graph, settings: Mapping[str, Any], columns: list[str], lines: list[str], prediction: str, test: Dataset
) -> str:
    """The page as text.

    model: with its last weights.  lines: those of history.csv, below `columns`.  prediction: the output that scores
    the test rows.
    """
    rows = csv.DictReader([",".join(columns), *lines])
    history = [{k: float(v) for k, v in r.items() if v} for r in rows]
    sections = [Section("History", str(plot_history(history, monitor=_monitor(columns))))] if history else []
    confusion = confused(model, prediction, test)
    sections += [confusion] if confusion else []
    shown = [[k, v if isinstance(v, str) else json.dumps(v)] for k, v in settings.items() if v not in (None, [])]
    sections.append(Section("Settings", table([["setting", "value"], *shown], left=2)))
    return graph_page(model, sections=sections, title=f"{model.name}: a run")


def confused(model: Graph, prediction: str, test: Dataset, batch_size: int = 256) -> Section | None:
    """The confusion matrix of the test rows, where the targets are classes and the model's output scores them."""
    targets = test.columns.get("target")
    if targets is None or targets.dtype.kind not in "iu" or targets.ndim != 1 or prediction not in model.outputs:
        return None
    classes = (model.value(prediction).shape or (None,))[-1]
    if not isinstance(classes, int) or not 1 < classes <= CLASSES or classes * len(test) > NUMBERS:
        return None
    rows = Dataset({k: test.columns[k] for k in model.inputs})
    scores = predicted(model, rows, batch_size)[prediction]
    if scores.ndim != 2 or not np.isfinite(scores).all():
        return None
    names = class_names(model)
    picture = plot_confusion(scores, targets, names=names if len(names) == classes else None)
    return Section("Confusion of the test rows", str(picture))


def _monitor(columns: list[str]) -> str | None:
    tests = [c for c in columns if c.startswith("test_")]
    return tests[-1] if tests else None
