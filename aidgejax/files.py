"""Files: written whole or not at all, and read without believing what they say of themselves."""

from __future__ import annotations

import ast
import errno
import io
import math
import os
import re
import secrets
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from .errors import AidgeJaxError

try:
    import fcntl as _fcntl
except ImportError:  # not on Windows, where a file that is being written cannot be removed anyway
    fcntl: Any = None
else:
    fcntl = _fcntl

CHUNK = 1 << 22
# What an archive may unfold to: a data set of labels deflates to a twentieth, a bomb to a thousandth.
INFLATION, SLACK = 50, 32 << 20
# What zipfile, json and the file system raise about a file that is not as it should be.
DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    RuntimeError,  # NotImplementedError and RecursionError are of it
    MemoryError,
    OverflowError,
)


# ---- writing ------------------------------------------------------------------------------------------


def write_atomically(data: bytes, path: str | os.PathLike[str]) -> None:
    """These bytes under that name, or what was there before.  Raises OSError."""
    with whole_file(path) as f:
        f.write(data)


def write_set(files: Mapping[str, bytes]) -> None:
    """These files, {path: bytes}, or what was there before of all of them; the first takes its name last.

    Each is written and forced to disk before any takes its name: a full disk changes nothing.  Raises OSError.
    """
    for path in files:
        if os.path.isdir(path):
            raise IsADirectoryError(f"{path!r} is a folder")
    with ExitStack() as stack:
        held = [stack.enter_context(whole_file(path)) for path in files]
        for file, data in zip(held, files.values(), strict=True):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def whole_file(path: str | os.PathLike[str], *, replace: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name when all has been written and forced to disk.

    Whoever is killed while writing leaves the old file; what killed writers left is removed by the next one.
    replace=False raises FileExistsError where the name has been taken meanwhile.  A device or a pipe is written to: a
    file in its place would be of no use to anybody.  An OSError names the file.
    """
    target = Path(os.path.realpath(path))
    try:
        if _is_stream(target):
            if not replace:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            with open(target, "wb") as file:
                yield file
            return
        with _new_file(target, replace) as file:
            yield file
    except OSError as e:
        raise OSError(e.errno, e.strerror or str(e), os.fspath(path)) from None


def _is_stream(path: Path) -> bool:
    """Whether there is something under the name that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextmanager
def _new_file(target: Path, replace: bool) -> Iterator[BinaryIO]:
    _remove_leftovers(target)
    temporary = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        with open(descriptor, "w+b") as file:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells others that this one is not a leftover
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl:  # while the lock holds
                _take_name(temporary, target, replace)
        if not fcntl:
            _take_name(temporary, target, replace)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _take_name(temporary: Path, target: Path, replace: bool) -> None:
    if replace:
        os.replace(temporary, target)
    else:
        os.link(temporary, target)
        os.unlink(temporary)


def _prefix(path: Path) -> str:
    return f".{path.name[:200]}.tmp-"


def _remove_leftovers(path: Path) -> None:
    """Delete what a killed writer of the same file left; one that is still writing holds a lock."""
    pattern = re.sub(r"([*?[])", r"[\1]", _prefix(path))
    for leftover in path.parent.glob(f"{pattern}*"):
        try:
            with open(leftover, "rb") as file:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink(missing_ok=True)
        except OSError:
            continue


# ---- reading ------------------------------------------------------------------------------------------


def open_regular(path: str | os.PathLike[str], error: type[AidgeJaxError], what: str) -> BinaryIO:
    """The file opened for reading, if it is one: a folder, a device or a pipe is refused before it is read from."""
    name = os.fspath(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError, TypeError) as e:
        raise error(f"cannot open {what} {name!r}: {getattr(e, 'strerror', None) or e}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        folder = os.path.isdir(path)
        raise error(f"cannot open {what} {name!r}: {'Is a directory' if folder else 'it is a device or a pipe'}")
    return open(descriptor, "rb")


class Archive:
    """A zip file that is not trusted: `with Archive(path, error, what) as a: a.read(name)`.

    Members may be stored, or deflated where `deflated` allows it; all of them together may unfold to INFLATION times
    the file's size and SLACK bytes.  Every defect is raised as `error`, a class of ours; nothing is written to disk.
    source: a path, or the bytes of an archive inside another, whose `budget` is then given.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes,
        error: type[AidgeJaxError],
        what: str,
        *,
        deflated: bool = False,
        name: str | None = None,
        budget: int | None = None,
    ) -> None:
        self.source, self.error, self.what, self.deflated = source, error, what, deflated
        self.name = name or ("" if isinstance(source, bytes) else os.fspath(source))
        self.budget = budget
        self.members: dict[str, zipfile.ZipInfo] = {}
        self._packed = self._unpacked = 0

    def __enter__(self) -> Archive:
        if isinstance(self.source, bytes):
            self.file: BinaryIO = io.BytesIO(self.source)
        else:
            self.file = open_regular(self.source, self.error, self.what)
        try:
            self.size = self.file.seek(0, os.SEEK_END)
            self.file.seek(0)
            if self.budget is None:
                self.budget = INFLATION * self.size + SLACK if self.deflated else self.size
            self.archive = zipfile.ZipFile(self.file)
            for info in self.archive.infolist():
                self._admit(info)
            self._check_end()
        except self.error:
            self.file.close()
            raise
        except DAMAGE as e:
            self.file.close()
            raise self.damaged(e) from None
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def _admit(self, info: zipfile.ZipInfo) -> None:
        name = info.filename
        if name in self.members:
            self.refuse(f"it has its member {name[:100]!r} twice")
        if info.flag_bits & 1:
            self.refuse(f"its member {name[:100]!r} is encrypted")
        stored = info.compress_type == zipfile.ZIP_STORED
        if not stored and not (self.deflated and info.compress_type == zipfile.ZIP_DEFLATED):
            self.refuse(
                f"its member {name[:100]!r} is compressed"
                + (" in a way that is unknown" if self.deflated else f", which {self.what}s are not")
            )
        if stored and info.compress_size != info.file_size or min(info.compress_size, info.file_size) < 0:
            self.refuse(f"its member {name[:100]!r} contradicts itself about its size")
        self.members[name] = info
        self._packed += info.compress_size
        self._unpacked += info.file_size
        if self._packed > self.size:
            self.refuse("its members claim more bytes than the file has")
        if self._unpacked > (self.budget or 0):
            self.refuse(
                f"its members claim to unfold to more than {self.budget:,} bytes, {INFLATION} times what it holds"
            )

    def _check_end(self) -> None:
        """The last record agrees with what was found: zipfile would pass over an entry that it hides."""
        self.file.seek(max(0, self.size - 22))
        record = self.file.read(22)
        signature, _, _, here, entries, length, start, comment = struct.unpack("<4s4H2LH", record)
        if signature != b"PK\5\6" or comment or here != entries:
            self.refuse("it does not end as an archive does")
        if entries != 0xFFFF and entries != len(self.members):
            self.refuse(f"it claims {entries} members and lists {len(self.members)}")
        if 0xFFFFFFFF not in (length, start) and start + length != self.size - 22:
            self.refuse("its list of members is not where it should be")

    def read(self, name: str) -> bytearray:
        """All bytes of a member, its CRC compared."""
        if name not in self.members:
            self.refuse(f"it has no member {name!r}")
        info = self.members[name]
        if info.compress_type == zipfile.ZIP_STORED:
            data = bytearray(info.file_size)
            self.fill(name, memoryview(data))
            return data
        try:  # piece by piece: memory grows with what is there, not with what is claimed
            data = bytearray()
            with self.archive.open(info) as member:
                while chunk := member.read(CHUNK):
                    data += chunk
        except DAMAGE as e:
            raise self.damaged(e) from None
        if len(data) != info.file_size:
            self.refuse(f"its member {name!r} does not have the {info.file_size} bytes that it claims")
        return data

    def fill(self, name: str, view: memoryview) -> None:
        """Read a member, which must have as many bytes as `view`, into it."""
        try:
            with self.archive.open(self.members[name]) as member:
                done = 0
                while chunk := member.read(min(CHUNK, len(view) - done)):
                    view[done : done + len(chunk)] = chunk
                    done += len(chunk)
                if done < len(view) or member.read(1):
                    self.refuse(f"its member {name!r} does not have the {len(view)} bytes that it claims")
        except self.error:
            raise
        except DAMAGE as e:
            raise self.damaged(e) from None

    def read_npy(self, name: str) -> np.ndarray:
        """A member in NumPy's format: numbers or text, never pickled objects."""
        data = self.read(name)
        try:
            return parse_npy(data)
        except DAMAGE as e:
            raise self.damaged(e, f"its member {name[:100]!r}: ") from None

    def damaged(self, e: BaseException, where: str = "") -> AidgeJaxError:
        text = f"{type(e).__name__}: {e}" if str(e) else type(e).__name__
        return self.error(f"{self.what} {self.name!r} is damaged, or not a {self.what}: {where}{text[:300]}")

    def refuse(self, why: str) -> NoReturn:
        raise self.error(f"{self.what} {self.name!r} is refused: {why}")


def read_npz(
    source: str | os.PathLike[str] | bytes,
    error: type[AidgeJaxError],
    what: str,
    *,
    name: str | None = None,
    budget: int | None = None,
) -> dict[str, np.ndarray]:
    """{name: array} of an .npz file, stored or compressed.  Raises `error` for whatever is wrong with it."""
    with Archive(source, error, what, deflated=True, name=name, budget=budget) as archive:
        found = {}
        for member in archive.members:
            if not member.endswith(".npy"):
                archive.refuse(f"its member {member[:100]!r} is no .npy array")
            found[member.removesuffix(".npy")] = archive.read_npy(member)
        return found


def parse_npy(data: bytes | bytearray) -> np.ndarray:
    """The array of an .npy file's bytes, and its size is what the header says, to the byte.

    Raises ValueError and its subclasses.  Source: numpy.lib.format's description of versions 1.0 to 3.0.
    """
    if bytes(data[:6]) != b"\x93NUMPY" or len(data) < 12:
        raise ValueError("it does not begin as an .npy array does (pickles are refused)")
    version, width = data[6], 2 if data[6] == 1 else 4
    if version not in (1, 2, 3):
        raise ValueError(f"version {version} of the .npy format is unknown")
    start = 8 + width
    length = int.from_bytes(data[8:start], "little")
    if length > min(len(data) - start, 10_000):
        raise ValueError(f"an .npy header of {length} bytes")
    header = ast.literal_eval(bytes(data[start : start + length]).decode("utf-8" if version == 3 else "latin1"))
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError("an .npy header without descr, fortran_order and shape")
    descr, shape, fortran = header["descr"], header["shape"], header["fortran_order"]
    if not isinstance(descr, str) or not isinstance(fortran, bool):
        raise ValueError(f"an array of dtype {str(descr)[:100]}: expected numbers")
    dtype = np.dtype(descr)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"an array of dtype {dtype}: pickled objects are refused; save numbers, .astype('float32')")
    if not isinstance(shape, tuple) or len(shape) > 64 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"an array of shape {str(shape)[:100]}")
    if math.prod(shape) * dtype.itemsize != len(data) - start - length:
        raise ValueError(f"{dtype}{list(shape)} in {len(data) - start - length} bytes")
    flat = np.frombuffer(data, dtype, offset=start + length)
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)
