"""Data as people have it: .npz, .npy pairs, .csv, folders of images, arrays and iterables of batches, as columns.

training, test = load_columns("d.npz")      # test: None where the source brings none
"""

from __future__ import annotations

import csv
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..dtypes import DTYPES
from ..errors import DataError, about
from ..graph import Graph, Value
from .batches import all_rows, is_batches
from .data import Dataset, npz_columns

INPUT_NAMES = ("x", "X", "images", "image", "data", "input", "inputs", "features")
TARGET_NAMES = ("target", "targets", "y", "Y", "label", "labels")
PARTS = {"train": ("train_", "_train"), "test": ("test_", "_test", "val_", "_val", "valid_", "_valid")}
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm")
ACCEPTED = "an .npz or .csv file, a folder of images (one folder per class), or a pair x.npy and y.npy"


def load_columns(source: Any) -> tuple[Dataset, Dataset | None]:
    """(training rows, test rows or None) of a path, arrays, a mapping of arrays, a Dataset, or batches.

    x_train, train_x, test_y ... say to which part an array belongs; the parts may have any numbers of rows.
    Of x.npy beside y.npy (or x_train.npy ...) each names the others.  A .csv has a header; its last column, or the one
    that is called target, y or label, is the target.  Loaders and data sets of other packages: see batches.py.
    Raises DataError saying what is accepted.
    """
    if isinstance(source, Dataset):
        return source, None
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            return _folder(path)
        if not path.exists():
            raise DataError(f"there is no file {str(path)!r}")
        kind = path.suffix.lower()
        if kind == ".npz":
            return _parted(npz_columns(path), str(path))
        if kind == ".npy":
            return _parted(_npy_beside(path), str(path))
        if kind in (".csv", ".tsv"):
            return _named(_csv(path), str(path)), None
        raise DataError(f"{str(path)!r} is not read; give {ACCEPTED}")
    if isinstance(source, Mapping):
        if source and all(hasattr(v, "column_names") for v in source.values()):  # Hugging Face's splits
            return _splits(source)
        return _parted({k: np.asarray(v) for k, v in source.items()}, "the data")
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


def rows_for(graph: Graph, data: Any) -> Dataset:
    """What `load_columns` takes, under the names of the graph's inputs; a Dataset stays what it is."""
    return data if isinstance(data, Dataset) else columns_for(graph, load_columns(data)[0])


def _named(columns: Mapping[str, np.ndarray], source: str) -> Dataset:
    data = Dataset(dict(columns))
    data.source = source
    return data


def _parted(arrays: Mapping[str, np.ndarray], source: str) -> tuple[Dataset, Dataset | None]:
    training: dict[str, np.ndarray] = {}
    test: dict[str, np.ndarray] = {}
    for name, a in arrays.items():
        part, plain = _part_of(name)
        (test if part == "test" else training)[plain] = a
    if not training:
        raise DataError(f"{source} holds test rows only: {', '.join(map(repr, arrays)) or 'nothing'}")
    return _named(training, source), _named(test, f"{source} (test)") if test else None


def _part_of(name: str) -> tuple[str, str]:
    for part, marks in PARTS.items():
        for mark in marks:
            if mark.endswith("_") and name.startswith(mark) and len(name) > len(mark):
                return part, name[len(mark) :]
            if mark.startswith("_") and name.endswith(mark) and len(name) > len(mark):
                return part, name[: -len(mark)]
    return "train", name


def _npy_beside(path: Path) -> dict[str, np.ndarray]:
    """The .npy file and those beside it that are named as parts of a data set."""
    names = {n.lower() for n in (*INPUT_NAMES, *TARGET_NAMES)}
    found = {}
    for other in sorted(path.parent.glob("*.npy")):
        if other == path or _part_of(other.stem)[1].lower() in names:
            try:
                found[other.stem] = np.load(other, allow_pickle=False)
            except (ValueError, OSError, EOFError) as e:
                raise DataError(f"{str(other)!r} is no array that can be read: {e}") from None
    if len(found) < 2:
        raise DataError(f"{str(path)!r} is one array, and there is none beside it for the targets; give {ACCEPTED}")
    return found


