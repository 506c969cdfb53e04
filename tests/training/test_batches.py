"""Rows as other packages bring them, straight into fit: stand-ins that can do what those can, and the real ones."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import DataError
from aidgejax.training.columns import load_columns

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


class Tensor:
    """What torch's can do."""

    def __init__(self, a):
        self.a, self.dtype = a, a.dtype

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return self.a


class Loader:
    """torch's DataLoader: batches, the last one short."""

    def __iter__(self):
        return ((Tensor(X[k : k + 10]), Tensor(Y[k : k + 10])) for k in range(0, 24, 10))


class Indexed:
    """torch's Dataset, grain's MapDataset: rows by number."""

    def __len__(self):
        return 24

    def __getitem__(self, k):
        return {"x": X[k], "label": int(Y[k])}


class Streamed:
    """tf.data's Dataset."""

    def as_numpy_iterator(self):
        return iter([(X[:12], Y[:12]), (X[12:], Y[12:])])


class Columns:
    """Hugging Face's Dataset, whose iterator brings rows as Python lists."""

    column_names = ["x", "label"]

    def __init__(self, rows=slice(None)):
        self.rows = rows

    def __len__(self):
        return len(X[self.rows])

    def with_format(self, kind):
        assert kind == "numpy"
        return self

    def __getitem__(self, k):
        return {"x": X[self.rows][k], "label": Y[self.rows][k]}


class StreamedColumns:
    """Hugging Face's IterableDataset: rows one after another, and columns that hold nothing."""

    column_names = None

    def with_format(self, kind):
        assert kind == "numpy"
        return self

    def __getitem__(self, k):
        raise AttributeError("items")

    def __iter__(self):
        return ({"x": X[k], "label": Y[k]} for k in range(24))


SOURCES = {
    "streamed columns": StreamedColumns,
    "loader": Loader,
    "indexed": Indexed,
    "streamed": Streamed,
    "columns": Columns,
    "rows": lambda: [{"x": X[k], "y": Y[k]} for k in range(24)],
    "pairs": lambda: list(zip(X, Y, strict=True)),
    "arrays": lambda: (X, Y),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_row_arrives_in_order(kind):
    rows, test = load_columns(SOURCES[kind]())
    x, y = (next(rows.columns[k] for k in names if k in rows.columns) for names in (("x",), ("target", "label", "y")))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    assert test is None


def test_fit_takes_them_and_a_number_for_the_rate():
    graph = aj.Graph("g")
    graph.output(graph.op.MatMul(graph.input("x", ("N", 4)), graph.parameter("w", np.zeros((4, 2), np.float32))))
    program = aj.make_program(aj.with_loss(aj.infer_shapes(graph), "cross_entropy", reduction="rows"), training=True)
    want, _ = aj.fit(
        program, aj.optim.sgd(), aj.schedule.constant(0.1), aj.Dataset(x=X, target=Y), epochs=2, batch_size=8
    )
    for kind in ("loader", "columns"):
        state, _ = aj.fit(program, aj.optim.sgd(), 0.1, SOURCES[kind](), epochs=2, batch_size=8, test=Indexed())
        np.testing.assert_array_equal(state.params["w"], want.params["w"])


def test_splits_of_one_data_set_are_training_and_test_rows():
    training, test = load_columns({"train": Columns(slice(20)), "test": Columns(slice(20, None))})
    assert (len(training), len(test)) == (20, 4)


@pytest.mark.parametrize(
    "items, message",
    [
        ([], "brought no batch"),
        ([(X[0], 1), (X[0, :2], 1)], r"'x' comes in sizes \[4\] and \[2\]: rows of one size"),
        ([{"x": X[:2]}, {"z": X[:2]}], "item 1 brings 'z', and those before it 'x'"),
        ([("a word", 1)], "'x' holds <U6, which are no numbers"),
    ],
)
def test_what_does_not_fit_together_is_named(items, message):
    with pytest.raises(DataError, match=message):
        load_columns(items)


@pytest.mark.peer
def test_the_loader_of_torch():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    for source in (data, torch.utils.data.DataLoader(data, batch_size=10)):
        rows, _ = load_columns(source)
        np.testing.assert_array_equal(rows.columns["x"], X)
        np.testing.assert_array_equal(rows.columns["target"], Y)


@pytest.mark.peer
def test_the_data_sets_of_hugging_face():
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"x": X, "label": Y})
    for source in (data, data.with_format("numpy"), data.to_iterable_dataset(), datasets.DatasetDict(train=data)):
        rows, _ = load_columns(source)
        np.testing.assert_array_equal(rows.columns["x"], X)
        np.testing.assert_array_equal(rows.columns["label"], Y)
    fitted_as_arrays(data.to_iterable_dataset())


