"""Data as people have it: .npz, .npy pairs, .csv, folders of images, arrays and iterables of batches, as columns.

training, test = load_columns("d.npz")      # test: None where the source brings none
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..dtypes import DTYPES
from ..errors import DataError, about
from ..graph import Graph, Value
from .batches import TARGET_NAMES, all_rows, is_batches
from .class_names import in_order_of, numbered
from .data import Dataset, as_column, npz_columns
from .pictures import pictures_for
from .rows_in_file import RowsInFile, by_rows, columns_in_file, pictures_in_files
from .tables import read_table

INPUT_NAMES = ("x", "X", "images", "image", "data", "input", "inputs", "features")
PARTS = {"train": ("train_", "_train"), "test": ("test_", "_test", "val_", "_val", "valid_", "_valid")}
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm")
PORTABLE = re.compile(rb"(P[56])(?:\s+(?:#[^\n]*\n\s*)*)(\d+)\s+(\d+)\s+(?:255)\s")
ACCEPTED = "an .npz or .csv file, a folder of images (one folder per class), or a pair x.npy and y.npy"


def load_columns(source: Any, *, in_file: bool = False) -> tuple[Dataset, Dataset | None]:
    """(training rows, test rows or None) of a path, arrays, a mapping of arrays, a Dataset, or batches.

    x_train, train_x, test_y ... say to which part an array belongs; the parts may have any numbers of rows.
    Of x.npy beside y.npy (or x_train.npy ...) each names the others.  Targets may be names of classes.  Tables: see
    tables.py.  Loaders and data sets of other packages: see batches.py.
    in_file: images and long rows of .npz and .npy files and of folders stay there, see rows_in_file.py.
    Raises DataError saying what is accepted.
    """
    if isinstance(source, Dataset):
        return source, None
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            return _folder(path, in_file)
        if not path.exists():
            raise DataError(f"there is no file {str(path)!r}")
        kind = path.suffix.lower()
        if kind == ".npz":
            return _parted(columns_in_file(path) if in_file else npz_columns(path), str(path))
        if kind == ".npy":
            return _parted(_npy_beside(path, in_file), str(path))
        if kind in (".csv", ".tsv"):
            columns, header, notes = read_table(path)
            names = numbered([columns], TARGET_NAMES)
            table = _named(columns, str(path), names)
            table.header, table.notes = header, notes
            return table, None
        raise DataError(f"{str(path)!r} is not read; give {ACCEPTED}")
    if isinstance(source, Mapping):
        if source and all(hasattr(v, "column_names") for v in source.values()):  # Hugging Face's splits
            return _splits(source)
        return _parted({k: as_column(k, v) for k, v in source.items()}, "the data")
    if isinstance(source, np.ndarray):
        return _named({"x": source}, "the array"), None
    if isinstance(source, tuple | list) and len(source) == 2 and all(hasattr(a, "shape") for a in source):
        return Dataset({"x": np.asarray(source[0]), "target": np.asarray(source[1])}), None
    if is_batches(source):
        return all_rows(source), None
    raise DataError(f"{type(source).__name__} is not read; give {ACCEPTED}, arrays, or an iterable of batches")


def _splits(source: Mapping[str, Any]) -> tuple[Dataset, Dataset | None]:
    """train, and test or validation, where a data set comes in parts."""
    training = source.get("train", next(iter(source.values())))
    test = next((source[k] for k in ("test", "validation", "valid", "val") if k in source), None)
    return all_rows(training), None if test is None or test is training else all_rows(test)


def rows_for(graph: Graph, data: Any, *, in_file: bool = False) -> Dataset:
    """What `load_columns` takes, under the names of the graph's inputs; a Dataset stays what it is."""
    return data if isinstance(data, Dataset) else columns_for(graph, load_columns(data, in_file=in_file)[0])


def _named(columns: Mapping[str, np.ndarray], source: str, classes: Iterable[str] = ()) -> Dataset:
    data = Dataset(dict(columns))
    data.source, data.class_names = source, tuple(classes)
    return data


