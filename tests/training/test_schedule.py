"""Schedules against Aidge's lr_profile, and the decisions that differ from it."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.errors import SettingError
from aidgejax.training import schedule

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/aidge/schedulers.json").read_text())["cases"]
MAKE = {"constant": schedule.constant, "step": schedule.step_lr, "cosine": schedule.cosine, "poly": schedule.polynomial}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: c["name"])
def test_aidge(case):
    settings = dict(case["scheduler"])
    kind, steps = settings.pop("kind"), settings.pop("warmup")
    rate = schedule.warmup(MAKE[kind](**settings), steps)
    want = np.array(case["lr_profile_60"])
    if kind == "poly":  # Aidge goes on below 0 after max_steps; none of its cases gets there
        assert settings["max_steps"] >= 60
    np.testing.assert_allclose(schedule.lr_profile(rate, 60), want, rtol=5e-6, atol=1e-8)
    if steps == 0:  # with warm-up, Aidge's training loop is off by one against its own lr_profile
        np.testing.assert_allclose(
            [rate(k) for k in range(0, 60, 7)], case["lr_sequence_60"][::7], rtol=5e-6, atol=1e-8
        )


ALL = {
    "constant": schedule.constant(0.1),
    "step_lr": schedule.step_lr(0.1, 3, 0.5),
    "exponential": schedule.exponential(0.1, 2, 0.5),
    "staircase": schedule.exponential(0.1, 2, 0.5, staircase=True),
    "cosine": schedule.cosine(0.1, 10, 0.1),
    "polynomial": schedule.polynomial(0.1, 10, 2.0),
    "linear": schedule.linear(0.1, 10, 0.02, warmup_steps=3),
    "warmup": schedule.warmup(schedule.step_lr(0.1, 3, 0.5), 4),
}


@pytest.mark.parametrize("rate", ALL.values(), ids=ALL)
def test_each_is_a_function_of_the_step(rate):
    """Python number, array, under jit, scan and vmap: the same float32."""
    alone = np.array([rate(k) for k in range(14)])
    assert rate(3).dtype == jnp.float32 and rate(jnp.int32(3)).shape == ()
    np.testing.assert_allclose(schedule.lr_profile(rate, 14), alone, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(rate)(5), alone[5], rtol=1e-6)
    _, scanned = jax.lax.scan(lambda k, _: (k + 1, rate(k)), jnp.int32(0), length=14)
    np.testing.assert_allclose(scanned, alone, rtol=1e-6)
    assert np.all(alone >= 0)


@pytest.mark.parametrize(
    "name, want",
    [
        ("step_lr", [0.1] * 3 + [0.05] * 3 + [0.025] * 3),
        ("exponential", [0.1 * 0.5 ** (k / 2) for k in range(9)]),
        ("staircase", [0.1 * 0.5 ** (k // 2) for k in range(9)]),
        ("linear", [0, 0.1 / 3, 0.2 / 3] + [0.1 - 0.08 * k / 7 for k in range(8)] + [0.02] * 3),
        ("polynomial", [0.1 * (1 - k / 10) ** 2 for k in range(10)] + [0.0] * 4),
        # decays of steps 3 lie inside the ramp of steps 0..4, those of 6 and 9 do not
        ("warmup", [0.02, 0.04, 0.06, 0.08, 0.1, 0.1] + [0.05] * 3 + [0.025] * 3),
    ],
)
def test_formula(name, want):
    np.testing.assert_allclose(schedule.lr_profile(ALL[name], len(want)), want, rtol=2e-6, atol=1e-9)


def test_cosine_after_its_end():
    rising, resting = schedule.cosine(0.1, 10, 0.2), schedule.cosine(0.1, 10, 0.2, periodic=False)
    np.testing.assert_allclose(rising(10), 0.02, rtol=1e-6)
    np.testing.assert_allclose(rising(20), 0.1, rtol=1e-6)
    np.testing.assert_allclose(resting(35), 0.02, rtol=1e-6)
    exact = 0.1 * (0.2 + 0.8 * (1 + math.cos(math.pi * 0.3)) / 2)
    np.testing.assert_allclose(rising(20_000_003), exact, rtol=1e-6)


def test_warmup_of_any_function():
    rate = schedule.warmup(lambda step: 0.1 / (1 + jnp.asarray(step, jnp.float32)), 1)
    np.testing.assert_allclose(schedule.lr_profile(rate, 3), [0.05, 0.1, 0.1 / 3], rtol=1e-6)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: schedule.step_lr(0.1, 0), "step_size is 0: expected a whole number of steps, 1 or more"),
        (lambda: schedule.step_lr(0.1, 2.5), "step_size is 2.5: expected a whole number of steps, 1 or more"),
        (lambda: schedule.step_lr(0.1, 2, float("inf")), "gamma is inf: expected a finite number"),
        (lambda: schedule.constant(-0.1), "initial_lr is -0.1: expected a finite number of at least 0"),
        (lambda: schedule.constant("0.1"), "initial_lr is '0.1': expected a finite number of at least 0"),
        (lambda: schedule.cosine(0.1, 0), "max_steps is 0: expected a whole number of steps, 1 or more"),
        (
            lambda: schedule.cosine(0.1, 5, 2.0),
            "min_decay is 2.0: expected a finite number of at least 0 and at most 1",
        ),
        (lambda: schedule.polynomial(0.1, 5, -1), "power is -1: expected a finite number of at least 0"),
        (lambda: schedule.exponential(0.1, 5, -1), "decay_rate is -1: expected a finite number of at least 0"),
        (lambda: schedule.linear(0.1, 5, -1), "final_lr is -1: expected a finite number of at least 0"),
        (
            lambda: schedule.linear(0.1, 5, warmup_steps=5),
            "warmup_steps is 5 and max_steps is 5: the warm-up is part of "
            "max_steps, and something must be left to descend",
        ),
        (
            lambda: schedule.warmup(schedule.constant(0.1), -1),
            "steps is -1: expected a whole number of steps, 0 or more",
        ),
        (
            lambda: schedule.lr_profile(schedule.constant(0.1), 1.5),
            "steps is 1.5: expected a whole number of steps, 0 or more",
        ),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(SettingError) as e:
        make()
    assert str(e.value) == message
