"""The house keeps its own rules: floors, no autograd, names."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import aidgejax

ROOT = Path(aidgejax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# The table of floors: a room imports from lower floors, or from beside itself on its own.
FLOOR = {
    "errors": 0,
    "graph": 1, "match": 1,
    "ops": 2, "fillers": 2, "optim": 2, "schedule": 2, "metrics": 2, "zoo": 2,
    "freeze": 2,
    "gradient": 3, "walk": 3, "unroll": 3, "lower": 3,
    "train": 4, "data": 4, "checkpoint": 4, "parallel": 4, "analog": 4, "onnxio": 4,
    "backend": 5, "comparison": 5, "summary": 5,
    "frontends": 6, "__main__": 6, "__init__": 6,
}  # fmt: skip
WITHOUT_JAX = {"errors", "graph", "match", "zoo", "freeze", "gradient", "onnxio", "reference"}
WITH_ONNX = {"onnxio", "frontends"}
DERIVATIVES = {
    "grad",
    "value_and_grad",
    "vjp",
    "jvp",
    "linearize",
    "linear_transpose",
    "jacfwd",
    "jacrev",
    "hessian",
    "pure_callback",
    "io_callback",
    "ad",
    "custom_jvp",
}


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """(room of aidgejax or None, outside module, names) of every import statement."""
    depth = len(path.relative_to(ROOT).parts)
    package = ["aidgejax", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for a in node.names:
                yield a.name, []
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            assert node.level <= depth
            if module == "aidgejax":
                yield from ((f"aidgejax.{a.name}", []) for a in node.names)
            else:
                yield module, [a.name for a in node.names]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path):
    mine = room(path)
    for module, names in imports(path):
        top, _, rest = module.partition(".")
        if top == "aidgejax" and rest:
            theirs = rest.split(".")[0]
            if mine == "reference":
                assert theirs in ("reference", "errors", "graph"), f"the NumPy backend imports {module}"
            elif theirs == "reference":
                assert FLOOR[mine] >= 5, f"{mine} imports the NumPy backend"
            elif theirs != mine:
                assert FLOOR[theirs] <= FLOOR[mine], f"{mine} (floor {FLOOR[mine]}) imports {module}"
                if FLOOR[mine] == 4 and theirs == "onnxio" or mine == "onnxio" and FLOOR[theirs] == 4:
                    raise AssertionError(f"{mine} imports {module}: files and training know nothing of each other")
        elif top in ("jax", "jaxlib"):
            assert mine not in WITHOUT_JAX, f"{mine} imports {module}"
        elif top == "onnx":
            assert mine in WITH_ONNX, f"{mine} imports onnx"
        assert top not in ("torch", "optax", "flax", "tensorflow", "scipy", "sklearn"), f"{mine} imports {module}"
        assert not (top == "chex" and mine in ("errors", "graph", "reference")), names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_jax_differentiates_nothing(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("jax", "ad"):
            assert node.attr not in DERIVATIVES, f"jax.{node.attr}, line {node.lineno}"
            assert node.attr != "custom_vjp" or room(path) == "lower", f"jax.custom_vjp, line {node.lineno}"
    for module, names in imports(path):
        if module.split(".")[0] == "jax":
            assert not DERIVATIVES.intersection([*module.split("."), *names]), f"from {module} import {names}"
            assert "custom_vjp" not in names


def test_no_function_bears_the_name_of_a_module():
    rooms = {m.name for m in pkgutil.iter_modules([str(ROOT)])}
    for name in aidgejax.__all__:
        thing = getattr(aidgejax, name)
        assert name not in rooms or importlib.import_module(f"aidgejax.{name}") is thing, name


def test_no_assert_and_nothing_unfinished():
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert not [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Assert)], path
        assert not any(word in path.read_text() for word in ("TODO", "FIXME", "raise NotImplementedError")), path
