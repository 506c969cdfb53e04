"""The rows that a command works on, under the names of a model's inputs."""

from __future__ import annotations

from ..errors import SettingError
from ..graph import Graph
from ..tools.train import held_out
from ..training.class_names import with_class_names
from ..training.columns import columns_for, load_columns
from ..training.data import Dataset, digits

SEED = 1997  # of the rows that are held out, the same for every --seed


def load(
    path: str | None, graph: Graph, layout: str = "NCHW", *, in_file: bool = False
) -> tuple[Graph, Dataset, Dataset]:
    """(the graph, training rows, test rows): columns named as the graph's inputs, and "target".

    The graph keeps the names of classes, where the data has any.

    path: what `load_columns` reads; where it brings no test rows, a fifth is held out, of every class.  None: the 1797
        digits; SettingError where the graph takes something else.  in_file: as `load_columns` takes it.
    """
    if path is None:
        training, test = digits().split(0.2, seed=SEED)
        _check_digits(graph, columns_for(graph, training[:1], layout=layout))
    else:
        training, given = load_columns(path, in_file=in_file)
        graph = with_class_names(graph, training.class_names)
        if given is None:
            return graph, *held_out(columns_for(graph, training, layout=layout), seed=SEED)
        test = given
    return graph, columns_for(graph, training, layout=layout), columns_for(graph, test, layout=layout)


def _check_digits(graph: Graph, row: Dataset) -> None:
    """Digits stand in where no data were given, and are only for graphs that take them."""
    for name, value in graph.inputs.items():
        given, wanted = row.columns[name].shape[1:], (value.shape or (1, *row.columns[name].shape[1:]))[1:]
        if len(given) != len(wanted) or any(isinstance(w, int) and w != g for g, w in zip(given, wanted, strict=True)):
            raise SettingError(
                f"give --data: without it the digits are taken, [1, 8, 8] each, and the model takes {value}"
            )
