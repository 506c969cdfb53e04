"""A stranger's model and a stranger's data, right the first time: pairs of a kind of model and a layout of data."""

import csv

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import aidgejax as aj
from aidgejax.errors import AidgeJaxError, DataError, GraphError, SettingError
from aidgejax.tools.task import fit_task
from aidgejax.tools.train import held_out, read_for_training

f = np.float32
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 6)).astype(f)
IMAGES = rng.normal(size=(40, 3, 4, 4)).astype(f)
Y = (X @ rng.normal(size=(6, 3))).argmax(1)


def model(nodes, inits, x, y):
    made = [h.make_node(op, i.split(), o.split(), **a) for op, i, o, a in ((*n, {})[:4] for n in nodes)]
    tensors = [nh.from_array(v if v.dtype == np.int64 else v.astype(f), k) for k, v in inits.items()]
    ends = [[h.make_tensor_value_info(n, T.FLOAT, s)] for n, s in (("x", x), ("y", y))]
    return h.make_model(h.make_graph(made, "g", *ends, tensors), opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def read(kind):
    return read_for_training(MODELS[kind]())


W = lambda *s: np.random.default_rng(1).normal(size=s) * 0.3
MODELS = {
    "classes": lambda: model([("Gemm", "x w b", "y")], {"w": W(6, 3), "b": W(3)}, ["N", 6], ["N", 3]),
    "batch of 1": lambda: model([("Gemm", "x w b", "y")], {"w": W(6, 3), "b": W(3)}, [1, 6], [1, 3]),
    "softmax": lambda: model(
        [("Gemm", "x w b", "z"), ("Softmax", "z", "y")], {"w": W(6, 3), "b": W(3)}, ["N", 6], ["N", 3]
    ),
    "logit": lambda: model([("Gemm", "x w b", "y")], {"w": W(6, 1), "b": W(1)}, ["N", 6], ["N", 1]),
    "sigmoid": lambda: model(
        [("Gemm", "x w b", "z"), ("Sigmoid", "z", "y")], {"w": W(6, 1), "b": W(1)}, ["N", 6], ["N", 1]
    ),
    "pixels": lambda: model(
        [("Conv", "x w", "y", {"pads": [1] * 4})], {"w": W(5, 3, 3, 3)}, ["N", 3, 4, 4], ["N", 5, 4, 4]
    ),
    "image classes": lambda: model(
        [("Conv", "x w", "c"), ("GlobalAveragePool", "c", "p"), ("Flatten", "p", "y")],
        {"w": W(3, 3, 3, 3)}, ["N", 3, 4, 4], ["N", 3],
    ),
    "pixels last": lambda: model(
        [("Conv", "x w", "c", {"pads": [1] * 4}), ("Transpose", "c", "z", {"perm": [0, 2, 3, 1]}),
         ("Softmax", "z", "y")],
        {"w": W(5, 3, 3, 3)}, ["N", 3, 4, 4], ["N", 4, 4, 5],
    ),
    "mask": lambda: model(
        [("Conv", "x w", "y", {"pads": [1] * 4})], {"w": W(1, 3, 3, 3)}, ["N", 3, 4, 4], ["N", 1, 4, 4]
    ),
    "pooled softmax": lambda: model(
        [("Conv", "x w", "c"), ("GlobalAveragePool", "c", "p"), ("Softmax", "p", "s", {"axis": 1}),
         ("Flatten", "s", "y")],
        {"w": W(3, 3, 3, 3)}, ["N", 3, 4, 4], ["N", 3],
    ),
    "softmax written out": lambda: model(
        [("Gemm", "x w b", "z"), ("ReduceMax", "z", "m", {"axes": [1]}), ("Sub", "z m", "d"), ("Exp", "d", "e"),
         ("ReduceSum", "e a", "t"), ("Div", "e t", "y")],
        {"w": W(6, 3), "b": W(3), "a": np.array([1])}, ["N", 6], ["N", 3],
    ),
}  # fmt: skip
HOT = np.eye(3, dtype=f)[Y]
SHARES = (HOT + 0.1) / HOT.dtype.type(1.3)
CELLS = rng.integers(0, 5, (40, 4, 4))
# (model, x, targets, its summary, scored by)
PAIRS = [
    ("classes", X, Y, "cross_entropy on y", "accuracy"),
    ("classes", X, Y[:, None], "cross_entropy on y", "accuracy"),
    ("classes", X, HOT, "cross_entropy on y", "accuracy"),
    ("classes", X, HOT.astype(np.int64), "cross_entropy on y", "accuracy"),
    ("classes", X, X[:, :3], "mse on y", "loss"),
    ("batch of 1", X, Y, "cross_entropy on y", "accuracy"),
    ("softmax", X, Y, "cross_entropy on z, the scores before Softmax 'y'", "accuracy"),
    ("softmax", X, HOT, "cross_entropy on z, the scores before Softmax 'y'", "accuracy"),
    ("logit", X, (Y > 0).astype(np.int64), "bce_logits on y", "accuracy"),
    ("logit", X, Y > 0, "bce_logits on y", "accuracy"),
    ("logit", X, X[:, 0], "mse on y", "loss"),
    ("logit", X, X[:, :1], "mse on y", "loss"),
    ("sigmoid", X, (Y > 0).astype(f), "bce_logits on z, the logits before Sigmoid 'y'", "accuracy"),
    ("pixels", IMAGES, rng.integers(0, 5, (40, 4, 4)), "cross_entropy on y", "accuracy"),
    ("pixels", IMAGES, rng.integers(0, 5, (40, 1, 4, 4)), "cross_entropy on y", "accuracy"),
    ("image classes", IMAGES, Y, "cross_entropy on y", "accuracy"),
    (
        "classes",
        X,
        Y.astype(f),
        "cross_entropy on y, whose float32 targets hold whole numbers, taken as classes",
        "accuracy",
    ),
    ("classes", X, Y.astype(np.uint8), "cross_entropy on y", "accuracy"),
    ("classes", X, SHARES, "soft_cross_entropy on y, whose targets are shares of classes", "accuracy"),
    (
        "logit",
        X,
        (Y > 0).astype(f),
        "mse on y; the targets are only 0 and 1: loss bce_logits trains a classifier of them",
        "loss",
    ),
    ("pixels", IMAGES, np.eye(5)[CELLS], "cross_entropy on y", "accuracy"),
    (
        "pixels last",
        IMAGES,
        CELLS,
        "cross_entropy on z, the scores before Softmax 'y', its classes on axis 3",
        "accuracy",
    ),
    ("mask", IMAGES, CELLS > 1, "bce_logits on y", "accuracy"),
    (
        "mask",
        IMAGES,
        (CELLS > 1).astype(np.uint8)[..., None] * 255,
        "bce_logits on y, whose targets 0 and 255 are taken as 0 and 1",
        "accuracy",
    ),
    ("pooled softmax", IMAGES, Y, "cross_entropy on p, the scores before Softmax 'y'", "accuracy"),
    ("softmax written out", X, Y, "cross_entropy on z, the scores before Softmax 'y'", "accuracy"),
]


@pytest.mark.parametrize(("kind", "x", "y", "summary", "score"), PAIRS)
def test_the_loss_fits(kind, x, y, summary, score):
    task = fit_task(read(kind)[0], {"x": x, "target": y})
    assert (task.summary, task.score) == (summary, score)
    assert task.graph.metadata["aidgejax.loss"] == summary


def test_the_reported_loss_is_that_of_the_written_model(tmp_path):
    """Behind a Softmax the loss used to be taken of a second softmax."""
    result = aj.train(MODELS["softmax"](), {"x": X, "y": Y}, epochs=30, lr=0.05)
    found = result.evaluate({"x": X, "y": Y})
    result.write(tmp_path / "m.onnx")
    (p,) = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]).run(None, {"x": X})
    np.testing.assert_allclose(found["loss"], -np.log(p[np.arange(40), Y]).mean(), rtol=1e-4)
    np.testing.assert_allclose(found["accuracy"], np.mean(p.argmax(1) == Y), rtol=1e-6)
    np.testing.assert_allclose(result.predict(X_ONLY)["y"], p, rtol=1e-4, atol=1e-6)
    assert found["accuracy"] > 0.8 and [o.name for o in onnx.load(tmp_path / "m.onnx").graph.output] == ["y"]


