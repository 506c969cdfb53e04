"""What pages take from the code when they are built: a line <!-- generated: NAME --> is replaced by what NAME writes.

mkdocs calls `on_page_markdown`; the test suite calls the functions, so that no page says what the code does not.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import aidgejax as aj
from aidgejax.cli.main import parser
from aidgejax.ops import OPERATORS
from aidgejax.reference import BACKWARDS

ROOT = Path(__file__).parent.parent


def on_page_markdown(markdown: str, **_: object) -> str:
    """mkdocs' hook."""
    return re.sub(r"<!-- generated: ([\w-]+) -->", lambda m: WRITERS[m[1]](), markdown)


def command_line() -> str:
    """Every command with its options."""
    commands = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    lines = []
    for name, command in sorted(commands.choices.items()):
        help = next(c.help for c in commands._choices_actions if c.dest == name)
        lines += [f"## {name}", "", f"{help[0].upper()}{help[1:]}.", "", "| argument | what it is |", "|---|---|"]
        for a in command._actions:
            if a.dest == "help":
                continue
            value = a.metavar or ("|".join(map(str, a.choices)) if a.choices and len(a.choices) < 7 else "VALUE")
            shown = " ".join(a.option_strings) or value
            if a.option_strings and a.nargs != 0:
                shown += f" {value}"
            lines.append(f"| `{_cell(shown)}` | {_cell(command._get_formatter()._expand_help(a)) if a.help else ''} |")
        lines += ["", "```sh", *(line.strip() for line in (command.epilog or "").splitlines()[1:]), "```", ""]
    return "\n".join(lines)


def operators() -> str:
    """The formula sheet as a table."""
    lines = ["| operator | ONNX | gradient | NumPy backward | formula |", "|---|---|---|---|---|"]
    for name in sorted(OPERATORS):
        o = OPERATORS[name]
        where = "aidgejax" if o.onnx is None else f"{o.onnx[0] or 'ONNX'} {o.onnx[1]}"
        own = "yes" if name in BACKWARDS else ""
        lines.append(f"| `{name}` | {where} | {'rule' if o.vjp else ''} | {own} | {_cell(o.formula)} |")
    rules = sum(1 for o in OPERATORS.values() if o.vjp)
    return "\n".join([f"{len(OPERATORS)} operators, {rules} with a rule.", "", *lines])


def gallery() -> str:
    """The architectures that come along, with what they cost."""
    lines = ["| `aj.zoo.` | nodes | parameters | MACs per row | bytes kept for the gradient |", "|---|---|---|---|---|"]
    for name in ("mlp", "lenet", "resnet8", "mobilenet_v1", "transformer_encoder"):
        graph = getattr(aj.zoo, name)()
        cost = aj.summary(graph)
        lines.append(
            f"| `{name}` | {len(graph.nodes)} | {cost.total('parameters'):,} | {cost.total('macs'):,} | "
            f"{cost.total('saved'):,} |"
        )
    return "\n".join(lines)


def from_root(name: str) -> str:
    """A file of the root, its headings one level lower, its links leading nowhere else."""
    text = (ROOT / name).read_text()
    return re.sub(r"^#", "##", re.sub(r"^# .*\n", "", text), flags=re.M)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("[*", "[\\*")


WRITERS = {
    "command-line": command_line,
    "operators": operators,
    "gallery": gallery,
    "changes": lambda: from_root("CHANGELOG.md"),
    "results": lambda: from_root("benchmarks/RESULTS.md"),
}
