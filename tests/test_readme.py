"""The README keeps its word: its snippets run, its commands are what CI runs."""

import contextlib
import importlib
import io
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
import types

import pytest

import aidgejax
from aidgejax.cli import commands as cli_commands
from aidgejax.cli.main import parser as cli_parser
from aidgejax.execution.program import make_program
from aidgejax.ops import OPERATORS

from . import pages
from .pages import PAGES, ROOT, SLOW, snippets

README = (ROOT / "README.md").read_text()
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)
WITH_CODE = [pytest.param(p, marks=[pytest.mark.slow] * (p.name in SLOW), id=p.name) for p in PAGES if snippets(p)]


def test_the_first_two_shell_blocks_are_one_line_each():
    assert SHELL[0] == 'pip install ".[examples]" && python -m aidgejax train\n'
    assert SHELL[1].startswith('pip install ".[test]" && python -m pytest') and SHELL[1].count("\n") == 1


def test_ci_runs_the_readme_s_test_command():
    assert SHELL[1].strip() in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("page", WITH_CODE)
def test_the_python_snippets_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        pages.run(page, names)
    for shown in re.findall(r"^```text\n(.*?)^```", page.read_text(), re.M | re.S):
        assert shown in printed.getvalue(), f"{page.name} shows what the code does not print"
    if page.name == "README.md":
        assert make_program(names["g"]).to_svg() == (ROOT / "docs/pictures/tiny.svg").read_text()
    if page.name == "start.md":
        assert "\n['head.w']\n" in printed.getvalue() and names["report"].ok and (tmp_path / "trained.onnx").exists()


def test_every_block_of_code_says_its_language_and_is_tested():
    """python: run; text: what that prints; sh: the arguments are parsed."""
    for page in PAGES:
        opened = re.findall(r"^ *```(.*)$", page.read_text(), re.M)[::2]
        assert set(opened) <= {"python", "text", "sh"}, f"{page.name}: {set(opened)}"


def test_readme_fits_on_a_few_screens():
    assert README.count("\n") <= 180


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_a_file_and_a_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, link


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r": ([\w/-]+\.(?:md|ipynb))$", (ROOT / "mkdocs.yml").read_text(), re.M))
    there = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")]
    assert named == {str(p.relative_to(ROOT / "docs")) for p in there}


def test_a_how_to_answers_one_question_in_forty_lines():
    long = {p.name: n for p in (ROOT / "docs/how-to").glob("*.md") if (n := p.read_text().count("\n")) > 40}
    assert not long


@pytest.fixture(scope="module")
def hooks():
    return runpy.run_path(str(ROOT / "docs/hooks.py"))


@pytest.mark.parametrize("page", [p for p in PAGES if "<!-- list: " in p.read_text()], ids=lambda p: p.name)
def test_the_lists_in_the_pages_are_those_of_the_code(hooks, page):
    assert hooks["with_lists"](page.read_text()) == page.read_text(), "write them anew: python docs/hooks.py"


def test_pages_take_commands_operators_and_results_from_the_code(hooks):
    pages = {p.name: hooks["on_page_markdown"](p.read_text()) for p in (ROOT / "docs").rglob("*.md")}
    listed = {n for p in PAGES for n in re.findall(r"<!-- list: ([\w-]+) -->", p.read_text())}
    assert listed == set(hooks["LISTS"])
    assert "**`tvm.relax.training`**: `AppendLoss`, " in pages["front-ends.md"]
    assert "| `onnxruntime.training.ORTModule` | export " in pages["front-ends.md"]
    asked = {n for p in PAGES for n in re.findall(r"<!-- generated: ([\w-]+) -->", p.read_text())}
    assert asked == set(hooks["WRITERS"]) and not any("<!-- generated" in text for text in pages.values())
    commands = {m.name.replace("_", "-") for m in pkgutil.iter_modules(cli_commands.__path__)}
    assert set(re.findall(r"^## ([\w-]+)$", pages["command-line.md"], re.M)) == commands
    assert "| `--batch-size VALUE` |" in pages["command-line.md"] and "%(default)" not in pages["command-line.md"]
    assert set(re.findall(r"^\| `(\w+)` \|", pages["operators.md"], re.M)) == set(OPERATORS)
    assert all(f"| `{name}` |" in pages["gallery.md"] for name in ("mlp", "ds_cnn", "transformer_encoder"))
    assert "| `lenet` | 12 | 61,706 |" in pages["gallery.md"] and pages["gallery.md"].count("<svg") == 6
    assert "ResNet-8" in pages["benchmarks.md"] and "## Unreleased" in pages["changes.md"].replace("### ", "## ")


