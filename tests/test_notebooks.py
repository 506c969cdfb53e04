"""The notebooks of the documentation: what they show is stored, and each runs.

Two minutes on two cores are the limit of each; all of them: python -m pytest -m slow tests/test_notebooks.py
"""

import time

import pytest

from .notebooks import FOLDER, cells, execute

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_five_in_order():
    assert [p.name[0] for p in NOTEBOOKS] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_cell_was_run_in_order_and_a_picture_is_stored(path):
    code = [c for c in cells(path) if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    outputs = [o for c in code for o in c["outputs"]]
    assert any("image/svg+xml" in o.get("data", {}) for o in outputs)
    assert not any(o["output_type"] == "error" for o in outputs)


def test_a_notebook_runs_in_the_suite(tmp_path, monkeypatch):
    """The shortest: training on the device."""
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    outputs = execute(NOTEBOOKS[4])
    assert all(outputs)
    accuracy = float(outputs[-1][0]["text"][0].rsplit(" ", 1)[1])
    assert accuracy > 0.8


def test_a_second_one_runs_with_a_smaller_network(tmp_path, monkeypatch):
    """Reading the gradient."""
    monkeypatch.chdir(tmp_path)
    smaller = {"aj.zoo.lenet(size=8)": "aj.zoo.mlp((64, 8, 10))", "(32, 1, 8, 8)": "(32, 64)", "steps=5": "steps=1"}
    printed = "".join(t for cell in execute(NOTEBOOKS[3], smaller) for o in cell for t in o.get("text", []))
    assert "True largest gradient difference below 1e-4: True\n" in printed and printed.count("True\n") == 2


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_notebook_runs_within_two_minutes(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = time.process_time()
    outputs = execute(path)
    assert sum(map(bool, outputs)) >= len(outputs) // 2 and time.process_time() - begun < 240
