"""Layers beside aihwkit 1.1.0: calls, gradients and a step, of configurations found to differ once."""

import json

import numpy as np
import pytest

from aidgejax.frontends.aihwkit.nn import AnalogLinear
from aidgejax.frontends.aihwkit.optim import AnalogSGD
from aidgejax.frontends.aihwkit.simulator import configs

from ...golden.aihwkit import INFERENCE

CASES = json.loads((INFERENCE / "beside.json").read_text())["cases"]


def config_of(case):
    made = getattr(configs, case["config"])()
    for name, value in case["forward"].items():
        setattr(made.forward, name, getattr(configs, value[0])[value[1]] if isinstance(value, list) else value)
    for name, value in case["mapping"].items():
        setattr(made.mapping, name, value)
    if case["remap"]:
        made.remap.type = configs.WeightRemapType[case["remap"]]
    return made


def numbers(v):
    return np.asarray(v.detach() if hasattr(v, "detach") else v)


def close(got, want):
    np.testing.assert_allclose(numbers(got), np.array(want), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_a_step_is_aihwkits(case):
    layer = AnalogLinear(7, 5, rpu_config=config_of(case))
    layer.set_weights(np.array(case["weight"]), np.array(case["bias"]))
    x = np.array(case["x"], np.float32)
    optimizer = AnalogSGD(layer.parameters(), lr=0.1)
    close(layer(x), case["y"])
    close(layer.backward(np.array(case["dy"], np.float32)), case["dx"])
    optimizer.step()
    weight, bias = layer.get_weights()
    close(weight, case["weight_after"])
    close(bias, case["bias_after"])
    close(layer.eval()(x), case["y_after"])
    tiles = [key.removesuffix(".alpha") for key in case["state"] if key.endswith(".alpha")]
    assert [name for name, _ in layer.named_analog_tiles()] == tiles
