"""What pages take from the code.

A line <!-- generated: NAME --> is replaced by what NAME writes when the pages are built (`on_page_markdown`).
Short lists stand in the pages themselves, between <!-- list: NAME --> and <!-- end -->, as pages are read as files too:
`python docs/hooks.py` writes them anew.  The test suite compares both with the code.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import aidgejax as aj
from aidgejax import frontends
from aidgejax.cli.main import parser
from aidgejax.frontends._shared.absent_modules import AbsentModules
from aidgejax.frontends.aidge_core import absent
from aidgejax.onnxio.step.targets import TARGETS
from aidgejax.ops import OPERATORS
from aidgejax.passes.loss import LOSSES
from aidgejax.reference import BACKWARDS
from aidgejax.training import callbacks, schedule
from aidgejax.training.optimizers import rules

ROOT = Path(__file__).parent.parent
LIST = r"(<!-- list: ([\w-]+) -->\n\n)(.*?)(\n\n<!-- end -->)"
EXAMPLES = (  # in the order in which they are read
    "train_digits", "build_a_graph", "finetune_a_head", "train_in_jax", "train_on_devices", "quantize_digits",
    "analog_digits", "step_loop", "onnxruntime_artifacts", "onnxruntime_on_device", "aidge_learning",
    "aidge_three_backends", "aihwkit_lenet", "singa_operations", "singa_layers", "singa_model", "tvm_relax_training",
)  # fmt: skip
# Modules whose names users import, and which have no __all__.
PUBLIC = (
    "aidge_learning.loss", "aidge_learning.metrics", "aihwkit.nn.conversion", "singa.autograd", "singa.device",
    "tvm.relax.training.loss", "tvm.relax.training.optimizer",
)  # fmt: skip


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
            value = a.metavar or (" ".join(map(str, a.choices)) if a.choices and len(a.choices) < 7 else "VALUE")
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
    """The architectures that come along, with what they cost, and their pictures."""
    pictures = []
    lines = ["| `aj.zoo.` | nodes | parameters | MACs per row | bytes kept for the gradient |", "|---|---|---|---|---|"]
    for name in functions_of(aj.zoo):
        graph = getattr(aj.zoo, name)()
        cost = aj.summary(graph)
        lines.append(
            f"| `{name}` | {len(graph.nodes)} | {cost.total('parameters'):,} | {cost.total('macs'):,} | "
            f"{cost.total('saved'):,} |"
        )
        about = " ".join((inspect.getdoc(getattr(aj.zoo, name)) or "").split("\n\n")[0].split())
        drawn = "".join(aj.infer_shapes(graph).to_svg().split("\n"))
        pictures += [
            "",
            f"## {name}",
            "",
            _cell(about),
            "",
            f'<details><summary>picture</summary><div style="overflow:auto">{drawn}</div></details>',
        ]
    return "\n".join([*lines, *pictures])


def functions_of(module: ModuleType) -> list[str]:
    """The public functions that a module defines, in its order."""
    made = inspect.isfunction
    return [n for n, f in vars(module).items() if made(f) and f.__module__ == module.__name__ and n[0] != "_"]


def examples() -> str:
    """The scripts in reading order, with the first sentence of each."""
    lines = ["| | script | what it shows |", "|---|---|---|"]
    for k, name in enumerate(EXAMPLES):
        text = ast.get_docstring(ast.parse((ROOT / f"examples/{name}.py").read_text())) or ""
        sentence = " ".join(text.split("\n\n")[0].split()).split(";")[0].rstrip(".")
        lines.append(f"| {k + 1} | `examples/{name}.py` | {_cell(sentence)} |")
    return "\n".join(lines)


def front_ends() -> str:
    """What is there to import, module by module, and what is not there with what takes its place."""
    lines, gone = [], {}
    for top in sorted(m.name for m in pkgutil.iter_modules(frontends.__path__) if m.name[0] != "_"):
        package = importlib.import_module(f"{frontends.__name__}.{top}")
        rows = []
        for module in [package, *_modules(package)]:
            name = module.__name__.removeprefix(f"{frontends.__name__}.")
            gone |= {f"{name}.{n}": why for n, why in getattr(module, "ABSENT", {}).items()}
            if names := _names(module, name):
                rows += [f"**`{name}`**: {_code(names)}", ""]
        lines += [f"## {top}", "", *rows] if rows else []
    gone |= {f"aidge_core.{n}": why for n, why in absent.NAMES.items()}
    for finder in (f for f in sys.meta_path if isinstance(f, AbsentModules)):
        gone |= {n.removeprefix(f"{frontends.__name__}."): why for n, why in finder.known.items()}
    lines += ["## Not there", "", "| name | instead |", "|---|---|"]
    lines += [f"| `{n}` | {_cell(why)} |" for n, why in sorted(gone.items())]
    lines += ["", f"Operators of Aidge's that are not there: {_code(absent.OPERATORS)}."]
    return "\n".join(lines)


def _modules(package: ModuleType) -> list[ModuleType]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    names = [m.name for m in found if not any(part[0] == "_" for part in m.name.split("."))]
    return [importlib.import_module(n) for n in names]


def _names(module: ModuleType, name: str) -> list[str]:
    if name in PUBLIC:
        there = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
        return sorted(n for n in there if n[0] != "_")
    return sorted(getattr(module, "__all__", ()))


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def with_lists(markdown: str) -> str:
    """The page with its lists as the code has them."""
    return re.sub(LIST, lambda m: m[1] + LISTS[m[2]]() + m[4], markdown, flags=re.S)


def from_root(name: str) -> str:
    """A file of the root, its headings one level lower, its links leading nowhere else."""
    text = (ROOT / name).read_text()
    return re.sub(r"^#", "##", re.sub(r"^# .*\n", "", text), flags=re.M)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("[*", "[\\*")


LISTS = {
    "callbacks": lambda: _code([*functions_of(callbacks), "Best", "BestWeights", "AverageWeights"]),
    "elementary": lambda: _code(sorted(TARGETS["elementary"].operators)),
    "examples": examples,
    "losses": lambda: _code(LOSSES),
    "optimizers": lambda: _code(sorted(rules())),
    "schedules": lambda: _code(n for n in functions_of(schedule) if n not in ("lr_profile", "schedule_of")),
}
WRITERS = {
    "command-line": command_line,
    "operators": operators,
    "front-ends": front_ends,
    "gallery": gallery,
    "changes": lambda: from_root("CHANGELOG.md"),
    "results": lambda: from_root("benchmarks/RESULTS.md"),
}


if __name__ == "__main__":
    for page in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]:
        page.write_text(with_lists(page.read_text()))
