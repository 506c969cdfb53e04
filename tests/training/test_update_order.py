"""Parameters are overwritten behind their last reader: no copies, and the same numbers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.training import update
from aidgejax.training.update_order import last_gradients, rate_after


def two_branches():
    """Two layers each on either side of a sum, and a head."""
    g = aj.Graph("two branches")
    x, rng, sides = g.input("x", ("batch", 6)), np.random.default_rng(0), []
    for side in ("left", "right"):
        y = x
        for k in range(2):
            w = g.parameter(f"{side}{k}", rng.normal(size=(6, 6)).astype(np.float32))
            y = g.op.Relu(g.op.MatMul(y, w))
        sides.append(y)
    head = g.parameter("head", rng.normal(size=(6, 3)).astype(np.float32))
    g.output(g.op.MatMul(g.op.Add(*sides), head))
    return aj.with_loss(aj.infer_shapes(g), "cross_entropy", reduction="rows")


def trained(graph, optimizer):
    """(parameters after an epoch, parameters that the compiled loop copies)"""
    program = aj.make_program(graph, training=True)
    epoch = aj.make_epoch(aj.make_step(program, optimizer, aj.schedule.constant(0.1), record=("loss",)))
    state = aj.start(program, optimizer, jax.random.key(0))
    rng = np.random.default_rng(0)
    batches = {
        "x": jnp.asarray(rng.normal(size=(3, 8, 6)), "float32"),
        "target": jnp.asarray(rng.integers(0, 3, (3, 8))),
    }
    call = epoch.lower(state, batches).compile()
    copies = re.findall(r"f32\[\d+,\d+\]\S* copy\(%get-tuple-element", call.as_text())
    return jax.device_get(call(state, batches)[0].params), copies


@pytest.mark.parametrize("optimizer", [aj.optim.sgd(momentum=0.9), aj.optim.adam()], ids=["sgd", "adam"])
def test_no_parameter_is_copied_and_the_numbers_are_the_same(optimizer, monkeypatch):
    graph = two_branches()
    params, copies = trained(graph, optimizer)
    with monkeypatch.context() as m:
        m.setattr(update, "rate_after", lambda rate, grads: rate)
        without, copied = trained(graph, optimizer)
    jax.tree.map(np.testing.assert_array_equal, params, without)
    if jax.default_backend() == "cpu":
        assert not copies and len(copied) >= 3  # the weights through which a gradient goes


def test_one_parameter_stands_for_those_that_follow_it():
    program = aj.make_program(two_branches(), training=True)
    assert last_gradients(program) == ("left0", "right0")
    chain = aj.with_loss(aj.infer_shapes(aj.zoo.mlp((6, 5, 4, 3))), "cross_entropy", reduction="rows")
    program = aj.make_program(chain, training=True)
    assert last_gradients(program) == (program.wrt[0],)


@pytest.mark.parametrize("number", [np.nan, -np.inf, np.inf, 0.0])
def test_whatever_the_gradients_are_the_rate_is_the_same(number):
    for dtype in ("float32", "bfloat16"):
        grads = {"w": jnp.full((2, 2), number, dtype), "nothing": jnp.zeros((0, 3)), "absent": None}
        assert rate_after(0.125, grads) == 0.125
    assert jnp.asarray(rate_after(0.1, grads)).weak_type  # 16-bit parameters stay so
    assert rate_after(0.1, {}) == 0.1
