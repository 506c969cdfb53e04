"""python -m aidgejax step, and check."""

import onnx
import pytest

import aidgejax as aj
from aidgejax.__main__ import main


@pytest.fixture
def model(tmp_path):
    aj.onnxio.write(aj.zoo.mlp(sizes=(4, 3, 2)), None, tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


def test_a_step_is_written_with_its_state(model, tmp_path, capsys):
    out = str(tmp_path / "step.onnx")
    arguments = ["step", model, "--loss", "CrossEntropyLoss", "--optimizer", "Adam", "--setting", "beta1=0.8"]
    assert main([*arguments, "--clip-norm", "1", "--batch", "4", "--target", "webnn", "--out", out]) == 0
    said = capsys.readouterr().out
    assert "trained: " in said
    assert "scalars: learning_rate; loss: loss" in said
    assert {p.name for p in tmp_path.iterdir()} == {"m.onnx", "step.onnx", "step.npz", "step.bin"}
    assert main(["check", out, "--target", "webnn"]) == 0
    assert "no nodes outside webnn" in capsys.readouterr().out


def test_check_lists_what_is_outside(model, capsys):
    assert main(["check", model, "--target", "elementary"]) == 1
    assert "(Gemm): elementary has no Gemm" in capsys.readouterr().out


def test_mistakes_are_said_in_one_line(model, tmp_path, capsys):
    for wrong, word in [
        (["--loss", "Hinge"], "no loss of that name"),
        (["--loss", "mse", "--out", "/no/where/step.onnx"], "no folder"),
        (["--loss", "mse", "--frozen", "x"], "has no parameter 'x'"),
        (["--loss", "mse", "--setting", "beta1=0.9"], "sgd takes no 'beta1'"),
    ]:
        if "--out" not in wrong:
            wrong = [*wrong, "--out", str(tmp_path / "s.onnx")]
        assert main(["step", model, *wrong]) == 1
        assert word in capsys.readouterr().err
    assert not (tmp_path / "s.onnx").exists()


def test_artifacts_have_every_optimizer(model, tmp_path, capsys):
    for name, settings in [("sgd", ["--momentum", "0.9"]), ("rmsprop", []), ("AdamW", ["--weight-decay", "0.1"])]:
        out = str(tmp_path / name)
        assert main(["artifacts", model, "--loss", "MSELoss", "--optimizer", name, *settings, "--out", out]) == 0
        inputs = {i.name for i in onnx.load(f"{out}/optimizer_model.onnx").graph.input}
        assert any(i.endswith("_momentum0") for i in inputs)
    wrong = ["--optimizer", "rmsprop", "--runtime", "onnxruntime-training", "--out", str(tmp_path)]
    assert main(["artifacts", model, "--loss", "MSELoss", *wrong]) == 1
    assert "training build has no optimizer rmsprop" in capsys.readouterr().err
