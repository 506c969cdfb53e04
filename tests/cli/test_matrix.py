"""Every kind of model with every kind of target in every layout of data, through the command line: 64 pairs."""

import numpy as np
import onnx
import pytest

from aidgejax.cli.main import main

from ..tools.test_train import MODELS, PAIRS

LAYOUTS = ("npz", "keras", "unequal", "npy")
# In every run: one layout for each kind of model.
SAMPLE = {(n, LAYOUTS[n % 4]) for n in (0, 5, 6, 8, 10, 13)}


def save(folder, layout, x, y):
    if layout == "npy":
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", y)
        return folder / "x.npy"
    part = {
        "npz": {"x": x, "target": y},
        "keras": {"x_train": x[:30], "y_train": y[:30], "x_test": x[30:], "y_test": y[30:]},
    }
    columns = part.get(layout) or {"X": x, "Y": y, "test_X": x[:9], "test_Y": y[:9]}
    np.savez(folder / "d.npz", **columns)
    return folder / "d.npz"


def cases():
    for n in range(len(PAIRS)):
        for layout in LAYOUTS:
            marks = () if (n, layout) in SAMPLE else pytest.mark.slow
            yield pytest.param(n, layout, marks=marks, id=f"{PAIRS[n][0]}-{n}-{layout}")


@pytest.mark.parametrize(("n", "layout"), list(cases()))
def test_a_pair_trains_and_says_how(n, layout, tmp_path, capsys):
    kind, x, y, said, score = PAIRS[n]
    onnx.save(MODELS[kind](), tmp_path / "m.onnx")
    data, out = save(tmp_path, layout, x, y), tmp_path / "run"
    command = ["train", "--model", str(tmp_path / "m.onnx"), "--data", str(data), "--epochs", "1", "--out", str(out)]
    assert main([*command, "--batch-size", "1000", "--cache", "off"]) == 0
    printed = capsys.readouterr().out
    rows = {"keras": (30, 10), "unequal": (40, 9)}.get(layout, (32, 8))
    assert f"loss: {said}" in printed and "trained: w" in printed
    assert f"{rows[0]} rows to train on, {rows[1]} to test" in printed
    assert printed.splitlines()[-1].startswith(f"test {score} ")
    written, given = onnx.load(out / "model.onnx"), MODELS[kind]()
    assert [t.name for t in written.graph.initializer] == [t.name for t in given.graph.initializer]
    assert written.graph.initializer[0].raw_data != given.graph.initializer[0].raw_data