def _parted(arrays: Mapping[str, np.ndarray], source: str) -> tuple[Dataset, Dataset | None]:
    training: dict[str, np.ndarray] = {}
    test: dict[str, np.ndarray] = {}
    for name, a in arrays.items():
        part, plain = _part_of(name)
        (test if part == "test" else training)[plain] = np.asarray(a) if plain in TARGET_NAMES else a
    if not arrays:
        raise DataError(f"{source} has no column")
    if not training:
        raise DataError(f"{source} holds test rows only: {', '.join(map(repr, arrays)) or 'nothing'}")
    names = numbered((training, test), TARGET_NAMES)
    return _named(training, source, names), _named(test, f"{source} (test)", names) if test else None


def _part_of(name: str) -> tuple[str, str]:
    for part, marks in PARTS.items():
        for mark in marks:
            if mark.endswith("_") and name.startswith(mark) and len(name) > len(mark):
                return part, name[len(mark) :]
            if mark.startswith("_") and name.endswith(mark) and len(name) > len(mark):
                return part, name[: -len(mark)]
    return "train", name


def _npy_beside(path: Path, in_file: bool) -> dict[str, np.ndarray]:
    """The .npy file and those beside it that are named as parts of a data set."""
    names = {n.lower() for n in (*INPUT_NAMES, *TARGET_NAMES)}
    found: dict[str, Any] = {}
    for other in sorted(path.parent.glob("*.npy")):
        if other == path or _part_of(other.stem)[1].lower() in names:
            if in_file:
                found |= columns_in_file(other)
                continue
            try:
                found[other.stem] = np.load(other, allow_pickle=False)
            except (ValueError, OSError, EOFError) as e:
                raise DataError(f"{str(other)!r} is no array that can be read: {e}") from None
    if len(found) < 2:
        raise DataError(f"{str(path)!r} is one array, and there is none beside it for the targets; give {ACCEPTED}")
    return found


def _folder(path: Path, in_file: bool) -> tuple[Dataset, Dataset | None]:
    """Images by class, or train/ and test/ (or val/) with these inside."""
    parts = {p.name.lower(): p for p in path.iterdir() if p.is_dir()}
    if "train" in parts:
        test = next((parts[n] for n in ("test", "val", "valid", "validation") if n in parts), None)
        names = sorted(p.name for p in parts["train"].iterdir() if p.is_dir())
        return _images(parts["train"], names, in_file), _images(test, names, in_file) if test else None
    names = sorted(p.name for p in path.iterdir() if p.is_dir())
    if not names:
        raise DataError(f"the folder {str(path)!r} has no folder per class; give {ACCEPTED}")
    return _images(path, names, in_file), None


def _images(path: Path, classes: list[str], in_file: bool) -> Dataset:
    files: list[Path] = []
    labels: list[int] = []
    for k, name in enumerate(classes):
        found = [p for p in sorted((path / name).glob("*")) if p.suffix.lower() in (*PICTURES, ".npy")]
        files += found
        labels += [k] * len(found)
    if not files:
        raise DataError(f"the folders in {str(path)!r} hold no image ({', '.join(PICTURES)})")
    first = _picture(files[0]).shape

    def read(file: Path) -> np.ndarray:
        a = _picture(file)
        if a.shape != first:
            raise DataError(
                f"{str(file)!r} is {list(a.shape)} and {str(files[0])!r} is {list(first)} (channels, height, width): "
                f"images of one size are read"
            )
        return a

    x: Any = pictures_in_files(files, read) if in_file else np.stack([read(file) for file in files])
    data = _named({"x": x, "target": np.array(labels, np.int64)}, str(path), classes)
    data.pictures = ("x",) if x.ndim == 4 else ()
    return data


def _picture(path: Path) -> np.ndarray:
    """[channels, height, width], numbers from 0 to 1."""
    if path.suffix.lower() == ".npy":
        return np.load(path, allow_pickle=False)
    try:
        if path.suffix.lower() in (".ppm", ".pgm"):
            pixels = _portable(path)
        else:
            from PIL import Image

            with Image.open(path) as image:
                pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    except ImportError:
        raise DataError(f'reading {str(path)!r} needs pillow: pip install "aidgejax[images]"') from None
    except (OSError, ValueError, struct.error) as e:
        raise DataError(f"{str(path)!r} is no image that can be read: {e}") from None
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0)).astype(np.float32) / 255