X_ONLY = {"x": X}


def test_a_binary_model_learns_and_is_scored():
    result = aj.train(
        MODELS["logit"](), (X, (X[:, 0] > 0).astype(np.int64)), epochs=40, lr=0.1, test=(X[:7], X[:7, 0] > 0)
    )
    assert result.evaluate((X, X[:, 0] > 0))["accuracy"] > 0.9 and "test_accuracy" in result.history[-1]


def test_a_fixed_batch_of_one_is_freed_and_said():
    _, notes = read("batch of 1")
    assert notes == ("batch: the file has a fixed batch of 1, read as 'N'",)


def save(folder, layout):
    if layout == "npz":
        np.savez(folder / "d.npz", x=X, target=Y)
    elif layout == "keras":
        np.savez(folder / "d.npz", x_train=X[:30], y_train=Y[:30], x_test=X[30:], y_test=Y[30:])
    elif layout == "unequal":
        np.savez(folder / "d.npz", x=X, target=Y, test_x=X[:9], test_target=Y[:9])
    elif layout == "capitals":
        np.savez(folder / "d.npz", X=X, Y=Y)
    elif layout == "npy":
        np.save(folder / "x.npy", X)
        np.save(folder / "y.npy", Y)
        return folder / "x.npy"
    elif layout == "csv":
        with open(folder / "d.csv", "w", newline="") as file:
            csv.writer(file).writerows([[*"abcdef", "label"], *([*r, "ABC"[t]] for r, t in zip(X, Y, strict=True))])
        return folder / "d.csv"
    return folder / "d.npz"


