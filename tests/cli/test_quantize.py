"""`quantize`, as a user calls it."""

import re

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.cli.main import main


@pytest.fixture
def folder(tmp_path):
    """A small network for three clouds of points, and the points."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 150)
    x = (rng.normal(size=(150, 6)) + 2 * np.eye(3, 6)[target]).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, target=target)
    data = aj.Dataset(x=x, target=target)
    g = aj.infer_shapes(aj.zoo.mlp((6, 12, 3)))
    program = aj.make_program(aj.with_loss(g, "cross_entropy", reduction="rows"), training=True)
    state, _ = aj.fit(program, aj.optim.adam(), aj.schedule.constant(1e-2), data, epochs=10, batch_size=30)
    aj.onnxio.write(g, state.params, tmp_path / "m.onnx")
    return tmp_path


def quantize(folder, *more):
    return main(["quantize", str(folder / "m.onnx"), "--data", str(folder / "d.npz"), "--out", str(folder / "q.onnx"),
                 *more])  # fmt: skip


def test_from_a_model_to_a_verified_file_and_a_report(folder, capsys):
    assert quantize(folder, "--bits", "4", "--epochs", "3") == 0
    printed = capsys.readouterr().out.splitlines()
    found = re.fullmatch(
        r"accuracy (0\.\d{3}|1\.000) -> (0\.\d{3}|1\.000)   w4a4   0 of 90 values differ   \d+ kB", printed[-1]
    )
    assert found and float(found[2]) > float(found[1]) - 0.1, printed[-1]
    assert any("equality proved" in line for line in printed) and "loss: cross_entropy on logits" in printed
    back = aj.onnxio.read(folder / "q.onnx")
    assert back.producers["fc1.weight"].data.dtype == np.int8 and back.count()["QuantizeLinear"] == 3
    page = (folder / "q.html").read_text()
    assert all(word in page for word in ("SQNR", 'text-align:right">clipped</th>', "fc2.weight", "equality proved"))


def test_calibration_alone_with_free_steps(folder, capsys):
    assert quantize(folder, "--weights", "8", "--activations", "8", "--epochs", "0", "--steps", "fixed") == 0
    printed = capsys.readouterr().out
    assert "equality counted" in printed and "w8a8" in printed.splitlines()[-1]


def test_without_labels_and_without_a_comparison(folder, capsys):
    with np.load(folder / "d.npz") as held:
        np.savez(folder / "d.npz", x=held["x"])
    assert quantize(folder, "--epochs", "1", "--unverified") == 0
    printed = capsys.readouterr().out.splitlines()
    assert any("no 'target'" in line for line in printed)
    assert "loss: the distance to what the model in floating point gives" in printed
    assert re.fullmatch(r"agreement 1\.000 -> (0\.9\d\d|1\.000)   w8a8   not compared   \d+ kB", printed[-1])
    assert (folder / "q.onnx").exists() and "without a comparison" in (folder / "q.html").read_text()
    assert quantize(folder, "--epochs", "1", "--distill", "blocks", "--unverified") == 0
    assert re.search(r"agreement 1\.000 -> (0\.9|1\.0)", capsys.readouterr().out)
    assert quantize(folder, "--loss", "mse", "--distill", "blocks") == 1
    assert "trains without labels" in capsys.readouterr().err
    assert quantize(folder, "--loss", "mse") == 1 and "needs a column 'target'" in capsys.readouterr().err


def test_what_cannot_be_checked_is_refused(folder, capsys, monkeypatch):
    monkeypatch.setattr("aidgejax.quant.has_onnxruntime", lambda: False)
    monkeypatch.setattr("aidgejax.quant.runtimes.has_onnxruntime", lambda: False)
    assert quantize(folder, "--target", "onnxruntime") == 1
    assert "onnxruntime is not installed" in capsys.readouterr().err
    assert not (folder / "q.onnx").exists()
    assert quantize(folder, "--epochs", "0") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("onnxruntime: not installed, not checked")


def test_mistakes_are_one_line(folder, capsys):
    for more in (["--bits", "9"], ["--exclude", "nothing"]):
        assert quantize(folder, *more) == 1
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
