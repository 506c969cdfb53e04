"""The command line, as a user calls it."""

import argparse
import csv
import re
import sys

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.cli.main import main, parser


@pytest.fixture(autouse=True, scope="module")
def compiled_programs(tmp_path_factory):
    """The cache of compiled programs, away from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def test_the_main_job(tmp_path, capsys):
    """`train` with nothing else: at least 97 % on digits that it has not seen."""
    pytest.importorskip("matplotlib")
    out = tmp_path / "run"
    assert main(["train", "--out", str(out)]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    found = re.fullmatch(r"test accuracy (0\.\d{3}|1\.000)  (\d+) images/s", last)
    assert found and float(found[1]) >= 0.97 and int(found[2]) > 0, last
    assert {p.name for p in out.iterdir()} == {
        "model.onnx", "best.onnx", "last.ckpt", "best.ckpt", "history.csv", "times.csv", "history.png",
        "report.html", "settings.json",
    }  # fmt: skip
    with (out / "history.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert {"step", "epoch", "loss", "accuracy", "learning_rate", "gradient_norm", "test_loss", "test_accuracy"} <= set(
        rows[0]
    )
    _, test = aj.digits().split(0.2, seed=1997)
    trained = aj.onnxio.read(out / "model.onnx")
    scores = aj.run(trained, {next(iter(trained.inputs)): test.columns["x"]})[0]
    assert np.mean(scores.argmax(1) == test.columns["target"]) == pytest.approx(float(found[1]), abs=6e-4)


def quick(*more):
    return ["train", "--epochs", "1", *more]


def test_without_matplotlib_training_succeeds(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(quick("--out", str(tmp_path / "run"))) == 0
    printed = capsys.readouterr().out
    assert 'history.png not written: matplotlib is missing; pip install "aidgejax[examples]"' in printed
    assert not (tmp_path / "run" / "history.png").exists()


def test_another_model_other_data_and_every_option(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)).astype(np.float64)
    np.savez(tmp_path / "d.npz", x=x, target=(x @ rng.normal(size=(5, 2))).astype(np.float32))
    aj.onnxio.write(aj.zoo.mlp(sizes=(5, 16, 2)), None, tmp_path / "m.onnx")
    assert (
        main(
            [
                "train",
                "--model",
                str(tmp_path / "m.onnx"),
                "--data",
                str(tmp_path / "d.npz"),
                "--loss",
                "mse",
                "--optimizer",
                "sgd",
                "--momentum",
                "0.5",
                "--lr",
                "0.05",
                "--schedule",
                "step",
                "--warmup",
                "3",
                "--epochs",
                "20",
                "--batch-size",
                "7",
                "--accumulate",
                "2",
                "--last",
                "pad",
                "--seed",
                "3",
                "--device",
                "cpu",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out.strip()
    assert re.search(r"test loss 0\.\d+  \d+ rows/s$", out)
    assert re.search(r"epochs on cpu \(jax backend\)", out)  # what --device found


def test_both_backends_train_alike(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(40, 5)).astype(np.float32), target=rng.integers(0, 3, 40))
    aj.onnxio.write(aj.zoo.mlp(sizes=(5, 8, 3)), None, tmp_path / "m.onnx")
    ends = []
    for backend in ("jax", "numpy"):
        out = tmp_path / backend
        assert (
            main(
                quick(
                    "--model",
                    str(tmp_path / "m.onnx"),
                    "--data",
                    str(tmp_path / "d.npz"),
                    "--backend",
                    backend,
                    "--batch-size",
                    "8",
                    "--out",
                    str(out),
                )
            )
            == 0
        )
        ends.append(aj.onnxio.read(out / "model.onnx").params)
    for k in ends[0]:
        np.testing.assert_allclose(ends[0][k], ends[1][k], rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_model(tmp_path):
    ends = []
    for n in "ab":
        assert main(quick("--seed", "4", "--out", str(tmp_path / n))) == 0
        ends.append((tmp_path / n / "model.onnx").read_bytes())
    assert ends[0] == ends[1]


@pytest.mark.parametrize("argv, message", [
    (["train", "--model", "nowhere.onnx"], r"aidgejax train: .*nowhere\.onnx"),
    (["train", "--data", "nowhere.npz"], r"aidgejax train: there is no file 'nowhere\.npz'"),
    (["train", "--device", "abacus"], r"aidgejax train: there is no device 'abacus' here; there are cpu"),
    (["train", "--out", "/proc/nothing/here"], r"aidgejax train: cannot write the run folder '/proc/nothing/here'"),
    (["compare", "nowhere.onnx"], r"aidgejax compare: .*nowhere\.onnx"),
    (["inspect", __file__], r"aidgejax inspect: .*test_cli\.py"),
])  # fmt: skip
def test_what_the_user_can_mend_is_one_line(argv, message, capsys):
    assert main(argv) == 1
    printed = capsys.readouterr().err.strip()
    assert re.match(message, printed) and "\n" not in printed, printed


@pytest.mark.parametrize("argv, message", [
    ([], "the following arguments are required: command"),
    (["fly"], "invalid choice: 'fly'"),
    (["train", "--batch-size", "0"], "argument --batch-size: 0 is below 1"),
    (["train", "--epochs", "many"], "argument --epochs: 'many' is not a whole number"),
    (["train", "--lr", "-1"], "argument --lr: -1 is not above 0"),
    (["train", "--optimizer", "luck"], "argument --optimizer: invalid choice: 'luck'"),
    (["compare"], "the following arguments are required: M.onnx"),
])  # fmt: skip
def test_bad_arguments_exit_with_2(argv, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2 and message in capsys.readouterr().err


def test_labels_out_of_range_are_named(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x=np.zeros((20, 1, 8, 8), np.float32), target=np.arange(20))
    assert main(quick("--data", str(tmp_path / "d.npz"), "--out", str(tmp_path / "run"))) == 1
    assert re.search(r"column 'target', row \d+: label 1\d with 10 classes \(0 to 9\)", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_data_of_another_shape_is_named(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x=np.zeros((20, 1, 9, 9), np.float32), target=np.zeros(20, int))
    assert main(quick("--data", str(tmp_path / "d.npz"), "--out", str(tmp_path / "run"))) == 1
    assert "x:float32[N, 1, 8, 8]: got an array of shape" in capsys.readouterr().err


def test_a_pickle_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x=np.array([object()], dtype=object))
    assert main(quick("--data", str(tmp_path / "d.npz"))) == 1
    assert "cannot be read as .npz" in capsys.readouterr().err


def test_compare_prints_node_by_node(tmp_path, capsys, monkeypatch):
    aj.onnxio.write(aj.zoo.mlp(sizes=(4, 3, 2)), None, tmp_path / "m.onnx")
    assert main(["compare", str(tmp_path / "m.onnx"), "--steps", "2"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"forward +\S+  Relu +relu1", printed) and "the backends agree within 0.0001" in printed
    right = aj.ops.OPERATORS["Relu"]
    monkeypatch.setitem(
        aj.ops.OPERATORS,
        "Relu",
        aj.ops.Operator(**{**right.__dict__, "forward": lambda x, **a: right.forward(x, **a) * 1.001}),
    )
    assert main(["compare", str(tmp_path / "m.onnx"), "--steps", "2"]) == 1
    assert "first bad node 'relu1' (Relu), forward of" in capsys.readouterr().out


def test_inspect_counts(tmp_path, capsys):
    aj.onnxio.write(aj.zoo.mlp(sizes=(4, 3, 2)), None, tmp_path / "m.onnx")
    assert main(["inspect", str(tmp_path / "m.onnx"), "--gradient"]) == 0
    printed = capsys.readouterr().out
    assert "23 parameters in 4 tensors" in printed
    assert re.search(r"\d+ floating-point operations forward at N=1", printed)
    assert "graph mlp_grad(" in printed and "nodes backward for 3 forward" in printed


def test_artifacts_are_written(tmp_path, capsys):
    aj.onnxio.write(aj.zoo.mlp(sizes=(4, 3, 2)), None, tmp_path / "m.onnx")
    assert (
        main(
            [
                "artifacts",
                str(tmp_path / "m.onnx"),
                "--loss",
                "MSELoss",
                "--optimizer",
                "SGD",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "training_model.onnx",
        "eval_model.onnx",
        "optimizer_model.onnx",
        "checkpoint",
    }
    assert main(["artifacts"]) == 1
    assert "artifacts needs a model" in capsys.readouterr().err
    assert main(["artifacts", str(tmp_path / "m.onnx"), "--out", str(tmp_path / "new")]) == 1
    assert "'logits' has the shape ['N', 2]: expected a single number. Give a loss" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["artifacts", str(tmp_path / "m.onnx"), "--loss", "MSELoss", "--out", str(tmp_path / "m.onnx")]) == 1
    assert "cannot make the folder" in capsys.readouterr().err


def test_ops_prints_the_formula_sheet(capsys):
    assert main(["ops"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^Relu +ONNX 14 +rule +max\(x, 0\)", printed, re.M)
    assert f"{len(aj.ops.OPERATORS)} operators" in printed


def test_help_shows_every_default_once():
    listed = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in listed.choices.items():
        shown = " ".join(command.format_help().split("options:")[-1].split())
        for action in command._actions:
            if not action.option_strings or action.nargs == 0 or action.required:
                continue
            formatter = command._get_formatter()
            formatter.add_argument(action)
            text = formatter.format_help()
            assert text.count("default") == 1, f"{name} {action.option_strings[-1]}: {text}"
        assert "(default: [])" not in shown and "(default: False)" not in shown and "(default: )" not in shown
