"""Classes that have names, and rows that fit a model in one way only."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import DataError

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 4)).astype("float32")
KINDS = np.array(["ant", "bee", "cow"])
Y = np.arange(12) % 3


def test_the_model_keeps_the_names_and_finds_them_in_other_data(tmp_path):
    data = {"x_train": X, "y_train": KINDS[Y], "x_test": X[Y > 0], "y_test": KINDS[Y[Y > 0]].astype("S")}
    result = aj.train(aj.zoo.mlp((4, 3)), data, epochs=1, batch_size=12)
    assert "classes: 0 ant, 1 bee, 2 cow" in result.notes
    result.write(tmp_path / "m.onnx")
    graph = aj.onnxio.read(tmp_path / "m.onnx")
    part = aj.columns_for(graph, aj.load_columns({"x": X[Y > 0], "y": KINDS[Y[Y > 0]]})[0])
    assert np.array_equal(part.columns["target"], Y[Y > 0])
    with pytest.raises(DataError, match="the data has the class 'elk'; the model knows 'ant', 'bee', 'cow'"):
        result.evaluate({"x": X, "y": np.array(["ant", "bee", "elk"])[Y]})


FITS = {
    "flat grey images": ((1, 2, 2), (4,), [1, 2, 2]),
    "grey images without a channel": ((1, 2, 2), (2, 2), [1, 2, 2]),
    "grey images with a channel": ((2, 2), (1, 2, 2), [2, 2]),
    "images for flat rows": ((4,), (1, 2, 2), [4]),
}


@pytest.mark.parametrize("name", FITS)
def test_rows_that_fit_in_one_way_are_taken_and_it_is_said(name):
    shape, given, taken = FITS[name]
    graph = aj.Graph("g")
    graph.input("x", ("N", *shape))
    rows = aj.columns_for(graph, aj.Dataset(x=X.reshape(12, *given)))
    assert list(rows.columns["x"].shape[1:]) == taken and np.array_equal(rows.columns["x"].ravel(), X.ravel())
    assert rows.notes == (f"x: rows of {list(given)} are taken as {taken}",)


def test_colours_are_not_guessed_and_integers_not_scaled():
    graph = aj.Graph("g")
    graph.input("x", ("N", 2, 2, 2))
    assert aj.columns_for(graph, aj.Dataset(x=np.tile(X, 2))).columns["x"].shape == (12, 8)
    pixels = rng.integers(0, 255, (12, 2, 3, 2)).astype(np.uint8)
    graph = aj.Graph("g")
    graph.input("x", ("N", 2, 3, 2))
    (notes,) = aj.columns_for(graph, aj.Dataset(x=pixels)).notes
    assert notes == f"x: numbers from {pixels.min()} to {pixels.max()} as the data has them, not scaled"


def test_rows_that_are_not_finite_are_said():
    x = np.zeros((6, 4), np.float32)
    x[2, 1], x[5, 0] = np.nan, np.inf
    data = aj.Dataset(x=x, target=np.arange(6) % 2)
    assert aj.columns_for(aj.zoo.mlp((4, 3, 2)), data).notes == (
        "not finite: 'x' holds NaN or infinity in 2 rows of 6, the first is row 2",
    )
    assert aj.columns_for(aj.zoo.mlp((4, 3, 2)), data[:2]).notes == ()
