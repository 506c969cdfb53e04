"""Every name, method, enum and argument of Aidge 0.10.1: there, in its order, or refused with what to use instead."""

import importlib
import inspect
import json
import pathlib

import pytest

from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends import aidge_learning as al
from aidgejax.frontends import aidge_quantization as aq
from aidgejax.frontends.aidge_core.errors import AidgeError

FACTS = json.loads((pathlib.Path(__file__).parents[2] / "golden/aidge/signatures.json").read_text())
HERE = "aidgejax.frontends."
# Positional in practice: what they are called differs between Aidge's overloads, or in its C++.
OTHER_WORDS = {
    "Node.add_child", "GraphView.add", "GraphView.get_node", "GraphView.replace", "GraphView.remove", "Node.forward",
    "OperatorTensor.set_input", "GraphView.set_backend", "fuse_to_metaops", "fuse_batchnorm", "insert_input_rescaling",
    "GRUOp", "LSTMOp", "HardSwishOp", "PaddedMaxPooling2DOp",
}  # fmt: skip
SPARE = {"aidge_learning": ("loss", "metrics")}


def resolved(module, name):
    """The object, or the message of our ImportError."""
    places = [module, *(f"{module}.{m}" for m in SPARE.get(module, ()))]
    if "." in name:
        part, name = name.split(".")
        places = [f"{module}.{part}"]
    for place in places:
        if hasattr(importlib.import_module(HERE + place), name):
            return getattr(importlib.import_module(HERE + place), name)
    with pytest.raises(ImportError) as e:
        exec(f"from {HERE}{places[0]} import {name}", {})
    assert isinstance(e.value, AidgeError) or "AbsentImport" in type(e.value).__name__
    return str(e.value)


def names_of(function):
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in found):
        return None
    return [p.name for p in found if p.name != "self"]


def fits(function, forms):
    ours = names_of(function)
    return ours is None or any(
        w is None or ours[: len(w)] == w or all(n.startswith("arg") for n in w) and len(w) <= len(ours) for w in forms
    )


@pytest.mark.parametrize("module", FACTS["functions"])
def test_functions_and_their_arguments(module):
    wrong = {}
    for name, forms in FACTS["functions"][module].items():
        found = resolved(module, name)
        if isinstance(found, str):
            if "is not in aidgejax: " not in found and "aidgejax does not have" not in found:
                wrong[name] = found
        elif name not in OTHER_WORDS and not fits(found, forms):
            wrong[name] = forms, names_of(found)
    assert not wrong


def test_methods_and_their_arguments():
    model = ac.sequential([ac.FC(2, 3, name="fc")])
    node, tensor = ac.ReLU(), ac.Tensor()
    operator = node.get_operator()
    instances = {
        "Tensor": tensor, "Node": node, "GraphView": model, "Operator": operator, "OperatorTensor": operator,
        "OperatorImpl": ac.OperatorImpl(operator), "Connector": ac.Connector(node), "Database": ac.Database(),
        "Scheduler": ac.SequentialScheduler(model), "SequentialScheduler": ac.SequentialScheduler(model),
        "ParallelScheduler": ac.ParallelScheduler(model), "SinglePassGraphMatching": ac.SinglePassGraphMatching(model),
        "MatchingResult": ac.MatchingResult(), "Attributes": operator.attr, "DynamicAttributes": node.annotations(),
        "LRScheduler": al.constant_lr(0.1), "Optimizer": al.SGD(), "SGD": al.SGD(), "Adam": al.Adam(),
        "ConfusionMatrix": al.metrics.ConfusionMatrix(2), "ConfusionTable": al.metrics.ConfusionTable(),
    }  # fmt: skip
    wrong = {}
    for kind, methods in FACTS["methods"].items():
        thing = instances[kind] if kind in instances else resolved("aidge_core", kind)
        for name, forms in methods.items():
            try:
                found = getattr(thing, name)
            except AttributeError as e:
                if "is not in aidgejax: " not in str(e):
                    wrong[f"{kind}.{name}"] = str(e)
                continue
            except RuntimeError:  # a property of something empty
                continue
            if callable(found) and f"{kind}.{name}" not in OTHER_WORDS and not fits(found, forms):
                wrong[f"{kind}.{name}"] = forms, names_of(found)
    assert not wrong


def test_members_of_enums():
    for name, members in FACTS["enums"].items():
        found = getattr(ac if hasattr(ac, name) else aq, name)
        assert not [m for m in members if not hasattr(found, m)], name
