"""What is published says one thing in all of its places."""

import re
import tomllib
from pathlib import Path

import pytest

import aidgejax

ROOT = Path(aidgejax.__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version_everywhere():
    recipe = (ROOT / "docs/project/conda/meta.yaml").read_text()
    assert re.search(r'version: "(.*)"', recipe)[1] == PROJECT["version"] == aidgejax.__version__
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_conda_recipe_asks_for_the_same_packages():
    recipe = (ROOT / "docs/project/conda/meta.yaml").read_text().split("  run:\n")[1].split("\n\n")[0]
    asked = {tuple(line.strip("- ").split(" ")) for line in recipe.splitlines()} - {("python", ">=3.11")}
    named = {tuple(re.match(r"([\w-]+)(>=.*)", d).groups()) for d in PROJECT["dependencies"]}
    assert {(n.removeprefix("python-"), v) for n, v in asked} == named


def test_the_conda_recipe_is_one_once_it_is_filled_in():
    """conda-build fills in its templates and reads YAML; it is in no index that is reached from here."""
    yaml = pytest.importorskip("yaml")
    filled = (ROOT / "docs/project/conda/meta.yaml").read_text().replace("{{ PYTHON }}", "python")
    assert "{{" not in filled and "{%" not in filled
    recipe = yaml.safe_load(filled)
    assert set(recipe) == {"package", "source", "build", "requirements", "test", "about"}
    assert recipe["build"]["script"].startswith("python -m pip install . --no-deps --no-build-isolation")
    assert (ROOT / "docs/project/conda" / recipe["source"]["path"]).resolve() == ROOT
    assert (ROOT / recipe["about"]["license_file"]).exists() and recipe["about"]["license"] == PROJECT["license"]
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {re.match(r"[\w-]+", r)[0] for r in needed} <= set(recipe["requirements"]["host"])
    assert f"python {PROJECT['requires-python']}" in recipe["requirements"]["run"]


def test_run_time_dependencies_are_those_that_are_imported():
    names = {re.match(r"[\w-]+", d)[0] for d in PROJECT["dependencies"]}
    sources = "\n".join(p.read_text() for p in (ROOT / "aidgejax").rglob("*.py"))
    for name in names:
        assert re.search(rf"^\s*(import|from) {name}\b", sources, re.M), f"{name} is a dependency that nothing imports"
    assert "chex" not in names and not re.search(r"^\s*(import|from) chex", sources, re.M)


def test_an_extra_that_a_message_or_a_page_names_is_one():
    texts = [p.read_text() for p in (*(ROOT / "aidgejax").rglob("*.py"), *(ROOT / "docs").rglob("*.md"))]
    named = {e for t in texts for e in re.findall(r"(?:aidgejax|\"\.)\[([\w,]+)\]", t)}
    assert {"images", "examples"} <= named <= set(PROJECT["optional-dependencies"])


def test_the_conda_recipe_starts_the_same_script():
    recipe = (ROOT / "docs/project/conda/meta.yaml").read_text()
    assert f"- aidgejax = {PROJECT['scripts']['aidgejax']}" in recipe


def test_classifiers_name_the_versions_and_invent_no_address():
    versions = {
        c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if c.startswith("Programming Language :: Python :: 3.")
    }
    assert versions == {"3.11", "3.12", "3.13"} and PROJECT["requires-python"] == ">=3.11"
    assert not {"urls", "authors", "maintainers"} & set(PROJECT)


@pytest.mark.parametrize("name", ["view.css", "view.js", "errors.md", "lenet.onnx", "digits.npz"])
def test_files_that_the_package_reads_are_in_it(name):
    assert (ROOT / "aidgejax/assets" / name).stat().st_size > 100
