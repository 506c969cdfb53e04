"""Parameters that are updated as one vector move as each would alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax import optim
from aidgejax.training.joined_update import joined, with_joined

SHAPES = {"b": (5,), "a": (), "w": (3, 1, 2), "half": (4,)}


def arrays(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.normal(size=s), jnp.float16 if k == "half" else jnp.float32) for k, s in SHAPES.items()}


@pytest.mark.parametrize(
    "rule",
    [optim.sgd(0.9, first="bare", weight_decay=0.1), optim.adam(bias_correction="products"), optim.adamw(),
     optim.rmsprop(), optim.adagrad(initial=0.1)],
    ids=lambda rule: rule.recipe.name,
)  # fmt: skip
def test_joined_parameters_move_as_each_alone(rule):
    one, each = joined(rule), arrays(0)
    both = dict(each)
    state, states = one.init(both), rule.init(each)
    for k in range(3):
        g = arrays(k + 1)
        both, state = one.update(both, g, state, 0.1)
        each, states = rule.update(each, g, states, 0.1)
    for name in SHAPES:
        assert both[name].dtype == each[name].dtype and both[name].shape == SHAPES[name]
        np.testing.assert_allclose(both[name], each[name], rtol=1e-5)  # jax 0.12 rounds a vector otherwise
    assert set(state) == {"float16", "float32"}


def test_a_parameter_without_gradient_stays_and_so_do_its_moments():
    rule, params = joined(optim.adam()), arrays(0)
    _, state = rule.update(params, arrays(1), rule.init(params), 0.1)
    new, moved = rule.update(params, {**arrays(2), "b": None}, state, 0.1)
    np.testing.assert_array_equal(new["b"], params["b"])
    assert not np.array_equal(new["w"], params["w"])
    # The order is that of the names: a, then the five of b, then w.
    np.testing.assert_array_equal(moved["float32"].mean[1:6], state["float32"].mean[1:6])
    assert np.all(moved["float32"].mean[6:] != state["float32"].mean[6:])


def test_a_rule_that_looks_at_all_gradients_is_left_alone():
    rule = optim.clipped(optim.adam(), 1.0)
    assert joined(rule) is rule
    assert joined(optim.adam()).elementwise


def test_what_is_joined_has_the_same_norm():
    grads = {**arrays(0), "none": None}
    np.testing.assert_allclose(
        optim.global_norm(with_joined(grads, frozenset(["a", "b", "none"]))), optim.global_norm(grads), rtol=1e-6
    )


def test_the_rule_is_compiled_once_for_all():
    rule, params = joined(optim.adam()), {f"p{k}": jnp.ones(k + 1) for k in range(9)}
    text = jax.jit(rule.update).lower(params, params, rule.init(params), 0.1).as_text()
    alone = optim.adam()
    assert text.count("exponential_minus_one") < 9
    assert jax.jit(alone.update).lower(params, params, alone.init(params), 0.1).as_text().count(
        "exponential_minus_one"
    ) >= 18  # fmt: skip
