"""The two scripts of the seed page, line for line."""

import re
import runpy
from pathlib import Path

from aidgejax.frontends import aidge_core, aidge_learning

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[2] / "golden"


def code_lines_of_the_page():
    text = (GOLDEN / "aidge/seed.txt").read_text()
    starts = (
        "#",
        "model",
        "aidge_core.",
        "opt",
        "learning_rate",
        "scheduler",
        "for ",
        "pred ",
        "loss ",
        "acc ",
        "nb_iters",
        "if (i",
        "pbar",
        "max_steps",
        "dataprovider",
    )
    lines = [line.strip() for line in text.splitlines()]
    return [
        line
        for line in lines
        if line.startswith(starts)
        and "..." not in line
        and "SupportsFloat" not in line
        and not line.endswith("#")
        and re.search(r"[=(#]", line)
    ]


def test_every_line_of_the_page_stands_in_the_example():
    example = {line.strip() for line in (ROOT / "examples/aidge_learning.py").read_text().splitlines()}
    lines = code_lines_of_the_page()
    assert len(lines) > 40
    assert [line for line in lines if line not in example] == []


def test_the_page_runs(capsys):
    found = runpy.run_path(str(ROOT / "examples/aidge_learning.py"), run_name="__main__")
    assert "first script: loss" in capsys.readouterr().out
    assert found["loss"][0] < 2.3


def test_three_ways_agree(capsys):
    found = runpy.run_path(str(ROOT / "examples/aidge_three_backends.py"), run_name="__main__")
    capsys.readouterr()
    ways = [found["weights"](m) for m in found["models"].values()]
    for other in ways[1:]:
        for name, w in ways[0].items():
            assert abs(w - other[name]).max() < 1e-6, name


def test_all_is_there():
    for module in (aidge_core, aidge_learning):
        assert [n for n in module.__all__ if not hasattr(module, n)] == []
