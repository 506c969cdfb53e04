"""Columns of a data file under the names of a model's inputs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ..errors import DataError
from ..graph import Graph
from ..training.data import Dataset, digits, npz_columns

Columns = dict[str, np.ndarray]


def load(path: str | None, graph: Graph) -> tuple[Dataset, Dataset]:
    """(training, test) data, whose columns are named as the graph's inputs, and "target".

    path: an .npz file, whose test_... arrays are the test set; without them a fifth of the rows is split off.
        None: the 1797 digits.
    """
    columns = renamed(npz_columns(path) if path else digits().columns, graph, path or "the data set of digits")
    held = {k.removeprefix("test_"): v for k, v in columns.items() if k.startswith("test_")}
    if held:
        training = Dataset({k: v for k, v in columns.items() if not k.startswith("test_")})
        training.source = path
        return training, Dataset(held)
    whole = Dataset(columns)
    whole.source = path
    return whole.split(0.2, seed=1997)


def renamed(columns: Columns, graph: Graph, source: str) -> Columns:
    """The columns under the names of the graph's inputs and "target", floats in the inputs' dtypes.

    A single input may be called x, images, data or input; the target y, label or labels.
    """
    names = list(graph.inputs)
    found = dict(columns)
    if len(names) == 1 and names[0] not in found:
        other = [k for k in ("x", "images", "data", "input") if k in found]
        for k in other[:1]:
            found[names[0]] = found.pop(k)
            if f"test_{k}" in found:
                found[f"test_{names[0]}"] = found.pop(f"test_{k}")
    for k in ("y", "label", "labels"):
        if "target" not in found and k in found:
            found["target"] = found.pop(k)
            if f"test_{k}" in found:
                found["test_target"] = found.pop(f"test_{k}")
    missing = [n for n in (*names, "target") if n not in found]
    if missing:
        raise DataError(
            f"{source} lacks {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, columns))}, the model takes "
            f"{', '.join(map(str, graph.inputs.values()))}"
        )
    for n in names:
        want = jnp.dtype(graph.inputs[n].dtype)
        for k in (n, f"test_{n}"):
            if k in found and found[k].dtype != want and found[k].dtype.kind in "fiub" and want.kind == "f":
                found[k] = found[k].astype(want)
    return found
