"""The explicit tile (InferenceRPUConfig) against aihwkit's: modifiers held between steps, analog bias, remapping."""

import numpy as np
import pytest

from aidgejax.frontends.aihwkit.nn import AnalogConv2d, AnalogLinear
from aidgejax.frontends.aihwkit.optim import AnalogSGD
from aidgejax.frontends.aihwkit.simulator.configs import InferenceRPUConfig, WeightModifierType

from ..golden.aihwkit import config_of, sampled


def layer_of(case, **more):
    config = {k: v for k, v in case["config"].items() if "." in k}
    i = case["inputs"]
    out, *rest = i["w"].shape
    kind = AnalogLinear if len(rest) == 1 else AnalogConv2d
    arguments = (rest[0], out) if len(rest) == 1 else (rest[0], out, tuple(rest[1:]))
    more = more | ({"padding": 1} if kind is AnalogConv2d else {})
    layer = kind(*arguments, bias="b" in i, rpu_config=config_of({**case, "config": config}), **more)
    layer.set_weights(i["w"], i.get("b"))
    return layer


def seen(layer):
    """The weights that a training pass multiplies with, analog bias included."""
    eye = np.eye(layer.in_features, dtype=np.float32)
    zero = np.asarray(layer(np.zeros_like(eye[:1])))
    w = np.asarray(layer(eye)) - zero
    return np.concatenate([w, zero]).T if "bias" not in layer.params and np.any(zero) else w.T


@pytest.mark.parametrize(
    "case", [c for c in sampled("modifiers_explicit", 3) if "w_modified" in c.values[0]["expected"]]
)
def test_modifiers_without_noise(case):
    i, e = case["inputs"], case["expected"]
    layer = layer_of(case)
    optimizer = AnalogSGD(layer.parameters(), lr=case["config"]["lr"])
    close = lambda got, want: np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
    close(seen(layer), e["before_step"])
    layer.post_update_step()
    close(seen(layer), e["w_modified"])
    layer.eval()
    close(seen(layer), e["eval"])
    layer.train()
    optimizer.zero_grad()
    close(np.asarray(layer(i["x"])), e["y"])
    close(layer.backward(i["g"]), e["grad_x"])
    optimizer.step()
    close(layer.get_weights()[0].reshape(e["w_after_sgd"].shape[0], -1), e["w_after_sgd"][:, : i["w"].shape[1]])
    close(seen(layer), e["w_modified_after_sgd"])


NOISY = [
    c
    for c in sampled("modifiers_explicit", 3)
    if "w_mean" in c.values[0]["expected"] and c.id != "stat_prog_noise_default_coeffs"  # g_max times too weak there
]


@pytest.mark.parametrize("case", NOISY)
def test_modifiers_with_noise(case):
    e, n = case["expected"], 400
    layer = layer_of(case)
    np.testing.assert_allclose(seen(layer)[:, : layer.in_features], case["inputs"]["w"], atol=1e-6)
    drawn = []
    for _ in range(n):
        layer.post_update_step()
        drawn.append(seen(layer))
    found = np.array(drawn, np.float64)
    assert found.shape[1:] == e["w_mean"].shape
    spread = found.std(0, ddof=1)
    for name, mine, error in [("mean", found.mean(0), spread / n**0.5), ("std", spread, spread / (2 * n) ** 0.5 * 1.5)]:
        z = (mine - e[f"w_{name}"]) / np.sqrt(e[f"w_se_{name}"] ** 2 + error**2 + 1e-10)
        assert np.abs(z).max() < 5.5, name
    assert abs(np.mean(found == 0) - np.mean(e["zero_fraction"])) < 0.03


