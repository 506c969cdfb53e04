"""A model as it is read for training: with a batch of any size, and loops that run as often as the data says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import onnxio
from ..errors import GraphError
from ..graph import Graph
from ..interpreter.shape_inference import SIZES
from ..ops.control_flow import is_control_flow
from ..passes.control_flow import is_dynamic
from ..training.data import Dataset
from ..training.fit import fixed_batch

MOST_ROWS = 32  # of a batch whose loop over the rows is written out


def read_for_training(
    model: Any, *, batch: str | None = None, parameters: Any = None, constants: Any = None, **ends: Any
) -> tuple[Graph, tuple[str, ...]]:
    """(the graph, what to say): a fixed batch of 1 is made symbolic, unless `batch` names it.

    ends: inputs=, outputs=, shapes=, dtype= of `read`.
    """
    if isinstance(model, Graph):
        return model, ()
    graph = onnxio.read(model, batch=batch, parameters=parameters, constants=constants, **ends)
    first = [v.shape[0] for v in graph.inputs.values() if v.shape]
    if batch is not None or not first or any(d != 1 for d in first):
        return graph, _sizes(graph)
    name = next(
        n for n in ("N", "batch", "rows") if all(n not in map(str, v.shape or ()) for v in graph.inputs.values())
    )
    try:
        freed = onnxio.read(model, batch=name, parameters=parameters, constants=constants, **ends)
    except GraphError as e:
        why = str(e).partition(": ")[2] or str(e)
        return graph, (
            f"batch: one row at a time ({why}); exported with a symbolic batch it would be faster",
            *_sizes(graph),
        )
    return freed, (f"batch: the file has a fixed batch of 1, read as {name!r}", *_sizes(freed))


def _sizes(graph: Graph) -> tuple[str, ...]:
    return tuple(f"size: {found}" for found in graph.metadata.get(SIZES, ()))


def read_for_data(
    read: Callable[..., tuple[Graph, tuple[str, ...]]], graph: Graph, rows: Dataset, batch_size: int
) -> tuple[Graph, tuple[str, ...]]:
    """(the graph, what to say), read again where sizes of the data, or the number of rows, say how often loops run.

    read: read(shapes=...) -> (graph, what to say).
    """
    if not is_dynamic(graph):
        return graph, ()
    notes: tuple[str, ...] = ()
    for first in (None, min(batch_size, MOST_ROWS, len(rows))):
        if not _loops(graph):
            break
        shapes = {
            k: (v.shape[0] if first is None else first, *rows.columns[k].shape[1:])
            for k, v in graph.inputs.items()
            if v.shape
        }
        if any(s != graph.inputs[k].shape for k, s in shapes.items()):
            sized, more = read(shapes=shapes)
            if first is None or not _loops(sized):
                graph, notes = sized, (*more, _in_words(shapes, first))
    return graph, notes


def _loops(graph: Graph) -> bool:
    """Whether nodes are left of which the data says how often they run."""
    return any(is_control_flow(n) and n.op != "If" for n in graph.nodes)


def _in_words(shapes: Mapping[str, tuple], rows: int | None) -> str:
    found = ", ".join(f"{k} is [{', '.join(map(str, s))}]" for k, s in shapes.items())
    if rows is not None:
        return f"shapes: {found}: its loops run once per row, so that batches have {rows} rows"
    return f"shapes: {found} as in the data, which says how often its loops run"


def batches_of(graph: Graph, batch_size: int) -> tuple[int, int, tuple[str, ...]]:
    """(batch size, accumulate, what to say): the rows that the graph takes, where that is a number.

    Of a graph that takes one row at a time the gradients of as many rows are gathered for an update.
    """
    fixed = fixed_batch(graph)
    if fixed in (None, batch_size):
        return batch_size, 1, ()
    if fixed == 1:
        return 1, batch_size, (f"batches: the gradients of {batch_size} rows, taken one by one, make an update",)
    return fixed, 1, (f"batch size: {fixed}, which the model fixes",)


def file_for(plain: Graph, graph: Graph) -> Graph | None:
    """What to write in place of a graph that was read with sizes of the data: the same file without them."""
    if plain is graph or set(plain.params) != set(graph.params) or set(plain.buffers) != set(graph.buffers):
        return None
    copy = plain.copy()
    copy.metadata |= {k: v for k, v in graph.metadata.items() if isinstance(v, str)}
    return copy
