"""Rows that stay in their file: the same numbers, of the rows that are asked for."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.cli.data import load
from aidgejax.cli.settings import fingerprint
from aidgejax.errors import DataError
from aidgejax.training.columns import load_columns
from aidgejax.training.rows_in_file import RowsInFile, padded

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (600, 8, 8, 1)).astype(np.uint8)  # channels last, to be converted
Y = RNG.integers(0, 10, 600)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    more = {"x_test": X[:50], "y_test": Y[:50]}
    np.savez(folder / "stored.npz", x_train=X, y_train=Y, **more)
    np.savez_compressed(folder / "packed.npz", x_train=np.repeat(X, 40, 0), y_train=np.repeat(Y, 40), **more)
    (folder / "npy").mkdir()
    np.save(folder / "npy" / "x.npy", X.astype(np.float64))
    np.save(folder / "npy" / "y.npy", Y)
    for k in range(6):
        path = folder / "pictures" / f"class{k % 2}" / f"{k}.pgm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"P5 8 8 255\n" + X[k].tobytes())
    return folder


@pytest.mark.parametrize("name", ["stored.npz", "packed.npz", "npy/x.npy", "pictures"])
def test_what_a_command_makes_of_them_is_that_of_arrays(sources, name):
    """Held out, renamed, channels moved, converted: every step, of rows that are then read."""
    graph, path = aj.zoo.lenet(8), str(sources / name)
    layout = "NCHW" if name == "pictures" else "NHWC"
    (_, *whole), (_, *apart) = (load(path, graph, layout, in_file=k) for k in (False, True))
    for a, b in zip(whole, apart, strict=True):
        x = b.columns["x"]
        assert isinstance(x, RowsInFile) and x.dtype == np.float32 and x.shape == a.columns["x"].shape
        np.testing.assert_array_equal(x, a.columns["x"])
        np.testing.assert_array_equal(b.columns["target"], a.columns["target"])
        order = np.random.default_rng(1).permutation(len(a))[:7]
        np.testing.assert_array_equal(x[order], a.columns["x"][order])
        np.testing.assert_array_equal(x[1:3, :, 2], a.columns["x"][1:3, :, 2])
        np.testing.assert_array_equal(padded(x, 8), padded(a.columns["x"], 8))
        assert fingerprint(a.columns) == fingerprint(b.columns) and a.notes == b.notes


def test_a_row_is_read_when_it_is_asked_for():
    asked = []
    rows = RowsInFile(lambda k: asked.append(list(k)) or X[k], X.shape, X.dtype).take(slice(None, None, -1))
    np.testing.assert_array_equal(rows[2], X[597])
    assert asked == [[597]] and len(rows) == 600


def test_what_cannot_be_read_is_named(sources, tmp_path):
    data = (sources / "stored.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(data[:-2000])
    (tmp_path / "short.npy").write_bytes((sources / "npy" / "x.npy").read_bytes()[:-9])
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(DataError, match=path.name):
            load_columns(path, in_file=True)
    (sources / "pictures" / "class1" / "odd.pgm").write_bytes(b"P5 1 1 255\n0")
    data, _ = load_columns(sources / "pictures", in_file=True)
    with pytest.raises(DataError, match=r"odd.pgm' is \[1, 1, 1\]"):
        data.columns["x"][:]