def _portable(path: Path) -> np.ndarray:
    data = path.read_bytes()
    head = PORTABLE.match(data)  # one space ends it: pixels of 32 or 10 may follow
    if head is None:
        raise ValueError("only binary PGM and PPM of 8 bits are read")
    channels, width, height = 1 if head[1] == b"P5" else 3, int(head[2]), int(head[3])
    pixels = np.frombuffer(data, np.uint8, width * height * channels, head.end())
    return pixels.reshape(height, width, channels)


def columns_for(graph: Graph, data: Dataset, target: str = "target", *, layout: str = "NCHW") -> Dataset:
    """The rows under the names of the graph's inputs, and `target`; numbers in the inputs' dtypes.

    layout: "NHWC" for images whose channels come last, for a graph that takes them first.
    Raises DataError naming what is missing.
    """
    left = dict(data.columns)
    found: dict[str, np.ndarray] = {}
    names = [n for n in graph.inputs if n != target]
    key = next((k for k in (target, *TARGET_NAMES) if k in left), None)
    if key is not None and key not in names:
        found[target] = left.pop(key)
    for n in names:
        same = next((k for k in left if k == n or k.lower() == n.lower()), None)
        if same is not None:
            found[n] = left.pop(same)
    for o in graph.outputs:
        column = target_of(o, left)
        if column is not None:
            found.setdefault(column, left.pop(column))
    open_ = [n for n in names if n not in found]
    if len(open_) == 1 and left:
        usual = [k for k in INPUT_NAMES if k in left] or (list(left) if len(left) == 1 else [])
        if usual:
            found[open_[0]] = left.pop(usual[0])
    if target in found and data.class_names:
        found[target] = in_order_of(graph, data.class_names, found[target], data.source or "the data")
    found |= _of_header(data, [n for n in names if n not in found])
    missing = [n for n in names if n not in found]
    if missing:
        takes = ", ".join(str(v) for n, v in graph.inputs.items() if n != target)
        raise DataError(
            f"{data.source or 'the data'} lacks {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, data.columns))}, the model takes {takes}"
        )
    notes = list(data.notes)
    for n in names:
        given = found[n]
        if any(given is data.columns[k] for k in data.pictures):
            fitted, said = pictures_for(graph.inputs[n], given.shape)
            found[n] = by_rows(by_rows(given, fitted), partial(_as_input, graph.inputs[n], layout="NCHW"))
        else:
            found[n] = by_rows(given, partial(_as_input, graph.inputs[n], layout=layout))
            said = _input_in_words(n, given, found[n])
        notes += [*said, *_not_finite(data, n, found[n])]
    named = data.with_columns(found)
    named.notes = tuple(dict.fromkeys(notes))
    return named


def _not_finite(data: Dataset, name: str, values: Any) -> list[str]:
    """A line where rows hold NaN or infinity: nothing else says so of test rows, and of those a batch leaves out."""
    if type(values) is not np.ndarray or values.dtype.kind != "f" or not values.size:
        return []  # what stays in its file is not read for this
    if np.isfinite(values.min()) and np.isfinite(values.max()):
        return []
    rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    count = f"{len(rows)} row{'' if len(rows) == 1 else 's'} of {len(values)}"
    return [f"not finite: {name!r} holds NaN or infinity in {count}, the first is row {data.row_in_source(rows[0])}"]


def _of_header(data: Dataset, names: list[str]) -> dict[str, np.ndarray]:
    """Inputs that are columns of a table: [rows, 1] each."""
    if not names or any(n not in data.header for n in names):
        return {}
    return {n: data.columns["x"][:, [data.header.index(n)]] for n in names}


