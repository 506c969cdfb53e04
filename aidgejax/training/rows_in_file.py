"""Rows that stay in their file until they are asked for: of several processes each reads those that it keeps.

    x = columns_in_file("d.npz")["x"]        # shape and dtype are known, no row has been read
    x.take(order).mapped(scaled)[8:16]       # now eight are, and scaled

Of .npy and of uncompressed .npz files the rows themselves are read; a compressed member is unpacked piece by piece up
to the last row that is wanted, so each look at it costs a walk through it.
"""

from __future__ import annotations

import itertools
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError
from ..files import DAMAGE, Archive

Read = Callable[[np.ndarray], np.ndarray]
BLOCK = 1 << 24  # bytes that are read at once where all rows are walked over


class RowsInFile:
    """An array of which rows are read when they are indexed: by a slice, row numbers or a mask, then as NumPy would.

    read: f(row numbers) -> these rows.  shape, dtype: of all of them.
    """

    def __init__(self, read: Read, shape: tuple[int, ...], dtype: Any) -> None:
        self._read, self.shape, self.dtype = read, tuple(shape), np.dtype(dtype)

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, *rest = index if isinstance(index, tuple) else (index,)
        chosen = np.arange(len(self))[rows]
        found = self._read(np.atleast_1d(chosen)) if np.size(chosen) else np.empty((0, *self.shape[1:]), self.dtype)
        return found[(0 if np.ndim(chosen) == 0 else slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def take(self, rows: Any) -> RowsInFile:
        """Some of the rows, of which none is read yet."""
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        return RowsInFile(lambda rows: self._read(chosen[rows]), (len(chosen), *self.shape[1:]), self.dtype)

    def mapped(self, f: Callable[[np.ndarray], np.ndarray]) -> RowsInFile:
        """f of the rows that are read; f makes a row of each row, and is asked about one for the shape and dtype."""
        one = f(self[:1])
        return RowsInFile(lambda rows: f(self._read(rows)), (len(self), *one.shape[1:]), one.dtype)

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows, some of them at a time."""
        each = max(1, BLOCK // max(1, self.nbytes // max(1, len(self))))
        return (self[at : at + each] for at in range(0, len(self), each))


def columns_in_file(path: Path) -> dict[str, Any]:
    """{name: array} of an .npz file or {stem: array} of an .npy file: a RowsInFile for each, but what is one number or
    text a row is read at once.  Raises DataError."""
    if path.suffix.lower() == ".npy":
        try:
            a = np.load(path, mmap_mode="r", allow_pickle=False)
            if a.ndim < 2 or a.dtype.kind not in "fiub" or not a.flags.c_contiguous or not isinstance(a, np.memmap):
                return {path.stem: np.array(a)}
            return {path.stem: RowsInFile(_stored(path, a.dtype, a.offset, a.shape), a.shape, a.dtype)}
        except (ValueError, OSError, EOFError) as e:
            raise DataError(f"{str(path)!r} is no array that can be read: {e}") from None
    found: dict[str, Any] = {}
    with Archive(path, DataError, ".npz file", deflated=True) as archive:
        for name, info in archive.members.items():
            if not name.endswith(".npy"):
                archive.refuse(f"its member {name[:100]!r} is no .npy array")
            try:
                found[name.removesuffix(".npy")] = _member(archive, info)
            except DAMAGE as e:
                raise archive.damaged(e, f"its member {name[:100]!r}: ") from None
    return found


def pictures_in_files(files: list[Any], read: Callable[[Any], np.ndarray]) -> RowsInFile:
    """Images of one size, each in a file of its own."""
    first = read(files[0])
    return RowsInFile(lambda rows: np.stack([read(files[r]) for r in rows]), (len(files), *first.shape), first.dtype)


def by_rows(column: Any, f: Callable[[np.ndarray], np.ndarray]) -> Any:
    """f(column), of rows in a file as they are read."""
    return column.mapped(f) if isinstance(column, RowsInFile) else f(column)


def padded(column: Any, ways: int) -> Any:
    """The column, and rows of zeros up to a multiple of `ways`."""
    short = -len(column) % ways
    if not short:
        return column
    shape = (short, *column.shape[1:])
    if not isinstance(column, RowsInFile):
        return np.concatenate([column, np.zeros(shape, column.dtype)])
    count = len(column)

    def read(rows: np.ndarray) -> np.ndarray:
        found = np.zeros((len(rows), *shape[1:]), column.dtype)
        found[rows < count] = column[rows[rows < count]]
        return found

    return RowsInFile(read, (count + short, *shape[1:]), column.dtype)


def _stored(path: Any, dtype: np.dtype, begin: int, shape: tuple[int, ...]) -> Read:
    """Rows that lie one after another.  Not mapped: around each row that is touched, Linux would keep many pages."""

    def read(rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *shape[1:]), dtype)
        width = found[:1].nbytes
        bounds = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1), len(rows)]
        flat = found.reshape(-1).view(np.uint8).data
        with open(path, "rb") as f:
            for at, upto in itertools.pairwise(bounds):
                f.seek(begin + int(rows[at]) * width)
                if f.readinto(flat[at * width : upto * width]) != (upto - at) * width:
                    raise DataError(f"{str(path)!r} changed while it was read: it has become shorter")
        return found

    return read


def _member(archive: Archive, info: zipfile.ZipInfo) -> Any:
    with archive.archive.open(info) as member:
        shape, fortran, dtype, start = _header(member)
    if info.file_size != start + math.prod(shape) * dtype.itemsize or dtype.hasobject:
        archive.refuse(f"its member {info.filename[:100]!r} does not have the bytes that its header says")
    if fortran or len(shape) < 2 or dtype.kind not in "fiub":  # text, or a number a row
        return archive.read_npy(info.filename)
    if info.compress_type != zipfile.ZIP_STORED:
        return RowsInFile(_unpacked(archive.name, info.filename, shape, dtype, start), shape, dtype)
    archive.file.seek(info.header_offset + 26)  # of the local header: its lengths of name and extra field
    lengths = archive.file.read(4)
    begin = info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    return RowsInFile(_stored(archive.name, dtype, begin + start, shape), shape, dtype)


def _unpacked(path: str, name: str, shape: tuple[int, ...], dtype: np.dtype, start: int) -> Read:
    width = math.prod(shape[1:]) * dtype.itemsize

    def read(rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *shape[1:]), dtype)
        order = np.argsort(rows, kind="stable")
        each, at, done = max(1, BLOCK // max(1, width)), 0, 0
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            member.read(start)
            while done < len(order):
                count = min(each, shape[0] - at)
                data = member.read(count * width)
                if len(data) != count * width:
                    raise DataError(f"{path!r} changed while it was read: {name!r} has become shorter")
                block = np.frombuffer(data, dtype).reshape(count, *shape[1:])
                upto = int(np.searchsorted(rows[order], at + count))
                found[order[done:upto]] = block[rows[order[done:upto]] - at]
                done, at = upto, at + count
        return found

    return read


def _header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """(shape, whether in Fortran's order, dtype, where the numbers begin) of a file in NumPy's format."""
    file: BinaryIO = member
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype, file.tell()
