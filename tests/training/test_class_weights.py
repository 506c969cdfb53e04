"""Weighted and ignored classes: a batch's loss is divided by the sum of the weights at its labels, as torch has it."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import SettingError
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.tools.task import fit_task
from aidgejax.training import optim, schedule
from aidgejax.training.averages import loss_weights
from aidgejax.training.evaluation import make_evaluation
from aidgejax.training.loop import make_accumulating_step, make_epoch, make_step, start

CASES = json.loads((Path(__file__).parents[1] / "golden/torch/weighted_training.json").read_text())["cases"]
ROWS, WEIGHTS = np.append(np.arange(11), 0).reshape(3, 4), np.append(np.ones(11), 0).reshape(3, 4).astype("f")
OPTIONS = {
    "weights": {},
    "ignored": {"ignore_index": 2},
    "smooth": {"ignore_index": 0, "label_smoothing": 0.1},
    "only_ignored": {"ignore_index": 2, "weights": None},
}


def waves(*shape):
    return (np.sin(np.arange(1, np.prod(shape) + 1) * 1.7) * 1.5).reshape(shape)


def weighted(case, dtype="float64"):
    """(the graph with its loss, the columns): z = W x for each row or pixel, 3 classes."""
    rows, kind = case.split("/")
    places = (2, 2) if rows == "pixels" else ()
    g = Graph(rows)
    x, w = g.input("x", ("N", 4, *places), dtype), g.parameter("w", (waves(3, 4) * 0.3).astype(dtype))
    g.output(g.op.Einsum(x, w, equation="nchw,kc->nkhw" if places else "nc,kc->nk", name="z"))
    labels = (np.arange(11 * int(np.prod(places, dtype=int))) * 7 // 3 % 3).reshape(11, *places)
    options = {"weights": [0.5, 2.0, 4.0]} | OPTIONS[kind]
    graph = aj.with_loss(infer_shapes(g), "cross_entropy", reduction="rows", **options)
    return graph, {"x": waves(11, 4, *places).astype(dtype), "target": labels}


def trained(case, program, data, compiled, dtype="float64"):
    """(losses, weights, evaluated) of two epochs whose last batch is a row short."""
    epoch = make_epoch(make_step(program, optim.sgd(), schedule.constant(0.5)), compiled=compiled)
    state, losses = start(program, optim.sgd(), jax.random.key(0)), []
    for _ in range(2):
        state, records = epoch(state, ROWS, WEIGHTS, data)
        losses += np.asarray(records["loss"]).tolist()
    evaluate = make_evaluation(program, compiled=compiled)
    found = evaluate(state.params, state.buffers, ROWS, WEIGHTS, data)
    return losses, np.asarray(state.params["w"]).ravel(), float(found["loss"])


@pytest.mark.parametrize("case", CASES)
def test_training_and_evaluation_are_torchs(case):
    """In NumPy each, in JAX, in one scan, one of them; the last batch is short."""
    want = CASES[case]
    with jax.enable_x64(True):
        graph, data = weighted(case)
        program = aj.make_program(graph, training=True)
        found = [trained(case, aj.NumpyProgram(program), data, compiled=False)]
        if case == "pixels/smooth":
            found.append(trained(case, program, data, compiled=True))
    for losses, weights, evaluated in found:
        np.testing.assert_allclose(losses, want["losses"], rtol=1e-6)
        np.testing.assert_allclose(weights, want["weights"], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(evaluated, want["evaluated"], rtol=1e-6)


def test_micro_batches_are_one_batch():
    graph, data = weighted("rows/ignored", "float32")
    program = aj.NumpyProgram(aj.make_program(graph, training=True))
    steps = {
        1: (make_step(program, optim.sgd(), schedule.constant(0.5)), None, ROWS.reshape(1, 12), WEIGHTS.reshape(1, 12)),
        3: (make_accumulating_step(program, optim.sgd(), schedule.constant(0.5), 3), (), ROWS, WEIGHTS),
    }
    found = []
    for step, held, rows, weights in steps.values():
        state = start(program, optim.sgd(), jax.random.key(0), accumulate=held)
        state, records = make_epoch(step, compiled=False)(state, rows, weights, data)
        found.append([np.asarray(state.params["w"]), np.asarray(records["loss"])[-1]])
    for one, three in zip(*found, strict=True):
        np.testing.assert_allclose(three, one, rtol=1e-6)


def test_each_of_several_losses_is_divided_by_its_own_weights():
    g = Graph("two")
    x = g.input("x", ("N", 4))
    for name in ("a", "b"):
        g.output(g.op.MatMul(x, g.parameter(f"w{name}", np.eye(4, 3, dtype="f")), name=name))
    data = {"x": waves(8, 4).astype("f"), "a_target": np.arange(8) % 3, "b_target": np.arange(8) // 3}
    task = fit_task(g, data, weights=[1.0, 2.0, 5.0])
    assert task.graph.outputs.count("loss") == 1 and not any(o.endswith("row_weights") for o in task.graph.outputs)
    found = aj.run(task.graph, task.columns, backend="numpy")
    loss = found[task.graph.outputs.index("loss")]
    logp = data["x"][:, :3] - np.log(np.exp(data["x"][:, :3]).sum(1, keepdims=True))
    want = 0
    for target in (data["a_target"], data["b_target"]):
        w = np.array([1.0, 2.0, 5.0])[target]
        want -= (w * logp[np.arange(8), target]).sum() / w.sum()
    np.testing.assert_allclose(np.mean(loss), want, rtol=1e-6)


def test_of_several_outputs_those_of_classes_take_the_weights():
    g = Graph("two")
    x = g.input("x", ("N", 4))
    for name, columns in (("value", 1), ("kind", 3)):
        g.output(g.op.MatMul(x, g.parameter(f"w{name}", np.eye(4, columns, dtype="f")), name=name))
    values = {"x": waves(9, 4).astype("f"), "value_target": waves(9, 1).astype("f")}
    task = fit_task(g, values | {"kind_target": np.arange(9) % 3}, weights="balanced", ignore_index=2)
    (node,) = [n for n in task.graph.nodes if n.op == "SoftmaxCrossEntropyLoss"]
    assert node.attrs["ignore_index"] == 2 and len(node.inputs) == 3 and "mse on value" in task.summary
    with pytest.raises(SettingError, match="class weights are of cross_entropy, nll and bce_logits, not of mse"):
        fit_task(g, values | {"kind_target": waves(9, 3).astype("f")}, weights="balanced")


def test_where_every_label_is_ignored_nothing_moves():
    outputs = {"loss": np.zeros(3, "f"), "loss.row_weights": np.zeros(3, "f")}
    assert np.all(np.isfinite(loss_weights(outputs, "loss", "loss.row_weights", None)))
