"""Numbers that aihwkit 1.2.0 computed (torch 2.13, float32, CPU), and how to read them."""

import json
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
CONFIGS = {
    "torch": "TorchInferenceRPUConfig",
    "quant": "QuantizedTorchInferenceRPUConfig",
    "explicit": "InferenceRPUConfig",
}


INFERENCE = HERE.parent / "aihwkit_inference"  # of aihwkit at git 4545f11b


def table(name, folder=INFERENCE):
    """A family that is a table rather than cases."""
    return json.loads((folder / f"{name}.json").read_text())


def family(name, folder=HERE):
    """The cases of a family with their arrays; those that hang on the last bit, and documented oddities, left out."""
    recorded = table(name, folder)
    found = {}
    if (folder / f"{name}.npz").exists():
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            found = {k: arrays[k] for k in arrays.files}

    def filled(v):
        if isinstance(v, dict):
            return found[v["npz"]] if set(v) == {"npz"} else {k: filled(x) for k, x in v.items()}
        return [filled(x) for x in v] if isinstance(v, list) else v

    cases = [{**c, "inputs": filled(c["inputs"]), "expected": filled(c["expected"])} for c in recorded["cases"]]
    return [c for c in cases if not c.get("fragile") and not c.get("quirk")]


def config_of(case, **more):
    """The config that a case describes by dotted fields."""
    from aidgejax.frontends.aihwkit.simulator import configs

    config = getattr(configs, CONFIGS.get(case["tile"], "TorchInferenceRPUConfig"))()
    for path, value in {**case["config"], **more}.items():
        *where, last = path.split(".")
        owner = config
        for w in where:
            owner = getattr(owner, w)
        now = getattr(owner, last)
        named = isinstance(value, str) and hasattr(type(now), "__members__")
        setattr(owner, last, type(now)[value] if named else value)
    return config


def sampled(name, every):
    """The cases of an inference family as parameters: one in so many, the others marked slow."""
    found = family(name, INFERENCE)
    return [pytest.param(c, id=c["name"], marks=[pytest.mark.slow] if n % every else []) for n, c in enumerate(found)]