def test_arguments_in_docstrings_become_a_list(monkeypatch):
    """The pages are built with griffe, which the tests do without."""
    monkeypatch.setitem(sys.modules, "griffe", types.SimpleNamespace(Extension=object, Object=object))
    as_list = runpy.run_path(str(ROOT / "docs/docstrings.py"))["as_list"]
    text = "Adds.\n\nx, y: what is added,\n    both of them.  z: not used.\nnote: this is prose.\nRaises nothing."
    assert as_list(text, {"x", "y", "z"}).splitlines() == [
        "Adds.", "", "", "* `x, y`: what is added,", "    both of them.", "* `z`: not used.", "",
        "note: this is prose.", "Raises nothing.",
    ]  # fmt: skip


def test_the_page_of_the_api_has_every_public_name():
    shown = re.findall(r"^::: aidgejax\.(\w+)$", (ROOT / "docs/reference/api.md").read_text(), re.M)
    public = {n for n in aidgejax.__all__ if not isinstance(getattr(aidgejax, n), types.ModuleType)}
    assert public <= set(shown) and len(shown) == len(set(shown))


@pytest.mark.parametrize("page", sorted((ROOT / "docs/coming-from").glob("*.md")), ids=lambda p: p.stem)
def test_a_porter_finds_what_runs_what_to_edit_what_is_not_there(page):
    text = page.read_text()
    parts = re.findall(r"^## (.*)$", text, re.M)
    assert {"Runs unchanged", "Runs with these edits", "Not there", "Deviations"} <= set(parts)
    for module in re.findall(r"aidgejax\.frontends\.[\w.]*\w", text):  # what the page says to import is there
        importlib.import_module(module)


def test_every_command_that_is_shown_is_one():
    """As far as its arguments go: what stands in `sh` blocks, and in a line's `python -m aidgejax ...`."""
    shown = []
    for page in PAGES:
        text = page.read_text()
        blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S))
        shown += [(page.name, line) for line in re.findall(r"(?:python -m )?aidgejax (\w[^#\n]*)", blocks)]
        shown += [(page.name, line) for line in re.findall(r"`(?:python -m )?aidgejax ([a-z][^`]* [^`]*)`", text)]
    assert len(shown) > 15
    for page, line in shown:
        if "NAME" in line or "COMMAND" in line or "..." in line:
            continue
        try:
            cli_parser().parse_args(shlex.split(line.replace("\\", "")))
        except SystemExit:
            pytest.fail(f"{page} shows `aidgejax {line}`, which is no command")


def test_the_page_of_examples_lists_every_one():
    shown = set(re.findall(r"`examples/(\w+\.py)`", (ROOT / "docs/examples.md").read_text()))
    assert shown == {p.name for p in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("name", ["build_a_graph", "train_in_jax"])
def test_the_small_examples_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out


ALONE = [p for p in sorted((ROOT / "examples").glob("*.py")) if p.stem != "onnxruntime_on_device"]


@pytest.mark.slow
@pytest.mark.parametrize("path", ALONE, ids=lambda p: p.stem)  # onnxruntime_artifacts.py runs the one left out
def test_every_example_runs(path, tmp_path):
    subprocess.run([sys.executable, str(path)], cwd=tmp_path, check=True, timeout=900)
