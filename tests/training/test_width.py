"""Models of float64 parameters are trained, evaluated and written in float64, though JAX is left at 32 bits."""

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.cli.main import main
from aidgejax.graph import Graph
from aidgejax.training import optim, schedule
from aidgejax.training.loop import make_accumulating_step, make_epoch, make_step, start

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(24, 4)).astype("f"), np.arange(24) % 3  # people's data is float32 all the same


def model():
    g = Graph("double")
    w, b = g.parameter("w", RNG.normal(size=(4, 3))), g.parameter("b", np.zeros(3))
    g.output(g.op.Add(g.op.MatMul(g.input("x", ("N", 4), "float64"), w), b, name="z"))
    return g


def by_hand(w, b, epochs):
    """Gradient descent on the mean cross-entropy, in float64; (w, b, the last loss before its update)."""
    for _ in range(epochs):
        z = X.astype(np.float64) @ w + b
        logp = z - np.log(np.exp(z).sum(1, keepdims=True))
        d = (np.exp(logp) - np.eye(3)[Y]) / len(X)
        loss = -logp[np.arange(len(X)), Y].mean()
        w, b = w - 0.1 * X.T.astype(np.float64) @ d, b - 0.1 * d.sum(0)
    return w, b, loss


def test_training_is_in_double_precision_and_says_so(tmp_path):
    graph = model()
    data = {"x": X, "target": Y}
    result = aj.train(graph, data, epochs=3, optimizer=optim.sgd(), lr=lambda step: 0.1, batch_size=24)
    w, b, loss = by_hand(graph.params["w"], graph.params["b"], 3)
    assert "precision: computes in float64, as the model's parameters are" in result.notes
    np.testing.assert_allclose(result.state.params["w"], w, rtol=1e-13)
    np.testing.assert_allclose(result.history[-1]["loss"], loss, rtol=1e-6)
    predicted = result.predict({"x": X})["z"]
    np.testing.assert_allclose(predicted, X.astype(np.float64) @ w + b, rtol=1e-12)
    assert predicted.dtype == np.float64 and result.evaluate(data)["loss"] == pytest.approx(by_hand(w, b, 1)[2])
    result.write(tmp_path / "better.onnx")
    written = aj.onnxio.read(tmp_path / "better.onnx").params
    assert all(a.dtype == np.float64 and np.array_equal(a, result.state.params[k]) for k, a in written.items())


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_loops_by_hand_too(every):
    graph = model()
    program = aj.make_program(aj.with_loss(graph, "cross_entropy", reduction="rows"), training=True)
    rate, held = schedule.constant(0.1), None if every == 1 else ()
    step = make_step(program, optim.sgd(), rate)
    step = step if every == 1 else make_accumulating_step(program, optim.sgd(), rate, every)
    state = start(program, optim.sgd(), jax.random.key(0), accumulate=held)
    state, _ = make_epoch(step)(state, {"x": X.reshape(every, -1, 4), "target": Y.reshape(every, -1)})
    w, _, _ = by_hand(graph.params["w"], graph.params["b"], 1)
    np.testing.assert_allclose(state.params["w"], w, rtol=1e-7)  # the rate is 0.1 in float32
    assert state.params["w"].dtype == np.float64


@pytest.mark.slow
def test_the_command_line_keeps_the_files_types(tmp_path, capsys):
    aj.onnxio.write(model(), None, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    out = str(tmp_path / "run")
    common = ["--data", str(tmp_path / "d.npz"), "--epochs", "1", "--backend", "numpy"]
    assert main(["train", "--model", str(tmp_path / "m.onnx"), *common, "--out", out]) == 0
    assert "computes in float64" in capsys.readouterr().out
    trained = aj.onnxio.read(f"{out}/model.onnx").params["w"]
    assert trained.dtype == np.float64 and np.any(trained != trained.astype(np.float32))
