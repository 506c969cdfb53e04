"""What the passes that look at data accept: a Dataset, arrays by name, or batches one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np

from ..arguments import checked_call
from ..errors import DataError
from ..graph import Graph
from ..training.columns import columns_for, load_columns, rows_for
from ..training.data import Dataset

Batches = str | PathLike[str] | Dataset | Mapping[str, Any] | Iterable[Mapping[str, Any]]
ROWS = 64
FINITE = ("FakeQuantize", "QuantizeLinear", "Clip", "Conv", "Gemm", "MatMul")  # take no infinity; masks may have it


@checked_call
def each_batch(graph: Graph, data: Batches, rows: int = ROWS) -> Iterator[dict[str, np.ndarray]]:
    """{input: array} of at most `rows` rows each, with the columns that the graph takes.

    data: a Dataset, a path that `load_columns` reads, or {input: array} (cut into batches), or batches, taken as they
        come.  A graph whose inputs have a fixed number of rows gets as many; rows that do not fill a last batch are
        left out.
    Raises DataError where an input is missing or holds anything but numbers, and where there is no row.
    """
    if isinstance(data, str | PathLike):
        data = rows_for(graph, data)
    if not isinstance(data, Dataset | Mapping | Iterable) or isinstance(data, str | np.ndarray):
        raise DataError(
            f"data for graph {graph.name!r}: got {type(data).__name__}, expected a Dataset, "
            f"{{{next(iter(graph.inputs), 'input')!r}: array}}, or batches of that form"
        )
    fixed = fixed_rows(graph)
    rows = rows if fixed is None else fixed
    batches: Iterable[Mapping[str, Any]]
    if isinstance(data, Dataset | Mapping):
        columns = _taken(graph, data.columns if isinstance(data, Dataset) else data)
        count = len(next(iter(columns.values())))
        if fixed is not None and 0 < count < fixed:
            raise DataError(f"graph {graph.name!r} takes {fixed} rows at a time, the data have {count}")
        starts = range(0, count if fixed is None else count - fixed + 1, rows)
        batches = ({k: v[at : at + rows] for k, v in columns.items()} for at in starts)
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


def labelled(graph: Graph, data: Any, target: str) -> Dataset:
    """Rows with their labels: a Dataset, or what `load_columns` takes.  Raises DataError where a column is missing."""
    found = data if isinstance(data, Dataset) else columns_for(graph, load_columns(data)[0], target)
    missing = [k for k in (*graph.inputs, target) if k not in found.columns]
    if missing:
        raise DataError(
            f"graph {graph.name!r}: the data lacks {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, found.columns))}"
        )
    return found


def fixed_rows(graph: Graph) -> int | None:
    """The number of rows that the graph's inputs are declared with; None where any number fits."""
    sizes = {v.shape[0] for v in graph.inputs.values() if v.shape}
    (size,) = sizes if len(sizes) == 1 else (None,)
    return size if isinstance(size, int) else None


def _taken(graph: Graph, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not isinstance(columns, Mapping):
        raise DataError(
            f"a batch for graph {graph.name!r} is {type(columns).__name__}, expected "
            f"{{{next(iter(graph.inputs), 'input')!r}: array}}"
        )
    missing = [k for k in graph.inputs if k not in columns]
    if missing:
        raise DataError(
            f"the data lacks {', '.join(map(repr, missing))}, which graph {graph.name!r} takes; it has "
            f"{', '.join(map(repr, columns)) or 'nothing'}"
        )
    return {k: _readable(graph, k, columns[k]) for k in graph.inputs}


def _readable(graph: Graph, name: str, given: Any) -> np.ndarray:
    """A column as an array of numbers, none of which is nan."""
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind in "OSUM" or not array.ndim:
        raise DataError(
            f"column {name!r} for graph {graph.name!r} holds {str(given)[:40]!r}, expected an array of numbers with a "
            f"row for each sample"
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        row = int(np.argwhere(np.isnan(array))[0][0])
        raise DataError(f"column {name!r} for graph {graph.name!r}: row {row} holds nan")
    if array.dtype.kind == "f" and np.isinf(array).any() and any(n.op in FINITE for n in graph.readers().get(name, ())):
        row = int(np.argwhere(np.isinf(array))[0][0])
        raise DataError(f"column {name!r} for graph {graph.name!r}: row {row} holds inf")
    wanted = graph.inputs[name].dtype
    return array.astype(np.float32) if array.dtype == np.float64 and wanted == "float32" else array
