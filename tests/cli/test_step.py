"""python -m aidgejax step, and check."""

from pathlib import Path

import onnx
import pytest

import aidgejax as aj
from aidgejax.__main__ import main
from aidgejax.errors import SettingError


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


def test_a_schedule_stands_in_the_file(model, tmp_path, capsys):
    out = str(tmp_path / "s.onnx")
    how = ["step", model, "--loss", "cross_entropy", "--schedule", "cosine", "--out", out]
    assert main(how) == 1
    assert "--schedule needs --lr" in capsys.readouterr().err
    assert main([*how, "--lr", "0.1", "--steps", "20", "--warmup", "3"]) == 0
    assert "scalars: none" in capsys.readouterr().out
    assert main(["compare", model, "--step", out, "--steps", "4"]) == 0
    assert main([*how[:-4], "--lr", "0.1", "--out", out]) == 1
    assert "belong to --schedule" in capsys.readouterr().err


def test_a_fixed_batch_becomes_another(tmp_path):
    m, out = str(tmp_path / "one.onnx"), str(tmp_path / "s.onnx")
    fixed = aj.zoo.mlp((4, 3, 2))
    fixed.inputs["x"] = aj.graph.Value("x", (1, 4), "float32")
    aj.onnxio.write(fixed, None, m)
    how = ["--loss", "cross_entropy", "--out", out]
    for given, rows in [((), 1), (("--batch", "4"), 4), (("--batch", "N"), "N"), (("--shapes", "x=2,4"), 2)]:
        assert main(["step", m, *how, *given]) == 0
        assert [i.type.tensor_type.shape.dim[0] for i in onnx.load(out).graph.input if i.name == "x"][0] == dim(rows)
    with pytest.raises(SettingError, match="batch is 4, but the inputs"):
        aj.onnxio.write_step(aj.onnxio.read(m), None, out, optimizer=aj.optim.sgd(), loss="cross_entropy", batch=4)


def test_a_classifier_of_two_outputs_says_which_the_loss_compares(tmp_path, capsys):
    model, out = str(Path(__file__).parents[1] / "onnxio/files/skl_mlp.onnx"), str(tmp_path / "s.onnx")
    how = ["step", model, "--loss", "cross_entropy", "--out", out]
    assert main(how) == 1
    assert "prediction" in capsys.readouterr().err
    assert main([*how, "--prediction", "output_probability"]) == 0
    assert main(["compare", model, "--step", out]) == 0


def dim(size):
    return onnx.TensorShapeProto.Dimension(**{"dim_param" if isinstance(size, str) else "dim_value": size})


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


def test_behind_a_softmax_the_loss_takes_the_scores_as_train_does(tmp_path, capsys):
    g = aj.zoo.mlp((4, 2))
    g.outputs = [g.op.Softmax("logits", name="shares").name]
    m, out = str(tmp_path / "m.onnx"), str(tmp_path / "s.onnx")
    aj.onnxio.write(g, None, m)
    assert main(["step", m, "--loss", "CrossEntropyLoss", "--batch", "4", "--out", out]) == 0
    assert "\ncross_entropy on logits, the scores before Softmax 'shares'\n" in capsys.readouterr().out
    loss = next(n for n in onnx.load(out).graph.node if n.op_type == "SoftmaxCrossEntropyLoss")
    assert loss.input[0] == "logits"
    assert main(["compare", m, "--step", out, "--steps", "2"]) == 0
