"""Epochs of programs that execute equal blocks as loops: parameters are stacked inside, states stay what they are."""

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.training.loop import make_accumulating_step
from aidgejax.training.optim import Optimizer
from aidgejax.training.stacked_blocks import stacked, stacks_of, unstacked

from ..interpreter.test_repeats import deep

BLOCKS = 4


def batches(steps, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps, 8, 6)).astype(np.float32)
    return {"x": x, "target": rng.integers(0, 3, (steps, 8)).astype(np.int32)}


def normalized(blocks):
    """Batch normalization in every block: statistics that the forward moves."""
    g, rng = aj.Graph("normalized"), np.random.default_rng(0)
    h = g.input("x", ("N", 6))
    for k in range(blocks):
        w = lambda name, k=k: g.parameter(f"{name}{k}", rng.normal(0, 0.4, (6, 6)).astype(np.float32))
        y = g.op.Tanh(g.op.MatMul(g.op.Sigmoid(g.op.MatMul(h, w("a"))), w("b")))
        each = [g.parameter(f"{n}{k}", np.full(6, v, np.float32)) for n, v in (("scale", 1), ("shift", 0))]
        each += [g.buffer(f"{n}{k}", np.full(6, v, np.float32)) for n, v in (("mean", 0), ("var", 1))]
        y = g.op.BatchNormalization(y, *each, outputs=3, training_mode=1)[0]
        h = g.op.Add(h, g.op.Neg(g.op.Tanh(g.op.MatMul(y, w("c")))))
    g.output(g.op.MatMul(h, g.parameter("last", rng.normal(0, 0.3, (6, 3)).astype(np.float32)), name="logits"))
    return aj.with_loss(aj.infer_shapes(g), "cross_entropy", reduction="rows")


def trained(graph, optimizer, scan_blocks, accumulate=None, **of_epoch):
    program = aj.make_program(graph, training=True, scan_blocks=scan_blocks)
    step = aj.make_step(program, optimizer, 0.05)
    state = aj.start(program, optimizer, jax.random.key(0))
    if accumulate:
        step = make_accumulating_step(program, optimizer, 0.05, every=accumulate)
        state = aj.start(program, optimizer, jax.random.key(0), accumulate=())
    epoch = aj.make_epoch(step, **of_epoch)
    state, first = epoch(state, batches(3))
    state, second = epoch(state, batches(3, seed=2))
    return step, epoch, state, (first, second)


def same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=5e-6)  # float32; jax 0.12: 2.5e-6


@pytest.mark.parametrize(
    ("make", "optimizer", "options"),
    [
        (normalized, aj.optim.clipped(aj.optim.adam(), 0.5), {"on_nonfinite": "raise"}),
        (deep, aj.optim.sgd(momentum=0.9), {"accumulate": 2}),
    ],
    ids=["running statistics, clipping, guard", "dropout, accumulation"],
)
def test_an_epoch_with_stacked_parameters_ends_where_the_plain_one_does(make, optimizer, options):
    graph = make(BLOCKS)
    _, _, plain, figures = trained(graph, optimizer, False, **options)
    step, epoch, looped, found = trained(graph, optimizer, True, **options)
    same(looped, plain)
    same(found, figures)
    stacks = stacks_of(step, looped)
    kinds = ["a", "b", "c", "scale", "shift", "mean", "var"] if make is normalized else ["w", "b", "s", "v"]
    assert {"|".join(f"{n}{k}" for k in range(BLOCKS)) + "/stack" for n in kinds} == set(stacks)
    same(unstacked(stacked(looped, stacks), stacks), looped)
    # Once for each stack of parameters, velocities, counts, sums of gradients, and never inside the loop over steps.
    if make is deep:
        assert epoch.lower(looped, batches(3)).as_text().count("stablehlo.concatenate") <= 4 * 4 + 4


def test_rules_that_look_beyond_one_parameter_keep_an_array_of_each():
    program = aj.make_program(deep(BLOCKS), training=True, scan_blocks=True)
    moved = Optimizer(aj.optim.sgd().init, aj.optim.sgd().update)  # not known to move each by itself
    state = aj.start(program, moved, jax.random.key(0))
    step = aj.make_step(program, moved, 0.05)
    assert stacks_of(step, state) == {}
    epoch = aj.make_epoch(step)
    assert jax.tree.structure(jax.eval_shape(epoch, state, batches(2))[0]) == jax.tree.structure(state)
