"""The structure of the package, held by machine: floors, circles, front ends, private names, no autograd."""

import ast
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

import aidgejax

ROOT = Path(aidgejax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Imports go down only.  `BESIDE` lists the few that stay on a floor.
FLOOR = {
    "errors": 0, "dtypes": 0, "files": 0, "drawing": 0,
    "graph": 1, "arguments": 1,
    "ops": 2, "reference": 2,
    "interpreter": 3,
    "passes": 4,
    "execution": 5,
    "training": 6, "onnxio": 6,
    "analog": 7, "quant": 7,
    "tools": 8,
    "frontends": 9, "cli": 9,
    "__init__": 10, "__main__": 10,
}  # fmt: skip
BESIDE = {
    ("dtypes", "errors"),
    ("files", "errors"),
    ("drawing", "files"),
    ("arguments", "graph"),
    ("quant", "analog"),
    ("__main__", "__init__"),
}
WITHOUT_JAX = {"errors", "files", "graph", "arguments", "reference", "onnxio"}
WITH_ONNX = {"onnxio", "frontends"}
DERIVATIVES = {"grad", "value_and_grad", "vjp", "jvp", "linearize", "linear_transpose", "jacfwd", "jacrev", "hessian",
               "pure_callback", "io_callback", "ad", "custom_jvp"}  # fmt: skip


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(p): p for p in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file's tree: walking costs more than any test that looks at them."""
    return tuple(ast.walk(tree_of(path)))


def room(module: str) -> str:
    return (module.split(".") + ["__init__"])[1]


@cache
def imports(path: Path) -> tuple[tuple[str, tuple[str, ...], int], ...]:
    mine = module_of(path)
    return imports_in(nodes_of(path), mine.split(".") if path.name == "__init__.py" else mine.split(".")[:-1])


def imports_in(nodes: Iterable[ast.AST], package: list[str]) -> tuple[tuple[str, tuple[str, ...], int], ...]:
    """(module, names, line) of every import, those inside functions and those by importlib or __import__ included.

    Of a name that is computed, f"{__name__}.{family}", every module of the package counts that is not private.
    """
    found: list[tuple[str, tuple[str, ...], int]] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [(a.name, (), node.lineno) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.append((module, tuple(a.name for a in node.names), node.lineno))
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                found += [(m, (), node.lineno) for m in _written_modules(node.args[0], package)]
    return tuple(found)


def _written_modules(argument: ast.expr, package: list[str]) -> list[str]:
    """The module that a literal or f"{__name__}.x" names; where a part is computed, all modules that it may be."""
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    text, computed = "", False
    for part in parts:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            text += part.value
        elif isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) and part.value.id == "__name__":
            text += ".".join(package)
        else:
            computed = True
            break
    if text.startswith("."):
        text = ".".join(package) + text
    if not computed:
        return [text]
    return [m for m in MODULES if m.startswith(text) and not m.removeprefix(text).startswith("_") and text]


@cache
def own_imports(path: Path) -> frozenset[str]:
    """The modules of aidgejax that a file imports: a name from a package counts for the submodule, if it is one."""
    found = set()
    for module, names, _ in imports(path):
        if module.split(".")[0] == "aidgejax":
            subs = {f"{module}.{n}" for n in names if f"{module}.{n}" in MODULES}
            found |= subs
            if module in MODULES and (not names or len(subs) < len(names)):
                found.add(module)
    # A package whose __init__ holds code is run by an import of any of its modules from outside.
    mine = module_of(path)
    for module in list(found):
        parts = module.split(".")
        above = {".".join(parts[:n]) for n in range(2, len(parts))}
        found |= {a for a in above if holds_code(a) and not f"{mine}.".startswith(f"{a}.")}
    return frozenset(found - {mine})


@cache
def holds_code(package: str) -> bool:
    plain = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    return any(not isinstance(n, plain) for n in tree_of(MODULES[package]).body)


def test_imports_are_seen_in_every_form():
    text = """
import aidgejax.a
from ..passes import fuse
def __getattr__(name):
    from . import late
    return importlib.import_module(f"{__name__}.{name}")
__import__("aidgejax.tools.zoo")
importlib.import_module(".conv", __name__)
"""
    package = ["aidgejax", "ops"]
    seen = {(m, names) for m, names, _ in imports_in(ast.walk(ast.parse(text)), package)}
    assert {("aidgejax.a", ()), ("aidgejax.passes", ("fuse",)), ("aidgejax.ops", ("late",))} <= seen
    assert {("aidgejax.tools.zoo", ()), ("aidgejax.ops.conv", ())} <= seen
    assert ("aidgejax.ops.pool", ()) in seen and ("aidgejax.ops._windows", ()) not in seen


def test_imports_go_down_only():
    wrong = [f"{module_of(path)}: {e}" for path in FILES for e in wrong_imports(path)]
    assert wrong == [], "\n".join(wrong)


def wrong_imports(path):
    mine = room(module_of(path))
    for theirs in {room(m) for m in own_imports(path)} - {mine}:
        if mine == "reference":
            if theirs not in ("errors", "graph", "dtypes"):
                yield f"the NumPy backend imports {theirs}"
        elif (mine, theirs) not in BESIDE and FLOOR[theirs] >= FLOOR[mine]:
            yield f"{mine} (floor {FLOOR[mine]}) imports {theirs} ({FLOOR[theirs]})"
        if theirs == "reference" and FLOOR[mine] < 5:
            yield "imports the NumPy backend"
    for module, names, _ in imports(path):
        top = module.split(".")[0]
        if top in ("jax", "jaxlib") and mine in WITHOUT_JAX or top == "onnx" and mine not in WITH_ONNX:
            yield f"imports {module}"
        if top in ("optax", "flax", "tensorflow", "scipy", "sklearn"):
            yield f"imports {module}"
        if top == "chex" and mine in ("errors", "graph", "reference"):
            yield f"imports {names} of chex"


def circles() -> list[list[str]]:
    """Strongly connected groups of more than one module (Tarjan, 1972)."""
    edges = {m: own_imports(p) for m, p in MODULES.items()}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in edges[module]:
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = [stack.pop()]
            while group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    for module in edges:
        if module not in index:
            visit(module)
    sys.setrecursionlimit(limit)
    return found


def test_no_circle_of_modules():
    assert circles() == []


def front_end(module: str) -> str | None:
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["frontends"] and len(parts) > 2 else None


def test_no_front_end_imports_another():
    wrong = []
    for module, path in MODULES.items():
        mine = front_end(module)
        for theirs in {front_end(m) for m in own_imports(path)} - {mine, None, "_shared"}:
            if mine and not (mine.startswith("aidge_") and theirs == "aidge_core"):
                wrong.append(f"{module} imports {theirs}")
    assert wrong == []


def package_of(module: str) -> str:
    return front_end(module) or room(module)


def test_no_private_name_of_another_package():
    """Neither `from ..other import _name` nor `thing._name` of something that another package defines."""
    owners: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        for node in nodes_of(path):
            for name in _private_names(node):
                owners.setdefault(name, set()).add(package_of(module))
    wrong = []
    for module, path in MODULES.items():
        mine = package_of(module)
        for other, names, line in imports(path):
            if other.split(".")[0] == "aidgejax" and package_of(other) != mine:
                wrong += [f"{module}:{line} imports {n}" for n in names if _is_private(n)]
                wrong += [f"{module}:{line} imports {other}"] * any(map(_is_private, other.split(".")[2:]))
        for node in nodes_of(path):
            if isinstance(node, ast.Attribute) and _is_private(node.attr):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    continue
                if owners.get(node.attr, set()) and mine not in owners[node.attr]:
                    wrong.append(f"{module}:{node.lineno} reaches for {node.attr}")
    wrong = [w for w in wrong if "_shared" not in w]
    assert wrong == [], "\n".join(wrong)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _private_names(node: ast.AST):
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and _is_private(node.name):
        yield node.name
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_private(node.attr):
        if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            yield node.attr
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _is_private(node.target.id):
        yield node.target.id
    elif isinstance(node, ast.Assign):
        yield from (t.id for t in node.targets if isinstance(t, ast.Name) and _is_private(t.id))


# Modules of others that our text refers to.
ELSEWHERE = {"jax", "lax", "numpy", "np", "onnx", "torch", "self", "cls"}


def test_references_in_text_lead_somewhere():
    """A module, file or `module.name` of this package that a docstring or comment names exists."""
    stems: dict[str, list[Path]] = {}
    for path in FILES:
        stems.setdefault(path.parent.name if path.name == "__init__.py" else path.stem, []).append(path)
    wrong = []
    for path in FILES:
        for line, text in prose(path):
            for name in re.findall(r"\baidgejax(?:\.[a-zA-Z_]\w*)+", text):
                if not _resolves(name):
                    wrong.append(f"{module_of(path)}:{line} names {name}")
            for name in re.findall(r"(?<![\w/.])((?:\w+/)*\w+\.py)\b", text):
                near = [p for p in FILES if str(p.relative_to(ROOT.parent)).endswith(f"/{name}")]
                outside = (ROOT.parent / name).exists()
                if not near and not outside and "Source" not in text and "(" not in text.split(name)[0][-40:]:
                    wrong.append(f"{module_of(path)}:{line} names the file {name}")
            for where, name in re.findall(r"\bsee (?:also )?`?(\w+)\.([a-z_]\w*)`?(?![\w(/])", text):
                if where in stems and name != "py" and not any(name in p.read_text() for p in stems[where]):
                    wrong.append(f"{module_of(path)}:{line} names {where}.{name}")
                elif where not in stems and (name == "py" or where.islower() and where not in ELSEWHERE):
                    wrong.append(f"{module_of(path)}:{line} names {where}.{name}")
    assert wrong == [], "\n".join(wrong)


def prose(path: Path):
    """(line, text) of comments and docstrings."""
    for n, line in enumerate(path.read_text().splitlines(), 1):
        if "#" in line:
            yield n, line.split("#", 1)[1]
    for node in nodes_of(path):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
            for k, line in enumerate(text.splitlines()):
                yield getattr(node, "lineno", 1) + k, line


def _resolves(name: str) -> bool:
    thing = aidgejax
    for part in name.split(".")[1:]:
        try:
            thing = getattr(thing, part, None) or importlib.import_module(f"{thing.__name__}.{part}")
        except (ImportError, AttributeError):
            return False
    return True


def test_jax_differentiates_nothing():
    wrong = []
    for path in FILES:
        mine = module_of(path)
        for node in nodes_of(path):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("jax", "ad"):
                if node.attr in DERIVATIVES or node.attr == "custom_vjp" and mine != "aidgejax.execution.program":
                    wrong.append(f"{mine}:{node.lineno} jax.{node.attr}")
        for module, names, line in imports(path):
            if module.split(".")[0] == "jax" and ({*module.split("."), *names} & {*DERIVATIVES, "custom_vjp"}):
                wrong.append(f"{mine}:{line} from {module} import {names}")
    assert wrong == [], "\n".join(wrong)


def test_no_function_bears_the_name_of_a_module():
    rooms = {m.name for m in pkgutil.iter_modules([str(ROOT)])}
    for name in aidgejax.__all__:
        thing = getattr(aidgejax, name)
        assert name not in rooms or importlib.import_module(f"aidgejax.{name}") is thing, name


def test_no_assert_and_nothing_unfinished():
    for path in FILES:
        assert not [n.lineno for n in nodes_of(path) if isinstance(n, ast.Assert)], path
        assert not any(word in path.read_text() for word in ("TODO", "FIXME", "raise NotImplementedError")), path


def test_every_module_can_be_imported():
    for module in MODULES:
        if not module.endswith("__main__"):
            importlib.import_module(module)


MOST_IGNORES = 20


def test_types_are_ignored_rarely_and_for_a_reason():
    """`# type: ignore[code]  # reason`, and few of them."""
    found = [
        (f"{module_of(p)}:{n}", line.split("#", 1)[1])
        for p in FILES
        for n, line in enumerate(p.read_text().splitlines(), 1)
        if "# type: ignore" in line
    ]
    bare = [where for where, text in found if not re.match(r" type: ignore\[[a-z-]+\]  # \w", text)]
    assert bare == [], f"a type that is ignored has a code and a reason: {bare}"
    assert len(found) <= MOST_IGNORES, f"{len(found)} types are ignored, at most {MOST_IGNORES}: {found}"


TESTS = Path(__file__).parent
# What is not of one package: whole networks against other systems, numbers of theirs.
ACROSS = {"models", "golden"}


def test_tests_mirror_the_tree():
    """tests/<package>/ tests aidgejax/<package>/; what is tested of one package stands there and not at the root."""
    packages = {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()}
    folders = {p.name for p in TESTS.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders - packages - ACROSS == set()
    front_ends = {p.name for p in (ROOT / "frontends").iterdir() if (p / "__init__.py").exists()}
    tested = {p.name for p in (TESTS / "frontends").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert [t for t in tested if not any(f == t or f.startswith(f"{t}_") for f in front_ends)] == []
    own = {p.stem.removeprefix("test_") for p in TESTS.glob("test_*.py")}
    inside = {p.stem for p in FILES if p.parent != ROOT} - {p.stem for p in ROOT.glob("*.py")}
    assert own & (inside - packages) == set(), "these belong into the folder of their package"


def test_the_top_level_holds_what_belongs_there():
    """A model that somebody's script wrote into the clone was once committed with the rest; what is not is yours."""
    if not (ROOT.parent / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no clone: what is committed is not known")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    top = {name for name in listed.stdout.split("\n") if "/" not in name and not name.startswith(".") and name}
    assert {Path(name).suffix for name in top} <= {".md", ".toml", ".cff", ".yml", ""}, top


# Who opens a file for writing without `files`, and why nothing is lost by it.
WRITERS = {
    "files": "the one home",
    "onnxio.artifacts.generate": "a folder beside, whose files are moved when all are there",
    "training.callbacks": "a text that grows",
    "frontends.aidge_core.log": "a text that grows",
    "quant.c_form": "a temporary folder for the compiler",
    "cli.launcher": "what a process says while it runs",
    "cli.run_folder": "whether the folder takes a file",
}


def test_files_are_written_whole():
    """One home of writing: whoever is killed, or finds a full disk, leaves what was there before."""
    found = {}
    for path in FILES:
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and _writes(node):
                found.setdefault(module_of(path).removeprefix("aidgejax."), node.lineno)
    assert found.keys() == WRITERS.keys(), found


def _writes(call: ast.Call) -> bool:
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if (
        called != "open"
        or isinstance(call.func, ast.Attribute)
        and getattr(call.func.value, "id", "") in ("z", "archive")
    ):
        return called in ("write_text", "write_bytes")  # a member of an archive is not a file
    words = [*call.args, *(k.value for k in call.keywords)]
    modes = [w.value for w in words if isinstance(w, ast.Constant) and isinstance(w.value, str)]
    return any(set(m) <= set("rwxab+t") and set(m) & set("wxa") for m in modes)


LONGEST_FILE = 500


def test_files_hold_one_idea():
    """A file beyond this length holds two."""
    long = {module_of(p): n for p in FILES if (n := len(p.read_text().splitlines())) > LONGEST_FILE}
    assert long == {}
