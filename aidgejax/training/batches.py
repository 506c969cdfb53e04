"""Rows out of what other packages bring them in: loaders, data sets, iterables of batches or of single rows.

Known by what they can do, so that no package is imported: a Hugging Face data set has columns, tf.data goes to NumPy,
torch's and grain's are indexed or iterated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import DataError
from .data import Dataset

COLUMNS_OF_TWO = ("x", "target")


def is_batches(source: Any) -> bool:
    """Can rows be got out of it, one after another?"""
    return (
        isinstance(source, Iterable)
        or hasattr(source, "as_numpy_iterator")
        or (hasattr(source, "__getitem__") and hasattr(source, "__len__"))
    )


def all_rows(source: Any) -> Dataset:
    """All rows of a torch DataLoader or Dataset, of grain, tf.data, a Hugging Face data set, or of any iterable.

    An item is a mapping, a pair (x, target) or one array; single rows are told from batches by a value that is a
    number, or by sizes that differ.  Raises DataError where nothing comes, or what comes does not fit together.
    """
    if hasattr(source, "with_format") and hasattr(source, "column_names"):
        source = source.with_format("numpy")
        if not hasattr(source, "__len__"):  # it is streamed
            return all_rows(iter(source))
        return _checked({k: [np.asarray(v)] for k, v in source[:].items()}, False)
    found: dict[str, list[np.ndarray]] = {}
    rows = False
    for count, item in enumerate(_items(source)):
        named = _named(item)
        if count == 0:
            rows = _is_row(named)
        elif named.keys() != found.keys():
            raise DataError(f"item {count} brings {_listed(named)}, and those before it {_listed(found)}")
        for name, a in named.items():
            found.setdefault(name, []).append(a)
    if not found:
        raise DataError("the iterable brought no batch")
    return _checked(found, rows)


def _items(source: Any) -> Iterator[Any]:
    if hasattr(source, "as_numpy_iterator"):
        return iter(source.as_numpy_iterator())
    if hasattr(source, "__iter__"):
        return iter(source)
    return (source[k] for k in range(len(source)))


def _named(item: Any) -> dict[str, np.ndarray]:
    if not isinstance(item, Mapping):
        parts = list(item) if isinstance(item, tuple | list) else [item]
        names = COLUMNS_OF_TWO if len(parts) == 2 else ("x",) if len(parts) == 1 else map(str, range(len(parts)))
        item = dict(zip(names, parts, strict=True))
    return {str(k): _array(v) for k, v in item.items()}


def _array(a: Any) -> np.ndarray:
    a = a.detach() if hasattr(a, "detach") else a
    a = a.cpu() if hasattr(a, "cpu") else a
    if type(a).__name__ == "Tensor" and str(getattr(a, "dtype", "")).endswith("bfloat16"):
        a = a.float()  # NumPy has no such numbers
    return np.asarray(a)


def _is_row(item: Mapping[str, np.ndarray]) -> bool:
    return any(a.ndim == 0 for a in item.values()) or len({len(a) for a in item.values()}) > 1


def _checked(found: Mapping[str, list[np.ndarray]], rows: bool) -> Dataset:
    columns = {}
    for name, parts in found.items():
        odd = next((a for a in parts if a.shape[not rows :] != parts[0].shape[not rows :]), None)
        if odd is not None:
            raise DataError(
                f"{name!r} comes in sizes {list(parts[0].shape)} and {list(odd.shape)}: rows of one size are taken; "
                f"pad or crop them"
            )
        if parts[0].dtype.kind not in "fiub" and "float" not in parts[0].dtype.name:
            raise DataError(
                f"{name!r} holds {parts[0].dtype}, which are no numbers; turn them into numbers, or leave it out"
            )
        columns[name] = np.stack(parts) if rows else np.concatenate(parts)
    return Dataset(columns)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