def _csv(path: Path) -> dict[str, np.ndarray]:
    with open(path, newline="", encoding="utf-8-sig") as f:
        rows = list(csv.reader(f, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    rows = [r for r in rows if r]
    if len(rows) < 2:
        raise DataError(f"{str(path)!r} has {len(rows)} rows: expected a header and rows of numbers")
    header, body = [h.strip() for h in rows[0]], rows[1:]
    for k, r in enumerate(body):
        if len(r) != len(header):
            raise DataError(f"{str(path)!r}, row {k + 1}: {len(r)} fields; the header has {len(header)}")
    target = next((k for k, h in enumerate(header) if h in TARGET_NAMES), len(header) - 1)
    features = [
        [_number(path, header, k + 1, j, r[j]) for j in range(len(r)) if j != target] for k, r in enumerate(body)
    ]
    labels = [r[target].strip() for r in body]
    try:
        numbers = np.array([float(v) for v in labels])
        whole = all("." not in v and "e" not in v.lower() for v in labels)
        values: np.ndarray = numbers.astype(np.int64) if whole else numbers.astype(np.float32)
    except ValueError:
        values = np.unique(labels, return_inverse=True)[1].astype(np.int64)  # names of classes, in alphabetical order
    return {"x": np.array(features, np.float32), "target": values}


def _number(path: Path, header: list[str], row: int, column: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(
            f"{str(path)!r}, row {row}, column {header[column]!r}: {text!r} is no number; only the target may be a name"
        ) from None


def _folder(path: Path) -> tuple[Dataset, Dataset | None]:
    """Images by class, or train/ and test/ (or val/) with these inside."""
    parts = {p.name.lower(): p for p in path.iterdir() if p.is_dir()}
    if "train" in parts:
        test = next((parts[n] for n in ("test", "val", "valid", "validation") if n in parts), None)
        names = sorted(p.name for p in parts["train"].iterdir() if p.is_dir())
        return _images(parts["train"], names), _images(test, names) if test else None
    names = sorted(p.name for p in path.iterdir() if p.is_dir())
    if not names:
        raise DataError(f"the folder {str(path)!r} has no folder per class; give {ACCEPTED}")
    return _images(path, names), None


def _images(path: Path, classes: list[str]) -> Dataset:
    pictures, labels, first = [], [], None
    for k, name in enumerate(classes):
        files = [p for p in sorted((path / name).glob("*")) if p.suffix.lower() in (*PICTURES, ".npy")]
        for file in files:
            a = _picture(file)
            if first is not None and a.shape != first[1].shape:
                raise DataError(
                    f"{str(file)!r} is {list(a.shape)} and {str(first[0])!r} is {list(first[1].shape)} (channels, "
                    f"height, width): images of one size are read"
                )
            first = first or (file, a)
            pictures.append(a)
            labels.append(k)
    if not pictures:
        raise DataError(f"the folders in {str(path)!r} hold no image ({', '.join(PICTURES)})")
    data = _named({"x": np.stack(pictures), "target": np.array(labels, np.int64)}, str(path))
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
    magic, width, height, _, rest = data.split(maxsplit=4)
    channels = {b"P5": 1, b"P6": 3}.get(magic)
    if channels is None:
        raise ValueError("only binary PGM and PPM are read")
    pixels = np.frombuffer(rest, np.uint8, int(width) * int(height) * channels)
    return pixels.reshape(int(height), int(width), channels)


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
    open_ = [n for n in names if n not in found]
    if len(open_) == 1 and left:
        usual = [k for k in INPUT_NAMES if k in left] or (list(left) if len(left) == 1 else [])
        if usual:
            found[open_[0]] = left.pop(usual[0])
    missing = [n for n in names if n not in found]
    if missing:
        takes = ", ".join(str(v) for n, v in graph.inputs.items() if n != target)
        raise DataError(
            f"{data.source or 'the data'} lacks {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, data.columns))}, the model takes {takes}"
        )
    for n in names:
        found[n] = _as_input(graph.inputs[n], found[n], layout)
    return data.with_columns(found)


def _as_input(value: Value, a: np.ndarray, layout: str) -> np.ndarray:
    want = DTYPES.get(value.dtype or "float32", np.dtype("float32"))
    if a.dtype != want and a.dtype.kind in "fiub" and value.is_float:
        a = a.astype(want)
    elif a.dtype != want and a.dtype.kind in "iub" and want.kind in "iu":
        a = a.astype(want)
    shape = value.shape or ()
    if len(shape) < 3 or a.ndim != len(shape):
        if a.ndim + 1 == len(shape) and shape[1] == 1:  # grey images without an axis of channels
            return a[:, None]
        return a
    if layout == "NHWC":
        return np.ascontiguousarray(np.moveaxis(a, -1, 1))
    turned = (a.shape[0], a.shape[-1], *a.shape[1:-1])

    def fits(sizes: tuple[int, ...]) -> bool:
        return all(not isinstance(d, int) or d == n for d, n in zip(shape[1:], sizes[1:], strict=True))

    if not fits(a.shape) and fits(turned):
        raise about(
            "input-shape",
            DataError(
                f"{value}: got an array of shape {list(a.shape)}, which has its channels last; say "
                f"layout='NHWC' (on the command line --layout NHWC), or move them"
            ),
        )
    return a


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
