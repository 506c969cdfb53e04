"""A step file against the program it came from."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.__main__ import main
from aidgejax.errors import ModelFileError, SettingError
from aidgejax.tools.compare_step import compare_step
from aidgejax.training import optim, schedule


@pytest.fixture
def graph():
    return aj.with_loss(aj.infer_shapes(aj.zoo.mlp(sizes=(6, 5, 3))), "cross_entropy")


def test_the_file_says_what_it_was_written_with(tmp_path):
    model, rule = aj.zoo.mlp(sizes=(6, 5, 3)), optim.sgd(0.9, weight_decay=0.1)
    how = {"loss": "CrossEntropyLoss", "clip_norm": 0.1, "accumulate": 2}
    trained = {p: a + 1 for p, a in model.params.items()}
    aj.onnxio.write_step(model, trained, tmp_path / "s.onnx", optimizer=rule, **how)
    report = compare_step(tmp_path / "s.onnx", model)
    assert report.ok, report
    assert "agree after 5 steps" in str(report)
    assert {"loss", *model.params} == set(report.differences) and report.differences["loss"] < 1e-6
    assert not compare_step(tmp_path / "s.onnx", model, clip_norm=5.0).ok


def test_wide_batch_normalization_agrees_to_the_last_digits(tmp_path):
    """In float32 such networks part by conditioning: mathematics is compared in float64."""
    with jax.enable_x64(True):
        g = aj.Graph("wide")
        x, rng = g.input("x", ("N", 2, 6, 6), "float64"), np.random.default_rng(0)
        for k in range(2):
            x = g.op.Conv(x, g.parameter(f"w{k}", rng.normal(size=(4, 4 if k else 2, 3, 3))), pads=(1, 1, 1, 1))
            scale, shift = g.parameter(f"scale{k}", np.ones(4)), g.parameter(f"shift{k}", np.zeros(4))
            mean, var = g.buffer(f"mean{k}", np.zeros(4)), g.buffer(f"var{k}", np.ones(4))
            x = g.op.Relu(g.op.BatchNormalization(x, scale, shift, mean, var, epsilon=2.0**-16))
        g.output(g.op.Flatten(g.op.GlobalAveragePool(x)))
        aj.onnxio.write_step(g, None, tmp_path / "s.onnx", optimizer=optim.sgd(0.9), loss="cross_entropy")
        report = compare_step(tmp_path / "s.onnx", g, steps=10, tolerance=1e-9)
    assert report.ok and len(report.differences) == 11, report


def test_where_rounding_grows_float64_tells(tmp_path):
    """The bias before a normalization has a gradient of 0, but for rounding, which adam divides by its own size."""
    g = aj.Graph("biased")
    x, rng = g.input("x", (4, 3)), np.random.default_rng(0)
    x = g.op.Add(
        g.op.MatMul(x, g.parameter("w", rng.normal(size=(3, 3)).astype("f"))), g.parameter("b", np.ones(3, "f"))
    )
    ones, zeros = np.ones(3, "f"), np.zeros(3, "f")
    given = [g.parameter("s", ones), g.parameter("t", zeros), g.buffer("m", zeros), g.buffer("v", ones)]
    g.output(g.op.BatchNormalization(x, *given))
    aj.onnxio.write_step(g, None, tmp_path / "s.onnx", optimizer=optim.adam(), loss="cross_entropy")
    report = compare_step(tmp_path / "s.onnx", g)
    assert report.ok and max(report.differences.values()) > 1e-4 > max(report.in_float64.values())
    assert "in float64" in str(report) and "rounding grows" in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v1"])
def test_deep_batch_normalization_agrees_in_float64(name, tmp_path):
    size, steps = {"resnet8": (8, 10), "mobilenet_v1": (32, 2)}[name]
    graph = wide(getattr(aj.zoo, name)(size=size))
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            node.attrs["epsilon"] = 2.0**-16  # a file has it in float32: this number is the same there
    with jax.enable_x64(True):
        how = {"optimizer": optim.sgd(0.9), "loss": "cross_entropy", "batch": 8}
        aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", **how)
        assert compare_step(tmp_path / "s.onnx", graph, steps=steps, tolerance=1e-9).ok


def wide(graph):
    """The graph in float64."""
    copy = graph.copy()
    for n, v in copy.inputs.items():
        copy.inputs[n] = replace(v, dtype="float64")
    for p in copy.producers.values():
        p.data = p.data.astype(np.float64) if p.data.dtype == np.float32 else p.data
    copy.values = {k: replace(v, dtype=None, shape=None) for k, v in graph.values.items()}
    return copy


def test_the_command_compares_a_step(graph, tmp_path, capsys):
    model, step = str(tmp_path / "m.onnx"), str(tmp_path / "s.onnx")
    aj.onnxio.write(aj.zoo.mlp(sizes=(6, 5, 3)), None, model)
    assert (
        main(["step", model, "--loss", "CrossEntropyLoss", "--optimizer", "adam", "--batch", "8", "--out", step]) == 0
    )
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(30, 6)), y=np.arange(30) % 3)
    for more, count in ([], 10), (["--data", str(tmp_path / "d.npz")], 3):
        assert main(["compare", model, "--step", step, *more]) == 0
        assert f"agree after {count} steps" in capsys.readouterr().out
    aj.onnxio.write(aj.zoo.mlp(sizes=(6, 7, 3)), None, model)
    assert main(["compare", model, "--step", step]) == 1


def test_another_optimizer_is_found(graph, tmp_path):
    aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.adam(beta1=0.8))
    report = compare_step(tmp_path / "s.onnx", graph, optim.adam())
    assert not report.ok
    assert "DIFFER" in str(report)


def test_other_files_are_refused(graph, tmp_path):
    aj.onnxio.write(graph, None, tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match="no training step"):
        compare_step(tmp_path / "m.onnx", graph, optim.sgd())
    (tmp_path / "n.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFileError):
        compare_step(tmp_path / "n.onnx", graph, optim.sgd())


@pytest.mark.parametrize("every", [1, 2])
def test_a_step_that_draws_and_computes_its_rate_is_compared(every, tmp_path):
    """Dropout, and the noise of weights whose gradient passes straight through; a warmup before a cosine."""
    g = aj.Graph("drops")
    x, w = g.input("x", ("N", 3)), g.parameter("w", aj.zoo.mlp(sizes=(3, 4)).params["fc1.weight"].T)
    hidden = g.op.MatMul(x, g.op.WeightModifier(w, modifier="ADD_NORMAL", std_dev=0.2, training_mode=1))
    g.op.RandomNormalLike(hidden)  # nothing needs it, in neither of the two
    (hidden, _) = g.op.Dropout(hidden, 0.5, True, outputs=2)
    g.output(g.op.Add(hidden, g.op.RandomUniformLike(hidden)))
    rate = schedule.warmup(schedule.cosine(0.1, 10), 3)
    how = {"optimizer": optim.sgd(0.9), "loss": "mse", "schedule": rate, "accumulate": every}
    aj.onnxio.write_step(g, None, tmp_path / "s.onnx", **how)
    report = compare_step(tmp_path / "s.onnx", g, tolerance=1e-5, steps=6, seed=7)
    assert report.ok and report.in_float64 is None, report
    assert not compare_step(tmp_path / "s.onnx", g, schedule=schedule.constant(0.1)).ok


def test_a_schedule_of_ones_own_is_asked_for(graph, tmp_path):
    def halving(step):
        return 0.1 * 0.5**step

    aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.sgd(), schedule=halving)
    with pytest.raises(SettingError, match="give it as schedule="):
        compare_step(tmp_path / "s.onnx", graph)
    assert compare_step(tmp_path / "s.onnx", graph, schedule=halving).ok
