"""An optimizer's rule as an explicit graph."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.errors import SettingError
from aidgejax.execution.run import run
from aidgejax.passes.optimizer_graph import optimizer_graph
from aidgejax.training import optim, schedule

RULES = {
    "sgd": optim.sgd(weight_decay=0.1),
    "momentum": optim.sgd(0.9, 0.1),
    "nesterov": optim.sgd(0.9, nesterov=True),
    "adam": optim.adam(),
    "products": optim.adam(bias_correction="products"),
    "adamw": optim.adamw(decay="after", epsilon=1e-6),
    "rmsprop": optim.rmsprop(),
    "adagrad": optim.adagrad(),
    "clipped": optim.clipped(optim.adam(), 0.5),
}


def steps(rule, dtype, count=20, **how):
    """The parameters after `count` updates, by the optimizer and by its graph."""
    rng = np.random.default_rng(0)
    start = {"a": rng.normal(size=(3, 2)).astype(dtype), "b": rng.normal(size=()).astype(dtype)}
    made = optimizer_graph(rule, start, **how)
    feeds = {made.counter: np.int32(0), **start, **{s.name: s.initial for s in made.state}}
    rate = how.get("schedule", lambda seen: np.asarray(0.05, how.get("rate_dtype", "float32")))
    with jax.enable_x64(dtype == "float64"):
        params, state = jax.tree.map(jnp.asarray, start), rule.init(start)
        update = jax.jit(rule.update)
        for k in range(count):
            grads = {n: rng.normal(size=v.shape).astype(dtype) for n, v in start.items()}
            params, state = update(params, grads, state, rate(jnp.int32(k)))
            if made.rate:
                feeds[made.rate] = np.asarray(rate(k))
            found = run(made.graph, feeds | {f"{n}_grad": g for n, g in grads.items()})
            for name, value in zip(made.graph.outputs, found, strict=True):
                feeds[name.removesuffix("_out")] = np.asarray(value)
    assert feeds[made.counter] == count
    return {n: np.asarray(v) for n, v in params.items()}, {n: feeds[n] for n in start}


@pytest.mark.parametrize("name", RULES)
def test_twenty_updates_are_the_optimizers(name):
    want, got = steps(RULES[name], "float32")
    for n in want:
        np.testing.assert_allclose(got[n], want[n], rtol=2e-6, atol=1e-6)


def test_half_precision_keeps_a_master_and_double_precision_its_digits():
    want, got = steps(optim.adam(), "float16", 5)
    np.testing.assert_array_equal(got["a"], want["a"])
    want, got = steps(optim.adam(), "float64", 5, rate_dtype="float64")
    np.testing.assert_allclose(got["a"], want["a"], rtol=1e-13)


def test_a_schedule_becomes_nodes():
    want, got = steps(optim.sgd(), "float32", 5, schedule=schedule.step_lr(0.1, 2))
    np.testing.assert_allclose(got["a"], want["a"], rtol=1e-6)


def test_one_number_is_a_schedule():
    made = optimizer_graph(optim.sgd(), {"a": np.ones(2, np.float32)}, schedule=0.25)
    grads = {"a_grad": np.full(2, 2, np.float32)}
    found = run(made.graph, {made.counter: np.int32(0), "a": np.ones(2, np.float32), **grads})
    assert made.rate is None
    np.testing.assert_array_equal(found[made.graph.outputs.index("a_out")], [0.5, 0.5])
    with pytest.raises(SettingError, match="schedule is -1"):
        optimizer_graph(optim.sgd(), {"a": np.ones(2, np.float32)}, schedule=-1)


def test_state_is_named_after_parameter_and_field():
    made = optimizer_graph(RULES["products"], {"w": np.ones((2,), np.float32), "v": np.ones((3,), np.float32)})
    assert {s.name for s in made.state} == {
        "w.mean", "w.square", "v.mean", "v.square", "optimizer.powers.0", "optimizer.powers.1",
    }  # fmt: skip
    assert {s.parameter for s in made.state} == {"w", "v", None}


def test_no_parameters_is_an_error():
    with pytest.raises(SettingError, match="needs parameters"):
        optimizer_graph(optim.sgd(), {})
