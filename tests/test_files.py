"""Writing whole or not at all, and archives that are not trusted."""

import errno
import io
import os
import random
import struct
import zipfile

import numpy as np
import pytest

from aidgejax import dtypes
from aidgejax.errors import DataError
from aidgejax.files import Archive, open_regular, parse_npy, read_npz, whole_file, write_atomically, write_set


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a [1]*.bin"
    write_atomically(b"old", path)
    with pytest.raises(RuntimeError), whole_file(path) as f:
        f.write(b"half of the n")
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [path.name]
    with pytest.raises(FileExistsError), whole_file(path, replace=False) as f:
        f.write(b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [path.name]


def test_a_set_of_files_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    first, second = str(tmp_path / "a"), str(tmp_path / "b")
    write_set({first: b"one", second: b"two"})
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_set({first: b"new", str(tmp_path / "folder"): b""})
    synced, fsync = [], os.fsync

    def full(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_set({first: b"new", second: b"new"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == {"a": b"one", "b": b"two"}


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".m.tmp-00").write_bytes(b"half")
    with whole_file(tmp_path / "m") as f:
        write_atomically(b"other", tmp_path / "n")  # beside a writer that is alive
        f.write(b"whole")
    assert sorted(os.listdir(tmp_path)) == ["m", "n"]


def npz(compressed=False, **arrays):
    f = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(f, **arrays)
    return f.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back(compressed):
    arrays = {
        "x": np.arange(6, dtype=np.float32).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "scalar": np.float64(3),
        "empty": np.zeros((0, 4), np.uint8),
        "text": np.array(["a", "bc"]),
        "flags": np.array([True, False]),
    }
    found = read_npz(npz(compressed, **arrays), DataError, "file")
    assert list(found) == list(arrays)
    for k, a in arrays.items():
        np.testing.assert_array_equal(found[k], a)
        assert found[k].dtype == a.dtype


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_is_never_silent_and_of_one_family(compressed):
    draw, rng = random.Random(0), np.random.default_rng(0)
    good = npz(compressed, w=rng.normal(size=(30, 7)).astype("f4"), b=rng.integers(0, 9, 40))
    wanted = {k: v.tobytes() for k, v in read_npz(good, DataError, "file").items()}
    refused = 0
    for _ in range(400):
        k = draw.choice([draw.randrange(len(good)), len(good) - 1 - draw.randrange(300)])
        bad = draw.choice([
            good[:k] + bytes([good[k] ^ 1 << draw.randrange(8)]) + good[k + 1 :],
            good[:k],
            good[:k] + good[k + draw.randrange(1, 30) :],
            good[:k] + draw.randbytes(3) + good[k:],
        ])  # fmt: skip
        try:
            assert {n: a.tobytes() for n, a in read_npz(bad, DataError, "file").items()} == wanted
        except DataError:
            refused += 1
    assert refused > 350


def npy(shape, descr="<f4", body=b"", more=""):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, {more}}}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + body


def zipped(content, compression=zipfile.ZIP_DEFLATED):
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", compression) as z:
        z.writestr("x.npy", content)
    return f.getvalue()


@pytest.mark.parametrize("content, message", [
    (npy((1 << 38,), body=bytes(64)), r"float32\[274877906944\] in 64 bytes"),
    (npy((1 << 62, 1 << 62)), "in 0 bytes"),
    (npy((-2, -2), body=bytes(16)), r"shape \(-2, -2\)"),
    (npy((2,), "|O", bytes(16)), "pickled objects are refused"),
    (npy((2,), "<q9", bytes(16)), "damaged"),
    (npy((2,), more="'a': 1", body=bytes(8)), "without descr, fortran_order and shape"),
    (b"\x93NUMPY\x02\0" + struct.pack("<I", 1 << 31) + b"x" * 64, "header of 2147483648 bytes"),
    (b"\x80\x04\x95 a pickle", "pickles are refused"),
    (b"", "pickles are refused"),
    (bytes(1 << 26), "unfold to more than"),
])  # fmt: skip
def test_hostile_arrays(content, message):
    with pytest.raises(DataError, match=message):
        read_npz(zipped(content), DataError, "file")


def test_hostile_archives(tmp_path):
    good = zipped(npy((2,), body=bytes(8)), zipfile.ZIP_STORED)
    at = good.rfind(b"PK\1\2")
    locked = bytearray(good)
    locked[6] |= 1
    locked[at + 8] |= 1
    with pytest.raises(DataError, match="encrypted"):
        read_npz(bytes(locked), DataError, "file")
    strange = bytearray(good)
    strange[8] = strange[at + 10] = 99
    with pytest.raises(DataError, match="compressed in a way that is unknown"):
        read_npz(bytes(strange), DataError, "file")
    with pytest.raises(DataError, match=r"file 'a' is refused: its member 'x\.npy' is compressed, which files are not"):
        with Archive(zipped(bytes(99)), DataError, "file", name="a"):
            pass
    os.mkfifo(tmp_path / "pipe")
    for place, message in [("pipe", "a device or a pipe"), (".", "Is a directory"), ("none", "No such file")]:
        with pytest.raises(DataError, match=f"cannot open file .*{message}"):
            open_regular(tmp_path / place, DataError, "file")
    with pytest.raises(DataError, match="a device or a pipe"):
        open_regular("/dev/zero", DataError, "file")


def test_every_dtype_has_its_name_and_its_bits():
    assert dtypes.ONNX_CODES["bfloat16"] == 16 and dtypes.bits("int4") == 4 and dtypes.bits("complex64") == 64
    assert all(d.name == name for name, d in dtypes.DTYPES.items())
    assert {n for n, d in dtypes.DTYPES.items() if np.zeros(1, d).dtype != d} == set()
    assert parse_npy(npy((1,), "<f8", bytes(8))).dtype == "float64"
