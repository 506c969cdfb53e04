"""What the passes that look at data accept: a Dataset, arrays by name, or batches one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import DataError
from ..graph import Graph
from ..training.data import Dataset

Batches = Dataset | Mapping[str, Any] | Iterable[Mapping[str, Any]]
ROWS = 64


def each_batch(graph: Graph, data: Batches, rows: int = ROWS) -> Iterator[dict[str, np.ndarray]]:
    """{input: array} of at most `rows` rows each, with the columns that the graph takes.

    data: a Dataset or {input: array} (cut into batches), or batches, taken as they come.
    Raises DataError where an input is missing, and where there is no row.
    """
    batches: Iterable[Mapping[str, Any]]
    if isinstance(data, Dataset | Mapping):
        columns = _taken(graph, data.columns if isinstance(data, Dataset) else data)
        count = len(next(iter(columns.values())))
        batches = ({k: v[at : at + rows] for k, v in columns.items()} for at in range(0, count, rows))
    else:
        batches = data
    empty = True
    for batch in batches:
        batch = _taken(graph, batch)
        if len(next(iter(batch.values()))):
            empty = False
            yield batch
    if empty:
        raise DataError(f"no data for graph {graph.name!r}: there is not one row")


def _taken(graph: Graph, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    missing = [k for k in graph.inputs if k not in columns]
    if missing:
        raise DataError(
            f"the data lacks {', '.join(map(repr, missing))}, which graph {graph.name!r} takes; it has "
            f"{', '.join(map(repr, columns)) or 'nothing'}"
        )
    return {k: np.asarray(columns[k]) for k in graph.inputs}