def test_programming_noise_with_default_coefficients_is_of_the_size_of_the_polynomial():
    config = InferenceRPUConfig()
    config.forward.is_perfect = True
    config.modifier.type, config.modifier.std_dev = WeightModifierType.PROG_NOISE, 1.0
    layer = AnalogLinear(500, 4, bias=False, rpu_config=config)
    layer.set_weights(np.full((4, 500), 0.7, np.float32))
    layer.post_update_step()
    # P(1) = 0.0404 times the largest weight
    np.testing.assert_allclose(seen(layer).std(), 0.7 * 0.0404, rtol=0.1)


def test_a_draw_is_held_until_the_next_step_and_survives_a_state_dict():
    config = InferenceRPUConfig()
    config.forward.is_perfect = True
    config.modifier.type, config.modifier.std_dev = WeightModifierType.ADD_NORMAL, 0.1
    layer = AnalogLinear(4, 3, bias=False, rpu_config=config)
    layer.post_update_step()
    first = seen(layer)
    np.testing.assert_array_equal(first, seen(layer))
    other = AnalogLinear(4, 3, bias=False, rpu_config=config, seed=5)
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(first, seen(other))
    layer.post_update_step()
    assert np.abs(first - seen(layer)).max() > 1e-3


@pytest.mark.parametrize("case", sampled("analog_bias", 3))
def test_analog_bias(case):
    i, e = case["inputs"], case["expected"]
    layer = layer_of(case)
    close = lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    tile = np.asarray(layer.params["weight"])
    close(tile.reshape(len(tile), -1), e["tile_w"].reshape(len(tile), -1))
    close(layer.eval()(i["x"]), e["y_eval"])
    optimizer = AnalogSGD(layer.train().parameters(), lr=case["config"]["lr"])
    close(layer(i["x"]), e["y"])
    close(layer.backward(i["g"]), e["grad_x"])
    optimizer.step()
    w, b = layer.get_weights()
    close(w.reshape(e["w_after"].shape), e["w_after"])
    close(b, e["b_after"])


@pytest.mark.parametrize("case", sampled("remap", 4))
def test_remapping(case):
    i, e = case["inputs"], case["expected"]
    layer = layer_of(case)
    optimizer = AnalogSGD(layer.parameters(), lr=case["config"]["lr"])
    for step in range(4):
        if step:
            optimizer.zero_grad()
            layer(i[f"x{step}"])
            layer.backward(i[f"g{step}"])
            optimizer.step()
        held = {**layer.params, **layer.state}
        for name, key in [("weight", "tile_w"), ("mapping_scales", "scales"), ("out_scaling_alpha", "alpha")]:
            if f"{key}{step}" in e:
                want = e[f"{key}{step}"]
                assert np.shape(held[name]) == want.shape
                np.testing.assert_allclose(held[name], want, rtol=1e-4, atol=1e-4, err_msg=f"{key}{step}")
        np.testing.assert_allclose(layer.get_weights()[0], e[f"w{step}"], rtol=1e-4, atol=1e-4)
        if step and case["config"].get("remap.type") == "CHANNELWISE_SYMMETRIC" and "range" not in case["name"]:
            most = np.abs(np.asarray(held["weight"])).max(axis=1)
            assert np.all(most == np.float32(case["config"].get("remap.remapped_wmax", 1.0)))


def test_a_large_draw_does_not_send_a_row_to_the_coarsest_scale():
    """Noise of a third of the bound: aihwkit, which draws it anew in every trial, gives a spread of 0.42 here."""
    config = InferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = -1
    config.forward.out_noise, config.forward.out_bound = 0.1, 0.3
    layer = AnalogLinear(6, 3, bias=False, rpu_config=config, seed=1)
    layer.set_weights(np.array([[0.2, -0.3, 0.1, 0.1, -0.1, 0.2], [0.3, 0.1, -0.2, 0.1, 0.0, -0.1], [0.5] * 6]))
    y = np.asarray(layer.eval()(np.tile(np.linspace(-0.6, 0.9, 6, dtype=np.float32), (4000, 1))))
    assert np.abs(y).max() < 4 and np.all((y.std(0) > 0.2) & (y.std(0) < 0.6))
