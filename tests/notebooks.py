"""Executes notebooks without Jupyter, and stores what they show.

python -m tests.notebooks [docs/notebooks/NAME.ipynb ...]      writes the outputs into the files
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["cells"]


def execute(path: Path, other: Mapping[str, str] | None = None) -> list[list[dict[str, Any]]]:
    """The outputs of every code cell, run in order in one namespace, in the current folder.

    other: {what stands in the cells: what is run in its place}, for a smaller model.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    sources = ["".join(c["source"]) for c in cells(path) if c["cell_type"] == "code"]
    for old, new in (other or {}).items():
        if not any(old in s for s in sources):
            raise ValueError(f"{path.name} has no {old!r}")
        sources = [s.replace(old, new) for s in sources]
    return [_outputs(s, names, path.name) for s in sources]


def _outputs(source: str, names: dict[str, Any], where: str) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, where, "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    found: list[dict[str, Any]] = []
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(True)})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(True) if len(repr(value)) < 2000 else [type(value).__name__]}
        for kind, name in (("image/svg+xml", "_repr_svg_"), ("text/html", "_repr_html_")):
            if hasattr(value, name):
                data[kind] = getattr(value, name)().splitlines(True)
                break
        found.append({"output_type": "display_data", "metadata": {}, "data": data})
    return found


def store(path: Path) -> None:
    """Write the outputs of a run into the notebook."""
    path = path.resolve()
    notebook, here = json.loads(path.read_text()), os.getcwd()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        os.chdir(folder)
        try:
            outputs = iter(execute(path))
        finally:
            os.chdir(here)
    for k, c in enumerate(c for c in notebook["cells"] if c["cell_type"] == "code"):
        c["outputs"], c["execution_count"] = next(outputs), k + 1
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(FOLDER.glob("*.ipynb")):
        begun, cpu = time.perf_counter(), time.process_time()
        store(Path(name))
        print(f"{name}: {time.perf_counter() - begun:.0f} s, {time.process_time() - cpu:.0f} s of CPU", flush=True)
