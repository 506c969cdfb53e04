"""Scalars that go through a loop as one vector are the scalars that they were."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.training import optim
from aidgejax.training.counter import Counter, counted, schedule_step
from aidgejax.training.packed_scan import packed_scan

RULES = {
    "sgd": lambda decay: optim.sgd(momentum=0.9, dampening=0.5, weight_decay=decay),
    "adam": lambda decay: optim.adam(weight_decay=decay),
    "products": lambda decay: optim.adam(weight_decay=decay, bias_correction="products"),
    "adamw": lambda decay: optim.adamw(weight_decay=decay),
    "rmsprop": lambda decay: optim.rmsprop(weight_decay=decay),
    "adagrad": lambda decay: optim.adagrad(weight_decay=decay),
}
CLIPS = {
    "whole": lambda o: o,
    "norm": lambda o: optim.clipped(o, 0.5),
    "value": lambda o: optim.clipped_by_value(o, 0.1),
}
RATES = {"constant": aj.schedule.constant(0.1), "steps": aj.schedule.step_lr(0.1, 2)}


def every(sample):
    """A step of every optimizer, with and without decay and clipping, under two schedules; and its first state.

    sample: only with all of them.
    """
    made = {
        (rule, decay, clip, rate): CLIPS[clip](RULES[rule](decay))
        for rule, decay, clip, rate in itertools.product(RULES, (0.0, 0.1), CLIPS, RATES)
        if not sample or (decay, clip, rate) == (0.1, "norm", "steps")
    }
    rng = np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "b": jnp.ones(4, jnp.bfloat16)}

    def step(state, batch):
        after, figures = {}, {}
        for key, optimizer in made.items():
            p, s = state["training"][str(key)]
            grads = jax.tree.map(lambda a: jnp.tanh(a.astype(jnp.float32) * batch), p)
            rate = RATES[key[3]](schedule_step(state["step"]))
            after[str(key)] = optimizer.update(p, grads, s, rate)
            figures[str(key)] = rate
        step, key = counted(state["step"]), jax.random.split(state["key"])[0]
        return {"training": after, "step": step, "key": key, "weak": state["weak"]}, {"rates": figures, "batch": batch}

    training = {str(k): (params, o.init(params)) for k, o in made.items()}
    state = {"training": training, "step": Counter.at(2**31 - 2), "key": jax.random.key(3), "weak": jnp.asarray(1.5)}
    return step, state


@pytest.mark.parametrize("sample", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_every_optimizer_clipping_decay_and_schedule_to_the_bit(sample):
    step, state = every(sample)
    xs = jnp.linspace(-1, 1, 5, dtype=jnp.float32)
    packed = jax.jit(lambda s: packed_scan(step, s, xs))(state)
    plain = jax.jit(lambda s: jax.lax.scan(step, s, xs))(state)
    assert jax.tree.structure(packed) == jax.tree.structure(plain)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(packed), jax.tree.leaves(plain), strict=True):
        assert a.dtype == b.dtype and jax.typeof(a).weak_type == jax.typeof(b).weak_type, path
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
    assert int(packed[0]["step"]) == 2**31 + 3


def test_a_loop_carries_as_many_values_as_there_are_arrays_but_on_a_cpu():
    """However many counters: the loop of an epoch gains no value by them.  On a CPU each is its own: of equal code for
    each parameter XLA:CPU compiles one, and reading a vector at another place is other code."""
    carried, passes = [], []
    for depth in (1, 6):
        graph = aj.with_loss(aj.infer_shapes(aj.zoo.mlp((4,) * (depth + 2))), "cross_entropy", reduction="rows")
        program, optimizer = aj.make_program(graph, training=True), aj.optim.adam()
        step = aj.make_step(program, optimizer, aj.schedule.constant(0.1))
        state = jax.eval_shape(lambda p=program, o=optimizer: aj.start(p, o, jax.random.key(0)))
        batches = {"x": jax.ShapeDtypeStruct((3, 8, 4), jnp.float32), "target": jax.ShapeDtypeStruct((3, 8), jnp.int32)}
        epoch = aj.make_epoch(lambda *a, step=step: passes.append(0) or step(*a))
        (choice,) = [e for e in epoch.trace(state, batches).jaxpr.eqns if e.primitive.name == "cond"]
        for branch in choice.params["branches"]:
            (scan,) = [e for e in branch.eqns if e.primitive.name == "scan"]
            arrays = 3 * len(program.wrt)  # of each parameter itself and two moments
            records = [v for v in scan.outvars if v.aval.shape[:1] == (3,)]  # of each step; no parameter has this size
            carried.append((len(records), len(scan.outvars) - len(records) - arrays))
    counters = 2 + 2 + 1  # of updates and of batches, two numbers each, and the key
    assert carried == [(3, 4 + counters), (1, 1), (3, 14 + counters), (1, 1)]  # the words alone
    assert len(passes) == 2  # traced once for both forms
