"""Rows out of what other packages bring them in: loaders, data sets, iterables of batches or of single rows.

Known by what they can do, so that no package is imported: a Hugging Face data set has columns, tf.data goes to NumPy,
torch's and grain's are indexed or iterated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import DataError
from .class_names import numbered
from .data import Dataset

TARGET_NAMES = ("target", "targets", "y", "Y", "label", "labels")
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
        return _hugging_face(source.with_format("numpy"))
    data = _rows_of(source)
    data.class_names = _names_of(source)
    return data


def _rows_of(source: Any) -> Dataset:
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


def _hugging_face(source: Any) -> Dataset:
    """The columns of numbers and of pictures, these as image files are read: channels first, from 0 to 1.

    A ClassLabel brings the names of the classes, and is the target where no column is called so.  Text that is no
    target is left out.
    """
    features = dict(getattr(source, "features", None) or {})
    kinds = {k: type(v).__name__ for k, v in features.items()}
    labels = [k for k, kind in kinds.items() if kind == "ClassLabel"]
    target = next((k for k in TARGET_NAMES if k in features), labels[0] if len(labels) == 1 else None)
    text = [k for k, v in features.items() if getattr(v, "dtype", "") in ("string", "large_string") and k != target]
    if text and len(text) < len(features):
        source = source.remove_columns(text)
    if hasattr(source, "__len__"):
        columns = {k: _whole(k, np.asarray(v)) for k, v in source[:].items()}
    else:  # it is streamed
        rows = list(source)
        columns = {k: _stacked(k, [_array(r[k]) for r in rows]) for k in (rows[0] if rows else {})}
    names = numbered([columns], TARGET_NAMES)
    notes = [f"{k}: text, left out" for k in text if len(text) < len(features)]
    for k, a in columns.items():
        if kinds.get(k) == "Image":
            columns[k] = _pictures(a)
            notes.append(f"{k}: pictures, channels first, numbers from 0 to 1")
    data = _checked({k: [a] for k, a in columns.items()}, False)
    if target is not None and target not in TARGET_NAMES:
        data = Dataset({"target" if k == target else k: a for k, a in data.columns.items()})
        notes.append(f"targets: the column {target!r}, which holds classes")
    data.notes, data.pictures = tuple(notes), tuple(k for k in columns if kinds.get(k) == "Image")
    data.class_names = tuple(features[target].names) if target in labels else names
    return data


def _stacked(name: str, rows: list[np.ndarray]) -> np.ndarray:
    _check_sizes(name, [a.shape for a in rows])
    return np.stack(rows)


def _whole(name: str, column: np.ndarray) -> np.ndarray:
    """A column of arrays, which may have several sizes, as one array."""
    arrays = column.dtype == object and not any(v is None or isinstance(v, str | bytes) for v in column)
    return _stacked(name, [np.asarray(v) for v in column]) if arrays else column


def _pictures(pixels: np.ndarray) -> np.ndarray:
    """u8[n, h, w] or u8[n, h, w, c] -> f32[n, c, h, w], from 0 to 1."""
    whole = pixels[..., None] if pixels.ndim == 3 else pixels
    return np.ascontiguousarray(np.moveaxis(whole, -1, 1)).astype(np.float32) / 255


def _names_of(source: Any) -> tuple[str, ...]:
    """The names of the classes, where a data set, or that of a loader, has `classes`: those of torchvision."""
    for _ in range(3):
        names = getattr(source, "classes", None)
        if isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names):
            return tuple(names)
        source = getattr(source, "dataset", None)
    return ()


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
        _check_sizes(name, [a.shape[not rows :] for a in parts])
        if parts[0].dtype.kind not in "fiub" and "float" not in parts[0].dtype.name:
            raise DataError(
                f"{name!r} holds {parts[0].dtype}, which are no numbers; turn them into numbers, or leave it out"
            )
        columns[name] = np.stack(parts) if rows else np.concatenate(parts)
    return Dataset(columns)


def _check_sizes(name: str, sizes: list[tuple]) -> None:
    odd = next((s for s in sizes if s != sizes[0]), None)
    if odd is not None:
        raise DataError(
            f"{name!r} comes in sizes {list(sizes[0])} and {list(odd)}: rows of one size are taken; pad or crop them"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