@pytest.mark.peer
def test_the_pipelines_of_grain():
    grain = pytest.importorskip("grain")
    data = grain.MapDataset.source(Indexed())
    for source in (data, data.batch(10), data.to_iter_dataset().batch(10)):
        rows, _ = load_columns(source)
        np.testing.assert_array_equal(rows.columns["x"], X)
        np.testing.assert_array_equal(rows.columns["label"], Y)
    fitted_as_arrays(data.to_iter_dataset().batch(10))


@pytest.mark.peer
def test_the_data_sets_of_tensorflow():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    for source in (data, data.batch(10), data.batch(10).prefetch(2), (tf.constant(X), tf.constant(Y))):
        rows, _ = load_columns(source)
        np.testing.assert_array_equal(rows.columns["x"], X)
        np.testing.assert_array_equal(rows.columns["target"], Y)
    fitted_as_arrays(data.batch(10))


def fitted_as_arrays(source):
    """fit makes of it what it makes of arrays."""
    graph = aj.Graph("g")
    graph.output(graph.op.MatMul(graph.input("x", ("N", 4)), graph.parameter("w", np.zeros((4, 2), np.float32))))
    program = aj.make_program(aj.with_loss(aj.infer_shapes(graph), "cross_entropy", reduction="rows"), training=True)
    got, want = (
        aj.fit(program, aj.optim.sgd(), 0.1, rows, epochs=2, batch_size=8)[0].params["w"]
        for rows in (source, aj.Dataset(x=X, target=Y))
    )
    np.testing.assert_array_equal(got, want)


class ClassLabel:
    names = ["dog", "cat", "bird"]


class Image:
    """A feature of Hugging Face's data sets, known by its name."""


class Text:
    dtype = "string"


class Pictures:
    """Hugging Face's Dataset of pictures, classes with names, and a text that no model takes."""

    features = {"picture": Image(), "kind": ClassLabel(), "caption": Text()}
    column_names = list(features)
    pixels = np.arange(24 * 6, dtype=np.uint8).reshape(24, 2, 3)

    def __init__(self, sizes=1, left=tuple(features)):
        self.sizes, self.left = sizes, left

    def with_format(self, kind):
        return self

    def remove_columns(self, names):
        return Pictures(self.sizes, tuple(k for k in self.left if k not in names))

    def __len__(self):
        return 24

    def __getitem__(self, k):
        pixels = self.pixels
        if self.sizes > 1:
            pixels = np.array([*self.pixels[:-1], self.pixels[0, :1]], object)
        whole = {"picture": pixels, "kind": np.arange(24) % 3, "caption": np.array(["a dog"] * 24)}
        return {name: whole[name] for name in self.left}


def test_pictures_and_names_of_classes_of_a_data_set_are_taken():
    graph = aj.Graph("g")
    flat = graph.op.Flatten(graph.input("x", ("N", 1, 2, 3)), axis=1)
    graph.output(graph.op.MatMul(flat, graph.parameter("w", np.zeros((6, 3), np.float32)), name="z"))
    rows, _ = load_columns(Pictures())
    np.testing.assert_allclose(rows.columns["picture"], Pictures.pixels[:, None].astype(np.float32) / 255)
    result = aj.train(graph, Pictures(), epochs=1)
    assert {
        "caption: text, left out",
        "picture: pictures, channels first, numbers from 0 to 1",
        "targets: the column 'kind', which holds classes",
        "classes: 0 dog, 1 cat, 2 bird",
    } <= set(result.notes)
    assert result.confusion(Pictures()).sum(1).tolist() == [8, 8, 8]
    with pytest.raises(DataError, match=r"'picture' comes in sizes \[2, 3\] and \[1, 3\]: rows of one size"):
        load_columns(Pictures(sizes=2))


def test_a_loader_of_a_data_set_with_classes_names_them():
    class Folder(Indexed):
        classes = ["cat", "dog"]

    loader = Loader()
    loader.dataset = Folder()
    assert load_columns(Folder())[0].class_names == load_columns(loader)[0].class_names == ("cat", "dog")
