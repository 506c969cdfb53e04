"""Watched from outside, an epoch stops where the guard inside would, and sound epochs have the unguarded bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.training import optim, schedule
from aidgejax.training.loop import make_accumulating_step, make_epoch, make_step, start
from aidgejax.training.watched import make_watched_epoch


@pytest.fixture(scope="module")
def program():
    graph = aj.Graph("line")
    x = graph.input("x", ("N", 2))
    graph.output(graph.op.MatMul(x, graph.parameter("w", np.ones((2, 1), np.float32)), name="y"))
    return aj.make_program(aj.with_loss(aj.infer_shapes(graph), "mse", prediction="y", reduction="rows"), training=True)


def batches(steps, bad=None):
    x = np.random.default_rng(0).normal(size=(steps, 4, 2)).astype(np.float32)
    if bad is not None:
        x[bad, 1] = np.nan
    return {"x": x, "target": x[..., :1] * 2}


def test_it_stops_where_the_guard_does(program):
    step = make_step(program, optim.adam(), schedule.constant(0.1))
    watched, guarded, plain = make_watched_epoch(step), make_epoch(step, on_nonfinite="raise"), make_epoch(step)
    begin = lambda: start(program, optim.adam(), jax.random.key(0))  # noqa: E731
    for steps, bad in ((12, None), (12, 9)):
        found, history = watched(begin(), batches(steps, bad))
        expected, expected_history = (plain if bad is None else guarded)(begin(), batches(steps, bad))
        assert int(found.step) == (steps if bad is None else bad)
        np.testing.assert_array_equal(found.params["w"], expected.params["w"])
        if bad is not None:
            assert (
                history["nonfinite"].tolist()
                == expected_history["nonfinite"].tolist()
                == [k == bad for k in range(steps)]
            )


def test_weights_that_an_update_made_infinite_are_never_kept(program):
    step = make_step(program, optim.sgd(), lambda k: jnp.where(k == 9, 3e38, 0.01) * 1e5)
    found, history = make_watched_epoch(step)(start(program, optim.sgd(), jax.random.key(0)), batches(10))
    assert np.isfinite(found.params["w"]).all() and history["nonfinite"].any()


def test_micro_batches_of_padding_alone_update_nothing(program):
    step = jax.jit(make_accumulating_step(program, optim.sgd(), schedule.constant(0.1), 2))
    state = start(program, optim.sgd(), jax.random.key(0), accumulate=())
    batch = {k: v[0] for k, v in batches(1).items()}
    for _ in range(2):
        state, record = step(state, batch, jnp.zeros(4))
    assert (state.params["w"] == 1).all() and np.isfinite(record["loss"])
