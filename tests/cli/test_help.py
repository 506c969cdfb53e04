"""What a newcomer reads first: every command's help, and what a mistyped command line is answered."""

import shlex

import pytest

from aidgejax.cli.main import main, parser

COMMANDS = parser().commands


def refused(capsys, *words):
    with pytest.raises(SystemExit) as left:
        main(list(words))
    out, err = capsys.readouterr()
    assert left.value.code == 2 and not out
    return err.splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_for_in_one_line_and_shows_commands_that_work(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert left.value.code == 0
    assert lines[0].startswith(f"usage: python -m aidgejax {command} ") and not lines[1] and len(lines[0]) < 80
    assert lines[2][0].isupper()
    examples = [line.strip() for line in lines[lines.index("examples:") + 1 :]]
    assert examples
    for line in examples:
        parser().parse_args(shlex.split(line.removeprefix("python -m aidgejax ")))
    assert not any(word in "\n".join(lines) for word in ("BATCH_SIZE", "%(", "==SUPPRESS=="))


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_the_list_of_commands_fits_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.split()[:1] == [c] for line in lines) for c in COMMANDS)
    assert all(len(line) <= max(80, int(columns)) for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "arguments are required: command, one of artifacts, "),
        (("quantise", "m.onnx"), "; did you mean quantize? (see "),
        (
            ("quantize", "m.onnx", "--out", "q.onnx", "--learning-rate", "1"),
            "unrecognized arguments: --learning-rate 1; did you mean --lr",
        ),
        (("quantize", "m.onnx", "--out", "q", "--form", "c"), "; did you mean --target?"),
        (("train", "--batch_size=4"), "unrecognized arguments: --batch_size=4; did you mean --batch-size?"),
        (("train", "--no-such"), "unrecognized arguments: --no-such (see "),
        (("evaluate", "m.onnx"), "the following arguments are required: DATA"),
        (("evaluate", "m.onnx", "d.npz", "e.npz"), "unrecognized arguments: e.npz (see "),
        (("train", "--optimizer", "adan"), "invalid choice: 'adan'"),
        (("train", "--epochs", "0"), "argument --epochs: 0 is below 1"),
    ],
)
def test_a_mistyped_line_is_answered_in_two_with_what_was_meant(words, message, capsys):
    lines = refused(capsys, *words)
    assert len(lines) == 2 and lines[0].startswith("usage: python -m aidgejax") and message in lines[1]
    command = words[0] if words and words[0] in COMMANDS else ""
    assert lines[1].endswith(f"(see {' '.join(['python -m aidgejax', command]).strip()} --help)")


def test_the_formula_sheet_is_searched_by_name(capsys):
    assert main(["ops", "relu", "*Pool"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"Relu", "MaxPool"} <= {line.split()[0] for line in lines} and len(lines) < 12
    assert main(["ops", "Cnov"]) == 1 and "near to it: Conv" in capsys.readouterr().err
