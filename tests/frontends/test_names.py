"""Every public name of a front end, with its arguments and defaults, as the systems that they stand for have them."""

import dataclasses
import importlib
import inspect
import json
from pathlib import Path

import pytest

PAGE = json.loads((Path(__file__).parents[1] / "golden/names.json").read_text())


def found(entry):
    """What `from aidgejax.frontends.<module> import <name>` gives, attributes of classes included."""
    path = entry["module"].split(".")
    for count in range(len(path), 0, -1):  # the last words of a module may be names within it
        try:
            thing = importlib.import_module(PAGE["prefix"] + ".".join(path[:count]))
            break
        except ModuleNotFoundError as error:
            if count == 1 or not (PAGE["prefix"] + ".".join(path)).startswith(error.name):
                raise
    for step in [*path[count:], *entry["name"].split(".")]:
        thing = getattr(thing, step)
    return thing


def default_of(parameter, thing):
    made = (
        {f.name for f in dataclasses.fields(thing) if f.default_factory is not dataclasses.MISSING}
        if dataclasses.is_dataclass(thing)
        else ()
    )
    if parameter.name in made:
        return PAGE["factory"]
    if parameter.default is parameter.empty:
        return PAGE["required"]
    return list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default


@pytest.mark.parametrize("entry", PAGE["names"], ids=lambda n: f"{n['module']}.{n['name']}")
def test_names_arguments_and_defaults(entry):
    thing, note = found(entry), entry.get("note", "")
    if note.startswith("enum value"):
        assert thing.value == int(note.split()[-1])
    if entry["params"] is None:
        return
    parameters = [p for p in inspect.signature(thing).parameters.values() if p.name != "self"]
    page = [(name, default) for name, default in entry["params"] if name != "self"]
    for p, (name, default) in zip(parameters, page, strict=False):
        assert "names free" in note or name == {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name
        ours = default_of(p, thing)
        if isinstance(default, float):
            assert ours == pytest.approx(default), name
        elif isinstance(default, str) and not isinstance(ours, str):  # the name of a constant, such as float32
            assert str(ours) == default or ours == getattr(importlib.import_module(thing.__module__), default), name
        else:
            assert ours == default, name
    # What we take beyond the page's arguments is left out by the page's scripts.
    assert len(parameters) >= len(page)
    assert all(default_of(p, thing) != PAGE["required"] for p in parameters[len(page) :])
