"""Data: named arrays with one row per example, the order of an epoch, and chunks for what does not fit the device."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..dtypes import NARROWED, Arrays
from ..errors import DataError, about
from ..files import read_npz
from .parallel import Placement
from .rows_in_file import RowsInFile, by_rows


def as_column(name: str, values: Any) -> Any:
    """Values as an array; rows in a file stay there.  Raises DataError where rows have different lengths."""
    try:
        return values if isinstance(values, RowsInFile) else np.asarray(values)
    except ValueError:
        raise DataError(f"column {name!r}: its rows have different lengths; expected an array of numbers") from None


class Dataset:
    """Named arrays of equally many rows.  Dataset(x=images, target=labels)

    classes: {name: class count} of columns that are class indices; they are checked here, once, on the host.
    Raises DataError naming the column, and for labels the row.
    """

    def __init__(self, columns: Arrays | None = None, *, classes: dict[str, int] | None = None, **more: Any) -> None:
        self.columns: Arrays = {k: as_column(k, v) for k, v in {**(columns or {}), **more}.items()}
        self.source: str | None = None  # the file that it came from, and the rows there; None: all, in order
        self.rows: np.ndarray | None = None
        self.class_names: tuple[str, ...] = ()  # of the targets, where these were names
        self.header: tuple[str, ...] = ()  # of a table: what the columns of "x" are called
        self.pictures: tuple[str, ...] = ()  # the columns that hold pictures, channels first
        self.notes: tuple[str, ...] = ()  # what was decided while reading, to be printed
        if not self.columns:
            raise DataError("a data set needs at least one column")
        for name, a in self.columns.items():
            if a.dtype.kind not in "fiub" and a.dtype.name != "bfloat16":
                raise DataError(f"column {name!r} has dtype {a.dtype}: expected numbers")
            if a.ndim == 0:
                raise DataError(f"column {name!r} is a single number: expected one row per example")
        rows = {name: len(a) for name, a in self.columns.items()}
        if len(set(rows.values())) != 1:
            raise DataError(
                "columns have different numbers of rows: " + ", ".join(f"{k!r} {n}" for k, n in rows.items())
            )
        if not len(self):
            raise DataError("the data set has no rows")
        self._check_classes(classes)

    def _check_classes(self, classes: dict[str, int] | None) -> None:
        for name, count in (classes or {}).items():
            check_labels(self.columns[name], count, name, row=self.row_in_source, names=self.class_names)

    def row_in_source(self, row: int) -> int:
        """The number of a row where it came from: in a table counted from 1 below the header, in arrays from 0."""
        return int(row if self.rows is None else self.rows[row]) + bool(self.header)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, rows: Any) -> Dataset:
        part = Dataset({k: v.take(rows) if isinstance(v, RowsInFile) else v[rows] for k, v in self.columns.items()})
        part.source, part.rows = self.source, (np.arange(len(self)) if self.rows is None else self.rows)[rows]
        part.class_names, part.header, part.notes = self.class_names, self.header, self.notes
        part.pictures = self.pictures
        return part

    def with_columns(self, columns: Arrays, classes: dict[str, int] | None = None) -> Dataset:
        """The same rows under other columns."""
        other = Dataset(columns)
        other.source, other.rows = self.source, self.rows
        other.class_names, other.header, other.notes = self.class_names, self.header, self.notes
        other._check_classes(classes)
        return other

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Two parts of a shuffled whole; the second holds `fraction` of the rows."""
        order = np.random.default_rng(seed).permutation(len(self))
        at = len(self) - round(fraction * len(self))
        if not 0 < at < len(self):
            raise DataError(f"a fraction of {fraction} of {len(self)} rows leaves one part empty")
        return self[order[:at]], self[order[at:]]

    def on_device(self, placement: Placement | None = None) -> Arrays:
        """The columns as JAX arrays; int64 becomes int32 unless jax_enable_x64 is on.

        placement: split by rows over its devices.  Raises DataError where a number would become another one.
        """
        narrow = {k: by_rows(v, partial(_narrowed, what=f"column {k!r}")) for k, v in self.columns.items()}
        return {k: jnp.asarray(v) for k, v in narrow.items()} if placement is None else placement.place_rows(narrow)

    def __repr__(self) -> str:
        return "Dataset(" + ", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in self.columns.items()) + ")"


def _staged(a: np.ndarray) -> np.ndarray:
    return a if jax.config.read("jax_enable_x64") else a.astype(NARROWED.get(a.dtype.name, a.dtype), copy=False)


