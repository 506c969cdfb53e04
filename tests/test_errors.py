"""Every message ends by naming a section that there is, and every section is named by one."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import errors
from aidgejax.cli.commands.explain import sections
from aidgejax.cli.main import main
from aidgejax.errors import about
from aidgejax.frontends.singa._errors import DoesNotFit

ROOT = Path(aj.__file__).parent
CLASSES = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, aj.AidgeJaxError)}


def test_sections_are_the_classes_and_the_names_that_the_code_gives():
    named = {n for p in ROOT.rglob("*.py") for n in re.findall(r'\babout\(\s*"([\w-]+)"', p.read_text())}
    assert set(sections()) == CLASSES | named and named
    assert all(len(text) > 60 for text in sections().values())


def test_the_page_is_the_one_that_is_installed():
    assert (ROOT.parent / "docs/reference/errors.md").read_text() == (ROOT / "assets/errors.md").read_text()


def test_commands_and_options_in_the_cures_are_there(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    options = set(re.findall(r"--[\w-]+", capsys.readouterr().out)) | {"--on-nonfinite"}
    text = (ROOT / "assets/errors.md").read_text()
    assert set(re.findall(r"--[\w-]+", text)) <= options
    commands = {p.stem for p in (ROOT / "cli/commands").glob("*.py")}
    assert set(re.findall(r"python -m aidgejax (\w+)", text)) <= commands
    for name in re.findall(r"`aj\.([\w.]+)", text):
        found = aj
        for part in name.split("."):
            found = getattr(found, part)


def test_an_error_names_its_class_or_what_it_was_given():
    assert aj.DataError("x").topic == "DataError" and str(aj.DataError("x")) == "x"
    assert DoesNotFit("x").topic == "GraphError"  # of a front end's class the core's
    error = pickle.loads(pickle.dumps(about("labels", aj.DataError("x", 1))))
    assert (
        error.topic == "labels"
        and error.__notes__ == ["more: python -m aidgejax explain labels"]
        and error.args == ("x", 1)
    )


def test_real_messages_name_their_cure(tmp_path, capsys, monkeypatch):
    program = aj.make_program(aj.zoo.mlp((4, 3, 2)))
    graph = program.graph

    def forward(x):
        program.forward(graph.params, {}, {"x": x})

    for call, topic in [
        (lambda: forward(np.ones((2, 5), np.float32)), "input-shape"),
        (lambda: forward(np.ones((2, 4), np.int32)), "input-dtype"),
        (lambda: aj.data.check_labels(np.array([0, 9]), 3), "labels"),
        (lambda: aj.batch_order(3, 8), "batch-size"),
        (
            lambda: aj.train(graph.frozen(graph.params), {"x": np.ones((4, 4)), "target": np.zeros(4, int)}),
            "nothing-to-train",
        ),
        (lambda: graph.node("absent"), "GraphError"),
    ]:
        with pytest.raises(aj.AidgeJaxError) as found:
            call()
        assert found.value.topic == topic
    (tmp_path / "full").mkdir()
    (tmp_path / "full/here").touch()
    assert main(["train", "--out", str(tmp_path / "full")]) == 1
    assert capsys.readouterr().err.rstrip().endswith("(more: aidgejax explain run-folder)")


def test_explain_prints_lists_and_guesses(capsys):
    assert main(["explain", "Input-Shape"]) == 0
    assert "channels first" in capsys.readouterr().out
    assert main(["explain"]) == 0
    assert capsys.readouterr().out.split() == list(sections())
    assert main(["explain", "GrahpError"]) == 1
    assert "near to it: GraphError" in capsys.readouterr().err
