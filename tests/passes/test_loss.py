"""with_loss: one line from a model to a graph that can be trained."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from aidgejax import NumpyProgram, onnxio, reference
from aidgejax.errors import GraphError
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes.loss import LOSSES, with_loss, with_scores
from tests.both_passes import both_passes

RNG = np.random.default_rng(5)
W = RNG.normal(size=4).astype(np.float32)


def model(shape=("N", 4)):
    g = Graph("model")
    x, w = g.input("x", shape), g.parameter("w", W)
    g.output(g.op.Mul(x, w, name="scores"))
    return infer_shapes(g)


def batch_for(loss, n):
    x = RNG.normal(size=(n, 4)).astype(np.float32)
    if LOSSES[loss][1] == "classes":
        return {"x": x, "target": RNG.integers(0, 4, n)}
    return {"x": x, "target": RNG.uniform(0.1, 0.9, (n, 4)).astype(np.float32)}


def prediction_for(loss):
    """A model whose output suits the loss: probabilities for bce, log-probabilities for nll."""
    g = model()
    if loss in ("bce", "nll"):
        (scores,) = g.outputs
        g.outputs = []
        g.output(g.op.Sigmoid(scores) if loss == "bce" else g.op.LogSoftmax(scores, axis=-1))
    return infer_shapes(g)


@pytest.mark.parametrize("reduction", ["mean", "sum", "rows", "none"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_at_any_batch_size(loss, reduction):
    graph = with_loss(prediction_for(loss), loss, reduction=reduction)
    assert graph.outputs[-1] == "loss" and len(graph.outputs) == 2
    program = make_program(graph)
    assert program.seeds == ("loss",)
    assert program.graph.value("loss") == graph.value("loss")  # what with_loss declares is what lowering finds
    for n in (2, 5):
        batch = batch_for(loss, n)
        ones = lambda outputs: {"loss": np.ones(np.shape(outputs["loss"]), np.float32)}
        outputs, grads, _ = both_passes(program, program.graph.params, {}, batch, ones)
        found = reference.execute(program.graph, batch)
        np.testing.assert_allclose(outputs["loss"], found["loss"], rtol=1e-5)
        plain = reference.gradients(program.graph, found, ones(outputs), ["w"])
        np.testing.assert_allclose(grads["w"], plain["w"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_average_to_the_mean(loss):
    batch = batch_for(loss, 4)
    values = {}
    for reduction in ("mean", "rows", "none", "sum"):
        program = make_program(with_loss(prediction_for(loss), loss, reduction=reduction))
        forward = jax.jit(lambda params, batch, program=program: program.forward(params, {}, batch)[0])
        values[reduction] = forward(program.graph.params, batch)["loss"]
    assert values["rows"].shape == (4,)
    np.testing.assert_allclose(np.mean(values["rows"]), values["mean"], rtol=1e-5)
    np.testing.assert_allclose(np.mean(values["none"]), values["mean"], rtol=1e-5)
    np.testing.assert_allclose(np.sum(values["none"]), values["sum"], rtol=1e-5)


def test_rows_of_a_segmentation_are_means_over_positions():
    g = Graph("segmentation")
    g.output(g.op.Identity(g.input("x", ("N", 3, 2, 2))))
    graph = with_loss(infer_shapes(g), "cross_entropy", reduction="rows")
    assert str(graph.value("target")) == "target:int64[N, 2, 2]"
    assert graph.value("loss").shape == ("N",)
    batch = {"x": RNG.normal(size=(5, 3, 2, 2)).astype(np.float32), "target": RNG.integers(0, 3, (5, 2, 2))}
    got = reference.execute(graph, batch)["loss"]
    each = reference.execute(with_loss(infer_shapes(g), "cross_entropy", reduction="none"), batch)["loss"]
    np.testing.assert_allclose(got, each.mean(axis=(1, 2)), rtol=1e-6)


def test_the_graph_itself_stays_as_it_is():
    g = model()
    before = str(g)
    with_loss(g, "mse")
    assert str(g) == before


def test_names_and_targets_are_the_callers():
    g = model()
    g.output(g.op.Relu("scores", name="extra"))
    graph = with_loss(infer_shapes(g), "l1", prediction="extra", target="wanted", name="distance")
    assert graph.outputs == ["scores", "extra", "distance"]
    assert str(graph.inputs["wanted"]) == "wanted:float32[N, 4]"


def test_class_weights_and_ignored_rows():
    weights = [0.5, 1.0, 2.0, 4.0]
    graph = with_loss(model(), "cross_entropy", weights=weights, ignore_index=-1)
    assert graph.producers["loss.weights"].role == "constant"
    x, labels = RNG.normal(size=(4, 4)).astype(np.float32), np.array([3, -1, 0, -1])
    found = reference.execute(graph, {"x": x, "target": labels})
    kept = reference.execute(graph, {"x": x[[0, 2]], "target": labels[[0, 2]]})
    np.testing.assert_allclose(found["loss"], kept["loss"], rtol=1e-6)


def test_distillation_is_what_aidge_documents():
    graph = with_loss(model(), "distillation", target="teacher", temperature=4.0)
    batch = {"x": RNG.normal(size=(5, 4)).astype(np.float32), "teacher": RNG.normal(size=(5, 4)).astype(np.float32)}
    found = reference.execute(graph, batch)
    soft = lambda z: np.exp(z / 4) / np.exp(z / 4).sum(axis=1, keepdims=True)
    wanted = -np.sum(soft(batch["teacher"]) * np.log(soft(found["scores"]))) / 5
    np.testing.assert_allclose(found["loss"], wanted, rtol=1e-6)


def test_a_label_outside_the_classes_makes_nan_in_jax_and_an_error_in_numpy():
    graph = with_loss(model(), "cross_entropy")
    program = make_program(graph)
    batch = {"x": np.ones((2, 4), np.float32), "target": np.array([1, 4])}
    assert np.isnan(jax.jit(program.forward)(program.graph.params, {}, batch)[0]["loss"])
    with pytest.raises(GraphError, match=r"label 4 at \[1\] is not one of the 4 classes"):
        reference.execute(graph, batch)


def test_bfloat16_stays_bfloat16():
    g = Graph("small")
    g.output(g.op.Relu(g.input("x", ("N", 4), "bfloat16")))
    for loss in LOSSES:
        graph = with_loss(infer_shapes(g), loss)
        assert infer_shapes(graph).value("loss").dtype == "bfloat16", loss


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_graph_can_be_written(loss):
    graph = with_loss(prediction_for(loss), loss)
    batch = batch_for(loss, 3)
    again = onnxio.read(onnxio.to_model(graph))
    assert again.outputs == graph.outputs
    np.testing.assert_allclose(
        reference.execute(again, batch)["loss"], reference.execute(graph, batch)["loss"], rtol=1e-5
    )


# ---- mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda g: with_loss(g, "hinge"),
            r"no loss 'hinge'; the losses are mse, l1, huber, bce, bce_logits, "
            r"cross_entropy, nll, soft_cross_entropy, distillation",
        ),
        (
            lambda g: with_loss(g, "mse", reduction="median"),
            r"reduction 'median': expected one of mean, sum, rows, none",
        ),
        (
            lambda g: with_loss(g, "mse", target="x"),
            r"graph 'model' has a tensor 'x' already: give the 'mse' loss another "
            r"target, e.g. target='x_1'",
        ),
        (
            lambda g: with_loss(g, "mse", name="scores"),
            r"has a tensor 'scores' already: give the 'mse' loss another name",
        ),
        (lambda g: with_loss(g, "mse", prediction="nowhere"), r"graph 'model' has no tensor 'nowhere'"),
        (lambda g: with_loss(g, "mse", delta=2.0), r"the 'mse' loss has no option 'delta'; it has none"),
        (
            lambda g: with_loss(g, "huber", width=2.0),
            r"the 'huber' loss has no option 'width'; it has delta, normalized",
        ),
        (lambda g: with_loss(g, "distillation", temperature=0), r"needs a temperature above 0, got 0"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(GraphError, match=message):
        call(model())


def test_two_outputs_need_a_choice():
    g = model()
    g.output(g.op.Relu("scores", name="extra"))
    with pytest.raises(
        GraphError,
        match=r"graph 'model' has 2 outputs: 'scores', 'extra'; say which of its tensors "
        r"the loss compares: prediction=...",
    ):
        with_loss(infer_shapes(g), "mse")


def test_shapes_that_nobody_inferred_are_inferred():
    g = Graph("model")
    g.output(g.op.Relu(g.input("x", ("N", 3)), name="y"))
    made = with_loss(g, "mse", reduction="rows")
    assert made.value("target").shape == ("N", 3) and made.value("loss").shape == ("N",)


def test_a_shape_that_follows_from_nothing_is_refused():
    g = Graph("model")
    g.output(g.op.NonZero(g.input("x", ("N", 3)), name="y"))
    with pytest.raises(GraphError, match=r"node 'y' \(NonZero\) of graph 'model' .* depends on runtime data"):
        with_loss(g, "mse")


def test_classes_need_an_axis():
    g = Graph("model")
    g.output(g.input("x", ("N",)))
    with pytest.raises(GraphError, match=r"needs a prediction of shape \[n, classes\].* x:float32\[N\]"):
        with_loss(g, "cross_entropy")


def test_labels_of_another_shape_are_refused_by_name():
    g = Graph("model")
    scores, target = g.input("scores", (5, 4)), g.input("target", (5, 1), "int64")
    g.output(g.op.SoftmaxCrossEntropyLoss(scores, target))
    with pytest.raises(
        GraphError,
        match=r"node 'SoftmaxCrossEntropyLoss' .* labels have shape \[5, 1\], scores "
        r"\[5, 4\]: expected one class index per row and position, \[5\]",
    ):
        infer_shapes(g)


def test_one_hot_labels_are_sent_to_the_right_operator():
    g = Graph("model")
    scores, target = g.input("scores", (5, 4)), g.input("target", (5,), "float32")
    g.output(g.op.SoftmaxCrossEntropyLoss(scores, target))
    with pytest.raises(GraphError, match=r"dtype float32: expected class indices, .* use SoftLabelCrossEntropy"):
        infer_shapes(g)


SMOOTHED = json.loads((Path(__file__).parents[1] / "golden/torch/smoothed_cross_entropy.json").read_text())["cases"]


@pytest.mark.parametrize("k", range(len(SMOOTHED)))
def test_label_smoothing_is_torchs(k):
    """With weights of classes and ignored labels, for rows and for pixels; each in NumPy, one in JAX too."""
    case = SMOOTHED[k]
    scores, loss = np.array(case["scores"]), "soft_cross_entropy" if "targets" in case else "cross_entropy"
    target = np.array(case["targets"] if "targets" in case else case["labels"])
    g = Graph("scores")
    g.output(g.op.Identity(g.input("x", ("N", *scores.shape[1:]), "float64"), name="z"))
    options = {n: case[n] for n in ("weights", "ignore_index", "label_smoothing", "reduction") if case[n] is not None}
    graph = with_loss(g, loss, **options)
    with jax.enable_x64(True):
        program = make_program(graph, seeds=["loss"], wrt=["x"])
        feeds = {"x": scores, "target": target}
        d_loss = {"loss": np.array(case["d_loss"])}
        outputs, saved, _ = (numpy := NumpyProgram(program)).forward({}, {}, feeds, None)
        found = [(outputs["loss"], numpy.backward_from_gradient_graph(saved, d_loss)["x"])]
        if k == 10:

            def both(feeds):
                outputs, saved, _ = program.forward({}, {}, feeds, None)
                return outputs["loss"], program.backward({}, saved, d_loss, None)["x"]

            found.append(jax.jit(both)(feeds))
    for value, slope in found:
        np.testing.assert_allclose(value, case["loss"], rtol=1e-7)
        np.testing.assert_allclose(slope, case["d_scores"], rtol=1e-7, atol=1e-9)


def test_smoothed_rows_are_the_means_of_each_row():
    scores, labels = RNG.normal(size=(3, 4, 2)).astype(np.float32), np.array([[0, 1], [-1, 2], [3, -1]])
    g = Graph("scores")
    g.output(g.op.Identity(g.input("x", ("N", 4, 2)), name="z"))
    options = {"label_smoothing": 0.2, "ignore_index": -1, "weights": np.arange(1, 5)}
    one, each = (with_loss(g, "cross_entropy", reduction=r, **options) for r in ("rows", "none"))
    rows, none = (reference.execute(graph, {"x": scores, "target": labels})["loss"] for graph in (one, each))
    np.testing.assert_allclose(rows, none.mean(1), rtol=1e-6)
    with pytest.raises(GraphError, match="label_smoothing is a share from 0 to 1, got 2"):
        with_loss(g, "cross_entropy", label_smoothing=2)


@pytest.mark.parametrize("op, loss, cure", [
    ("Softmax", "cross_entropy", "say prediction='scores'"),
    ("Softmax", "nll", "say loss \"cross_entropy\", prediction='scores'"),
    ("Sigmoid", "bce_logits", "say prediction='scores'"),
])  # fmt: skip
def test_what_a_loss_begins_with_is_not_done_twice(op, loss, cure):
    graph = Graph("ends")
    scores = graph.op.Identity(graph.input("x", ("N", 3)), name="scores")
    graph.output(graph.op.Identity(getattr(graph.op, op)(scores, name="p"), name="out"))
    graph = infer_shapes(graph)
    with pytest.raises(GraphError, match=re.escape(f"'out' of graph 'ends' is written by {op}: {cure}")):
        with_loss(graph, loss)
    assert with_scores(graph, loss) == (graph, None if loss == "nll" else "scores")
    assert with_scores(graph, "mse") == (graph, None)
    assert with_loss(graph, loss, prediction="scores").outputs == ["out", "loss"]
    assert with_loss(graph, loss, prediction="out").outputs == ["out", "loss"]


def test_a_softmax_is_found_behind_a_flatten_and_written_out():
    """How classifiers of convolutions end, and how exporters without Softmax write it."""
    graph, z = Graph("ends"), np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    exp = graph.op.Exp(graph.input("z", ("N", 3, 1, 1)))
    p = graph.op.Div(exp, graph.op.ReduceSum(exp, (1,), keepdims=1))
    graph.output(graph.op.Flatten(p, name="out"))
    graph = infer_shapes(graph)
    with pytest.raises(GraphError, match="is written by Softmax: say prediction='z'"):
        with_loss(graph, "cross_entropy")
    scored, scores = with_scores(graph, "cross_entropy")
    labels = np.array([0, 1, 2, 0])
    loss = reference.execute(with_loss(scored, "cross_entropy", prediction=scores), {"z": z, "target": labels})["loss"]
    np.testing.assert_allclose(
        loss, -np.log(np.exp(z) / np.exp(z).sum(1, keepdims=True))[range(4), labels].mean(), 1e-6
    )
