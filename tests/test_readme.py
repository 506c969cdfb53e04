"""The README keeps its word: its snippets run, its commands are what CI runs."""

import contextlib
import io
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)
# The snippets of the front doors are cut from the examples, which are tested by themselves.
PYTHON = re.findall(r"^```python\n(.*?)^```", README.split("\n## Front doors")[0], re.M | re.S)


def test_the_first_two_shell_blocks_are_one_line_each():
    assert SHELL[0] == 'pip install ".[examples]" && python -m aidgejax train\n'
    assert SHELL[1].startswith('pip install ".[test]" && python -m pytest') and SHELL[1].count("\n") == 1


def test_ci_runs_the_readme_s_test_command():
    assert SHELL[1].strip() in (ROOT / ".ci" / "run").read_text()


def test_the_python_snippets_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        for snippet in PYTHON:
            exec(compile(snippet.replace("epochs=20", "epochs=2"), "README.md", "exec"), names)
    assert "graph tiny_grad(x:float32[N, 3]" in told.getvalue() and "\n['head.w']\n" in told.getvalue()
    (printed,) = re.findall(r"^```text\n(.*?)^```", README, re.M | re.S)
    assert printed in told.getvalue(), "the README shows another gradient graph than the code prints"
    assert (tmp_path / "trained.onnx").exists() and names["report"].ok


@pytest.mark.parametrize("name", ["graph_by_hand", "as_jax_loop"])
def test_the_small_examples_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_every_example_runs(path, tmp_path):
    subprocess.run([sys.executable, str(path)], cwd=tmp_path, check=True, timeout=900)
