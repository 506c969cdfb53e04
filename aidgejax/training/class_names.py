"""Classes that have names: numbered in alphabetical order, kept in the model's metadata, found again in other data."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

import numpy as np

from ..errors import DataError
from ..graph import Graph

KEY = "aidgejax.classes"  # in a model's metadata: the names of its classes, in order


def numbered(parts: Iterable[dict[str, np.ndarray]], targets: Collection[str]) -> tuple[str, ...]:
    """The names of the classes, where columns of targets are strings; these become numbers, in place."""
    columns = [(p, k) for p in parts for k, a in p.items() if k in targets and a.dtype.kind in "USO"]
    if not columns or not all(isinstance(t, str | bytes) for p, k in columns for t in p[k].ravel().tolist()):
        return ()
    texts = [np.char.decode(p[k]) if p[k].dtype.kind == "S" else p[k].astype(str) for p, k in columns]
    names = np.unique(np.concatenate([t.ravel() for t in texts]))
    for (p, k), t in zip(columns, texts, strict=True):
        p[k] = np.searchsorted(names, t).astype(np.int64)
    return tuple(map(str, names))


def class_names(graph: Graph) -> tuple[str, ...]:
    """The names of the classes that a model was trained for, where its data gave any."""
    try:
        names = json.loads(graph.metadata.get(KEY, "[]"))
    except (TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def with_class_names(graph: Graph, names: tuple[str, ...]) -> Graph:
    """The model with the names of its classes, which its file keeps; those that it has stay where they hold these."""
    if not names or set(names) <= set(class_names(graph)):
        return graph
    copy = graph.copy()
    copy.metadata[KEY] = json.dumps(list(names))
    return copy


def classes_in_words(names: tuple[str, ...]) -> tuple[str, ...]:
    """What is printed of classes that have names."""
    shown = ", ".join(f"{k} {n}" for k, n in enumerate(names[:8])) + (", ..." if len(names) > 8 else "")
    return (f"classes: {shown}",) if names else ()


def in_order_of(graph: Graph, names: tuple[str, ...], labels: np.ndarray, source: str) -> np.ndarray:
    """Class indices of these names in the model's order.  Raises DataError for a class that it does not know."""
    known = class_names(graph)
    if not known or known == names:
        return labels
    if unknown := [n for n in names if n not in known]:
        listed = ", ".join(map(repr, known[:20]))
        raise DataError(f"{source} has the class {unknown[0]!r}; the model knows {listed}")
    return np.array([known.index(n) for n in names], np.int64)[labels]
