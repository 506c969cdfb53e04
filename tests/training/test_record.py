"""A step computes what its record is asked for, and nothing more."""

import re

import jax
import numpy as np
import pytest

import aidgejax as aj


def compiled(**options):
    graph = aj.with_loss(aj.infer_shapes(aj.zoo.mlp((6, 5, 4, 3))), "cross_entropy", reduction="rows")
    program, optimizer = aj.make_program(graph, training=True), aj.optim.sgd(momentum=0.9)
    epoch = aj.make_epoch(aj.make_step(program, optimizer, aj.schedule.constant(0.1), **options))
    state = aj.start(program, optimizer, jax.random.key(0))
    rng = np.random.default_rng(0)
    batches = {"x": rng.normal(size=(3, 8, 6)).astype(np.float32), "target": rng.integers(0, 3, (3, 8))}
    batches = {k: jax.numpy.asarray(v) for k, v in batches.items()}
    call = epoch.lower(state, batches).compile()
    kernels = len(re.findall(r"= \S+ (?:fusion|dot|reduce|custom-call)\(", call.as_text()))
    return *call(state, batches), kernels


def test_what_is_not_asked_for_is_not_computed_and_the_training_is_the_same():
    (state, history, all_of_it), (bare, nothing, fewer) = compiled(), compiled(record=())
    assert set(history) == {"loss", "learning_rate", "gradient_norm"} and nothing == {}
    for name, array in state.params.items():
        np.testing.assert_array_equal(bare.params[name], array)
    # Of six parameters, a sum of squares each, or what joins them; and the mean of the losses.
    assert fewer <= all_of_it - 4, (fewer, all_of_it)


def test_a_figure_that_a_step_does_not_have_is_refused():
    with pytest.raises(aj.SettingError, match="record asks for 'accuracy'; a step has 'gradient_norm', 'learn"):
        compiled(record=["loss", "accuracy"])


def test_what_is_not_asked_for_is_not_even_traced():
    """Neither the gradients' norm nor a metric: the step's program before any optimization has nothing of them."""
    graph = aj.with_loss(aj.infer_shapes(aj.zoo.mlp((6, 5, 4, 3))), "cross_entropy", reduction="rows")
    program, optimizer = aj.make_program(graph, training=True), aj.optim.sgd(momentum=0.9)
    state = jax.eval_shape(lambda: aj.start(program, optimizer, jax.random.key(0)))
    batch = {"x": jax.ShapeDtypeStruct((8, 6), np.float32), "target": jax.ShapeDtypeStruct((8,), np.int32)}
    called = []

    def metric(outputs, batch):
        called.append(1)
        return outputs["loss"]

    def operations(record):
        step = aj.make_step(program, optimizer, aj.schedule.constant(0.1), metrics={"own": metric}, record=record)
        return jax.jit(step).lower(state, batch).as_text()

    nothing, everything = operations(()), operations(None)
    assert "stablehlo.sqrt" not in nothing and "stablehlo.sqrt" in everything and len(called) == 1
    # Six squares and their sums, the root, and the means of loss and metric.
    assert everything.count("stablehlo.") - nothing.count("stablehlo.") >= 6 * 2 + 1 + 2