@pytest.mark.parametrize("layout", ["npz", "keras", "unequal", "capitals", "npy", "csv"])
def test_data_as_people_have_it(layout, tmp_path):
    training, test = aj.load_columns(save(tmp_path, layout))
    named = aj.columns_for(read("classes")[0], training)
    rows = {"keras": 30}.get(layout, 40)
    np.testing.assert_allclose(named.columns["x"], X[:rows], rtol=1e-6)
    assert np.array_equal(named.columns["target"], Y[:rows])
    assert (len(test) if test else None) == {"keras": 10, "unequal": 9}.get(layout)


def test_a_folder_of_images(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for k, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for n in range(count):
                pixels = np.full((4, 5, 3), 100 * k + n, np.uint8)
                (tmp_path / part / name / f"{n}.ppm").write_bytes(b"P6 5 4 255\n" + pixels.tobytes())
    training, test = aj.load_columns(tmp_path)
    assert training.columns["x"].shape == (6, 3, 4, 5) and len(test) == 4
    assert list(training.columns["target"]) == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(training.columns["x"][5], 102 / 255, rtol=1e-6)


def test_batches_of_any_kind():
    batches = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    assert np.array_equal(aj.load_columns(iter(batches))[0].columns["target"], Y)
    dicts = [{"x": X[:20], "target": Y[:20]}, {"x": X[20:], "target": Y[20:]}]
    assert np.array_equal(aj.load_columns(dicts)[0].columns["x"], X)


def test_channels_that_come_last_are_turned_when_asked_and_never_guessed():
    graph, nhwc = read("image classes")[0], np.moveaxis(IMAGES, 1, -1)
    with pytest.raises(DataError, match=r"channels last; say layout='NHWC'"):
        aj.columns_for(graph, aj.Dataset(x=nhwc, target=Y))
    turned = aj.columns_for(graph, aj.Dataset(x=nhwc, target=Y), layout="NHWC")
    assert np.array_equal(turned.columns["x"], IMAGES)


REFUSED = [
    ("softmax", Y, "nll", SettingError, "nll takes log-probabilities, and 'y' is written by Softmax"),
    ("classes", X[:, 0], "cross_entropy", DataError, "takes class indices, .* with fractions: take mse"),
    ("classes", X, "mse", DataError, r"mse compares with N, 3; the targets are float32\[N, 6\]"),
    ("classes", Y, "nope", SettingError, "no loss 'nope'; the losses are mse"),
]


@pytest.mark.parametrize(("kind", "y", "loss", "error", "message"), REFUSED)
def test_a_loss_that_does_not_fit_is_refused_with_its_cure(kind, y, loss, error, message):
    with pytest.raises(error, match=message):
        fit_task(read(kind)[0], {"x": X, "target": y}, loss)


HEADS = [
    ({"cls": Y, "box": X[:, :4]}, None, "cross_entropy on cls + mse on box", {"cls_accuracy"}, {"w", "v"}),
    (
        {"y_cls": Y, "box_target": X[:, :4]},
        ["cls", "box"],
        "cross_entropy on cls + mse on box",
        {"cls_accuracy"},
        {"w", "v"},
    ),
    ({"target": Y}, "cls", "cross_entropy on cls", {"accuracy"}, {"w"}),
    ({"target": X[:, :4]}, ["box"], "mse on box", set(), {"v"}),
]


@pytest.mark.parametrize(("targets", "output", "summary", "scores", "trained"), HEADS)
def test_one_or_several_outputs_are_compared(targets, output, summary, scores, trained):
    m = model([("MatMul", "x w", "cls"), ("MatMul", "x v", "box")], {"w": W(6, 3), "v": W(6, 4)}, ["N", 6], ["N", 3])
    del m.graph.output[:]
    m.graph.output.extend(h.make_tensor_value_info(k, T.FLOAT, ["N", n]) for k, n in (("cls", 3), ("box", 4)))
    result = aj.train(m, {"x": X, **targets}, epochs=1, batch_size=40, output=output)
    assert result.task.summary == summary and set(result.task.metrics) == scores and set(result.state.params) == trained
    before = {k: v for k, v in aj.onnxio.read(m).params.items() if k not in trained}
    assert all(np.array_equal(result.graph.params[k], v) for k, v in before.items())
    assert set(result.evaluate({"x": X, **targets})) == {"loss", *scores}
    if len(trained) == 2:
        scores = np.asarray(X @ W(6, 3), f)
        right = np.log(np.exp(scores).sum(1)) - scores[np.arange(40), Y]
        first = right + ((np.asarray(X @ W(6, 4), f) - X[:, :4]) ** 2).mean(1)
        np.testing.assert_allclose(result.history[0]["loss"], first.mean(), rtol=1e-5)
        with pytest.raises(DataError, match="the data lacks the targets of 'box': call them 'box' or 'box_target'"):
            fit_task(aj.onnxio.read(m), {"x": X, "cls": Y}, output=["cls", "box"])


def test_labels_out_of_range_say_what_they_may_mean():
    for labels, cure in (
        (Y + 1, "they run from 1 to 3: subtract 1"),
        (Y - 4 * (Y == 0) + 3 * (Y == 0), "ignore_index=-1"),
    ):
        with pytest.raises(DataError, match=cure):
            aj.train(MODELS["classes"](), (X, labels), epochs=1)


def test_labels_are_smoothed():
    """By the loss, so that labels stay labels: the accuracy of them is known, and weights and ignored ones count."""
    options = {"label_smoothing": 0.1, "weights": "balanced", "ignore_index": -1}
    labels = np.where(np.arange(len(Y)) % 5, Y, -1)
    task = fit_task(read("classes")[0], {"x": X, "target": labels}, **options)
    assert task.columns["target"].dtype == np.int64 and task.score == "accuracy"
    result = aj.train(MODELS["classes"](), (X, labels), epochs=2, **options)
    assert np.isfinite(result.history[-1]["loss"]) and "cross_entropy" in result.task.summary
    with pytest.raises(GraphError, match="the 'mse' loss has no option 'label_smoothing'"):
        fit_task(read("classes")[0], {"x": X, "target": X[:, :3]}, "mse", label_smoothing=0.1)


def test_ignored_labels_and_class_weights_are_the_losss_own():
    task = fit_task(read("classes")[0], {"x": X, "target": Y}, ignore_index=-1, weights=np.ones(3, f))
    node = task.graph.writer()["loss"]
    assert node.attrs["ignore_index"] == -1 and len(node.inputs) == 3


def test_nothing_to_train_is_an_error():
    with pytest.raises(GraphError, match=r"no parameter to train: the nearest to one is w"):
        aj.train(MODELS["classes"](), (X, Y), constants=["*"])


def test_what_is_not_read_says_what_is(tmp_path):
    (tmp_path / "d.txt").write_text("no")
    for source in (tmp_path / "d.txt", tmp_path / "none.npz", 3, tmp_path):
        with pytest.raises(AidgeJaxError, match=r"there is no file|an \.npz or \.csv file"):
            aj.load_columns(source)


def test_a_held_out_part_has_every_class():
    y = np.repeat([0, 1], [95, 5])
    rest, part = held_out(aj.Dataset(x=np.arange(100.0), target=y), 0.2)
    assert len(part) == 20 and part.columns["target"].sum() == 1 and len(rest) == 80


def test_rare_classes_weigh_more_and_pixels_are_counted_one_by_one():
    classes = rng.integers(0, 5, (40, 4, 4))
    classes[classes == 4] = 0
    classes[0, 0, 0] = 4
    result = aj.train(MODELS["pixels"](), {"x": IMAGES, "y": classes}, epochs=1, weights="balanced", ignore_index=3)
    (name,) = [p for p in result.task.graph.constants if "weights" in p]
    counts = np.bincount(classes[classes != 3], minlength=5)
    np.testing.assert_allclose(result.task.graph.constants[name], counts.sum() / (5 * np.maximum(counts, 1)), rtol=1e-6)
    confusion = result.confusion({"x": IMAGES, "y": classes})
    assert confusion.shape == (5, 5) and np.array_equal(confusion.sum(1), np.bincount(classes.ravel(), minlength=5))
    chosen = result.predict({"x": IMAGES})["y"].argmax(1)
    assert confusion[2, 1] == np.sum((classes == 2) & (chosen == 1))
    with pytest.raises(SettingError, match=r"class weights are \[1.0, 2.0\]; expected 5 numbers"):
        fit_task(read("pixels")[0], {"x": IMAGES, "target": classes}, weights=[1, 2])
    with pytest.raises(SettingError, match="a confusion matrix is of classes; this is mse on y"):
        aj.train(MODELS["classes"](), (X, X[:, :3]), epochs=1).confusion((X, X[:, :3]))


def test_one_row_is_tested():
    result = aj.train(MODELS["classes"](), (X[:3], np.arange(3)), epochs=1, test=(X[3:4], np.array([1])))
    assert np.isfinite(result.history[-1]["test_loss"])