def check_labels(
    labels: np.ndarray,
    classes: int,
    name: str = "target",
    where: str = "",
    *,
    row: Callable[[int], int] = int,
    names: tuple[str, ...] = (),
) -> None:
    """Class indices are integers from 0 to classes - 1; DataError names the first row that is not.

    where: what stands before the column in a message.  row: the number of a row for its user.  names: of the classes in
    the data, where they have any.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"{where}column {name!r} holds class indices, so it must be of an integer dtype, got {labels.dtype}"
        )
    bad = np.argwhere((labels < 0) | (labels >= classes))
    if len(bad):
        at = tuple(int(k) for k in bad[0])
        text = (
            f"{where}column {name!r}, row {row(at[0])}: label {labels[at]} with {classes} classes (0 to {classes - 1})"
        )
        text += f"; {len(bad)} labels are out of range" if len(bad) > 1 else ""
        text += f"; the data has {len(names)}: {', '.join(names[:20])}" if names else ""
        raise about("labels", DataError(text + _cure_of_labels(labels, classes)))


def _cure_of_labels(labels: np.ndarray, classes: int) -> str:
    """What labels outside of 0 to classes - 1 mean as a rule, and what to do."""
    odd = np.unique(labels[(labels < 0) | (labels >= classes)])
    if len(odd) == 1 and int(odd[0]) == classes and labels.min() == 1:
        return f"; they run from 1 to {classes}: subtract 1"
    if len(odd) == 1 and int(odd[0]) in (-1, -100, 255):
        return f"; if {int(odd[0])} marks what counts for nothing, say ignore_index={int(odd[0])}"
    return ""


def batch_order(
    rows: int,
    batch_size: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    last: str = "drop",
    always_weigh: bool = False,
) -> tuple[np.ndarray, np.ndarray | None]:
    """(i32[steps, batch_size] row numbers, f32[steps, batch_size] weights or None) of one epoch.

    seed: shuffled by (seed, epoch), a pure function of the two; None keeps the order.
    last: a short last batch is left out ("drop"), or filled with row 0 at weight 0 ("pad").
    """
    if batch_size < 1:
        raise DataError(f"batch size {batch_size}: expected 1 or more")
    if last not in ("drop", "pad"):
        raise DataError(f"last={last!r}: a short last batch is either 'drop' or 'pad'")
    order = np.arange(rows) if seed is None else np.random.default_rng([seed, epoch]).permutation(rows)
    short = rows % batch_size
    if last == "drop":
        if rows < batch_size:
            raise about(
                "batch-size",
                DataError(
                    f"batch size {batch_size} with {rows} rows leaves no batch: take a smaller one, or last='pad'"
                ),
            )
        order, short = order[: rows - short], 0
    padding = batch_size - short if short else 0
    weights = None
    if padding or always_weigh:
        weights = np.concatenate([np.ones(len(order), np.float32), np.zeros(padding, np.float32)])
        weights = weights.reshape(-1, batch_size)
    order = np.concatenate([order, np.zeros(padding, order.dtype)])
    return order.astype(np.int32).reshape(-1, batch_size), weights


# ---- larger than the device ---------------------------------------------------------------------------


def chunks(
    batches: Iterable[Any],
    names: tuple[str, ...],
    steps: int,
    *,
    last: str = "drop",
    classes: dict[str, int] | None = None,
) -> Iterator[tuple[Arrays, np.ndarray]]:
    """Groups batches into chunks for make_epoch: ({name: [steps, batch, ...]}, weights f32[steps, batch]).

    batches: any iterable of tuples of array-likes (a torch DataLoader, an Aidge DataProvider), or of dicts; `names`
        are the graph's inputs, in the order of the tuple.
    classes: {name: class count} of inputs that are class indices; each batch is checked, as Dataset checks its columns.
    Every chunk has the same shape, so that one compiled epoch serves them all; what the last one lacks has weight 0.
    Raises DataError, with the batch's number, where a batch does not fit the first, holds no numbers, or holds one
    that the 32 bits of the device would change.
    """
    names = tuple(names)
    if steps < 1:
        raise DataError(f"a chunk of {steps} steps: expected 1 or more")
    try:
        numbered = enumerate(batches)
    except TypeError:
        raise DataError(f"the data provider is a {type(batches).__name__}, which cannot be iterated over") from None
    held: list[tuple[Arrays, int]] = []
    first: Arrays | None = None
    for n, item in numbered:
        batch = _named(item, names, n)
        rows = len(batch[names[0]])
        if first is None:
            first = batch
        size = len(first[names[0]])
        for k in names:
            _check_batch(batch[k], first[k], k, n, rows, names[0])
            if classes and k in classes:
                check_labels(batch[k], classes[k], k, f"batch {n}, ")
        if rows > size:
            raise DataError(f"batch {n} has {rows} rows, the first had {size}: batches may only get shorter")
        if rows < size:
            if last == "drop":
                continue
            batch = {k: np.concatenate([v, np.zeros((size - rows, *v.shape[1:]), v.dtype)]) for k, v in batch.items()}
        held.append((batch, rows))
        if len(held) == steps:
            yield _chunk(held, steps)
            held = []
    if held:
        yield _chunk(held, steps)
    if first is None:
        raise DataError("the data provider gave no batch")


def _check_batch(a: np.ndarray, first: np.ndarray, name: str, n: int, rows: int, lead: str) -> None:
    if len(a) != rows:
        raise DataError(f"batch {n}: {name!r} has {len(a)} rows, {lead!r} has {rows}")
    if a.shape[1:] != first.shape[1:] or a.dtype != first.dtype:
        raise DataError(
            f"batch {n}, {name!r}: {a.dtype}{list(a.shape)} does not fit the first batch, "
            f"{first.dtype}{list(first.shape)}"
        )


def _named(item: Any, names: tuple[str, ...], n: int) -> Arrays:
    if not isinstance(item, dict):
        if not isinstance(item, tuple | list) or len(item) != len(names):
            raise DataError(
                f"batch {n} is {type(item).__name__}"
                + (f" of {len(item)}" if isinstance(item, tuple | list) else "")
                + f": expected a tuple of {len(names)} arrays ({', '.join(names)})"
            )
        item = dict(zip(names, item, strict=True))
    missing = [k for k in names if k not in item]
    if missing:
        raise DataError(
            f"batch {n} lacks {', '.join(map(repr, missing))}; it has {', '.join(map(repr, item)) or 'nothing'}"
        )
    return {k: _narrowed(_as_numbers(item[k], f"batch {n}, {k!r}"), f"batch {n}, {k!r}") for k in names}


def _as_numbers(values: Any, what: str) -> np.ndarray:
    try:
        a = np.asarray(values)
    except (ValueError, TypeError) as e:
        raise DataError(f"{what} is no array: {e}") from None
    if a.dtype.kind not in "fiub" and "float" not in a.dtype.name:
        raise DataError(f"{what} has dtype {a.dtype}: expected numbers")
    if a.ndim == 0 or not len(a):
        raise DataError(f"{what} has no rows: its shape is {list(a.shape)}")
    return a


def _narrowed(a: np.ndarray, what: str) -> np.ndarray:
    """As the device will hold it; DataError where a number would become another one."""
    with np.errstate(over="ignore"):
        narrow = _staged(a)
    if narrow.dtype == a.dtype:
        return narrow
    lost = np.isfinite(a) & ~np.isfinite(narrow) if a.dtype.kind == "f" else narrow != a
    if lost.any():
        at = tuple(int(k) for k in np.argwhere(lost)[0])
        raise DataError(f"{what}, row {at[0]}: {a[at]} does not fit {narrow.dtype}, which the device computes in")
    return narrow


def _chunk(held: list[tuple[Arrays, int]], steps: int) -> tuple[Arrays, np.ndarray]:
    names, size = list(held[0][0]), len(next(iter(held[0][0].values())))
    weights = np.zeros((steps, size), np.float32)
    for k, (_, rows) in enumerate(held):
        weights[k, :rows] = 1
    filled = held + [held[-1]] * (steps - len(held))
    return {k: np.stack([batch[k] for batch, _ in filled]) for k in names}, weights


def prefetch(source: Iterable[Any], depth: int = 2, place: Callable[[Any], Any] = jax.device_put) -> Iterator[Any]:
    """The same items, fetched and placed on the device by a thread that is at most `depth` (1 or more) ahead.

    What the source raises is raised here, with a note of how many items came before; the thread ends when this
    iterator does, or, where the source hangs, as soon as it comes back.
    """
    waiting: queue.Queue = queue.Queue(maxsize=max(1, depth))
    stop, end = threading.Event(), object()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        count = 0
        try:
            for item in source:
                put((place(item), None))
                count += 1
                if stop.is_set():
                    return
            put((end, None))
        except BaseException as e:  # carried over to the consumer
            e.add_note(f"raised while item {count} was fetched")
            put((end, e))

    thread = threading.Thread(target=work, daemon=True, name="aidgejax-prefetch")
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stop.set()
        thread.join(timeout=1.0)  # a source that hangs is left alone; the thread is a daemon


# ---- sources ------------------------------------------------------------------------------------------


def digits() -> Dataset:
    """The 1797 handwritten digits of UCI: x f32[1797, 1, 8, 8] in 0 to 1, target i64[1797] in 0 to 9.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository
    (1998), test part; licence CC BY 4.0 (aidgejax/assets/README.md).
    """
    with resources.files("aidgejax").joinpath("assets/digits.npz").open("rb") as f, np.load(f, allow_pickle=False) as z:
        return Dataset(
            x=z["x"].astype(np.float32)[:, None] / 16, target=z["target"].astype(np.int64), classes={"target": 10}
        )


def load_npz(path: Any) -> Dataset:
    """The arrays of a .npz file, one column each.  Raises DataError for what is no such file (pickles are refused)."""
    found = Dataset(npz_columns(path))
    found.source = os.fspath(path)
    return found


def npz_columns(path: Any) -> Arrays:
    """{name: array} of a .npz file, of any lengths.  Raises DataError."""
    if not os.path.exists(path):
        raise DataError(f"there is no file {os.fspath(path)!r}")
    try:
        return read_npz(path, DataError, ".npz file")
    except DataError as e:
        raise DataError(f"{os.fspath(path)!r} cannot be read as .npz: {e}") from None