def _input_in_words(name: str, given: np.ndarray, taken: np.ndarray) -> list[str]:
    lines = []
    if given.ndim != taken.ndim and math.prod(given.shape[1:]) > 1:
        lines.append(f"{name}: rows of {_sizes(given)} are taken as {_sizes(taken)}")
    if given.dtype == np.uint8 and taken.dtype.kind == "f" and given.ndim > 2:
        parts = given.blocks() if isinstance(given, RowsInFile) else (given,)
        least, most = zip(*((part.min(), part.max()) for part in parts), strict=True)
        lines.append(f"{name}: numbers from {min(least)} to {max(most)} as the data has them, not scaled")
    return lines


def _sizes(a: np.ndarray) -> str:
    return f"[{', '.join(map(str, a.shape[1:]))}]"


def target_of(output: str, columns: Iterable[str]) -> str | None:
    """The column of targets that is named after an output."""
    made = [output, *(f"{output}_{n}" for n in TARGET_NAMES), *(f"{n}_{output}" for n in TARGET_NAMES)]
    return next((c for c in made if c in columns), None)


def _as_input(value: Value, a: np.ndarray, *, layout: str) -> np.ndarray:
    want = DTYPES.get(value.dtype or "float32", np.dtype("float32"))
    if a.dtype != want and a.dtype.kind in "fiub" and value.is_float:
        a = a.astype(want)
    elif a.dtype != want and a.dtype.kind in "iub" and want.kind in "iu":
        a = a.astype(want)
    shape = value.shape or ()
    if len(shape) < 3 or a.ndim != len(shape):
        return _reshaped(shape, a)
    if layout == "NHWC":
        return np.ascontiguousarray(np.moveaxis(a, -1, 1))
    channels_first = (a.shape[0], a.shape[-1], *a.shape[1:-1])

    def fits(sizes: tuple[int, ...]) -> bool:
        return all(not isinstance(d, int) or d == n for d, n in zip(shape[1:], sizes[1:], strict=True))

    if not fits(a.shape) and fits(channels_first):
        raise about(
            "input-shape",
            DataError(
                f"{value}: got an array of shape {list(a.shape)}, which has its channels last; say "
                f"layout='NHWC' (on the command line --layout NHWC), or move them"
            ),
        )
    return a


def _reshaped(shape: tuple, a: np.ndarray) -> np.ndarray:
    """Rows of another rank, where there is one way to take them: an axis of 1 more or less, flattened images of one
    channel, images for a model that takes flat rows."""
    sizes = shape[1:]
    if a.ndim + 1 == len(shape) and 1 in (shape[1], shape[-1]) and len(shape) > 2:
        return a[:, None] if shape[1] == 1 else a[..., None]
    if a.ndim == len(shape) + 1 and 1 in (a.shape[1], a.shape[-1]) and len(shape) > 1:
        return a[:, 0] if a.shape[1] == 1 else a[..., 0]
    whole = bool(sizes) and all(isinstance(d, int) for d in sizes) and math.prod(a.shape[1:]) == math.prod(sizes)
    flat = len(shape) == 2 and a.ndim > 2
    image = a.ndim == 2 and len(shape) > 2 and 1 in (shape[1], shape[-1])
    return a.reshape(len(a), *sizes) if whole and (flat or image) else a


def stratified(data: Dataset, fraction: float, labels: np.ndarray | None, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Two parts, the second with `fraction` of the rows, and of every class where labels are given."""
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return data.split(fraction, seed=seed)
    rng = np.random.default_rng(seed)
    values, counts = np.unique(labels, return_counts=True)
    shares = counts * fraction
    whole = np.floor(shares).astype(int)
    for k in np.argsort(whole - shares, kind="stable")[: round(fraction * len(data)) - int(whole.sum())]:
        whole[k] += 1  # the largest remainders, so that the parts have the sizes that were asked for
    held = [rng.permutation(np.flatnonzero(labels == v))[:n] for v, n in zip(values, whole, strict=True)]
    test = rng.permutation(np.concatenate(held)) if held else np.array([], np.int64)
    rest = rng.permutation(np.setdiff1d(np.arange(len(data)), test))
    if not len(test) or not len(rest):
        return data.split(fraction, seed=seed)
    return data[rest], data[test]
