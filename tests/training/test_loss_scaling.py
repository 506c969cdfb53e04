"""Loss scaling: small gradients survive float16, overflows are left out, and the factor follows its rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import NonFiniteError, SettingError
from aidgejax.passes.precision import precision
from aidgejax.training import checkpoint, optim, schedule
from aidgejax.training.data import Dataset
from aidgejax.training.fit import fit
from aidgejax.training.loop import make_accumulating_step, make_epoch, make_step, start
from aidgejax.training.loss_scaling import LossScale, LossScaling, needs_loss_scaling

RULES = LossScaling(initial=8.0, period=3, most=16.0)


def linear(dtype="float16", compute="float32"):
    """Squares of x @ w against a target, w all ones; float16 throughout, or in the product alone."""
    graph = aj.Graph("linear")
    x = graph.input("x", ("N", 2), dtype)
    graph.output(graph.op.MatMul(x, graph.parameter("w", np.ones((2, 1), dtype)), name="y"))
    graph = aj.with_loss(aj.infer_shapes(graph), "mse", prediction="y", reduction="rows")
    return aj.make_program(precision(graph, compute) if compute != "float32" else graph, training=True)


def rows(scale, dtype="float16", n=2):
    return {"x": np.full((n, 2), scale, dtype), "target": np.zeros((n, 1), dtype)}


def by_hand(factor, count, finite):
    """The rule in Python: (factor, updates since it changed)."""
    if not finite:
        return max(factor / 2, 1.0), 0
    return (min(factor * 2, 16.0), 0) if count + 1 >= 3 else (factor, count + 1)


def test_only_what_computes_in_float16_is_scaled():
    assert needs_loss_scaling(linear().graph) and needs_loss_scaling(linear("float32", "float16").graph)
    assert not needs_loss_scaling(linear("float32").graph) and not needs_loss_scaling(
        linear("float32", "bfloat16").graph
    )
    made = lambda p, **kw: start(p, optim.sgd(), jax.random.key(0), **kw).loss_scale  # noqa: E731
    assert made(linear("float32")) is None and float(made(linear()).factor) == 2**15
    assert made(linear(), loss_scaling=False) is None and float(made(linear(), loss_scaling=RULES).factor) == 8


def test_the_factor_moves_by_the_rule_and_overflows_change_nothing_else():
    program, optimizer = linear(), optim.sgd(momentum=0.5)
    step = make_step(program, optimizer, schedule.constant(0.0), loss_scaling=RULES)
    overflow = [False, False, False, False, True, True, False, False, False, False, False, False, False]
    batches = jax.tree.map(lambda *b: np.stack(b), *[rows(200.0 if o else 0.1) for o in overflow])
    state = start(program, optimizer, jax.random.key(0), loss_scaling=RULES)
    state, history = make_epoch(step)(state, batches)
    expected, now = [], (8.0, 0)
    for o in overflow:
        expected.append(now[0])
        now = by_hand(*now, finite=not o)
    assert history["loss_scale"].tolist() == expected
    assert (float(state.loss_scale.factor), int(state.loss_scale.finite)) == now
    assert history["updated"].tolist() == [not o for o in overflow] and int(state.step) == overflow.count(False)
    assert np.isfinite(state.params["w"]).all() and int(state.opt["w"].state.seen) == overflow.count(False)


def test_gradients_too_small_for_float16_arrive():
    program, tiny = linear("float32", "float16"), rows(2e-5, "float32")
    tiny["target"] += 0.01
    exact = 2 * (4e-5 - 0.01) * 2e-5  # dL/dw in exact numbers, up to the roundings of x and y
    found = {}
    for scaling in (True, False):
        state = start(program, optim.sgd(), jax.random.key(0), loss_scaling=scaling)
        new, record = make_step(program, optim.sgd(), schedule.constant(1.0))(state, tiny)
        found[scaling] = float(jnp.abs(new.params["w"] - 1).max()), float(record["gradient_norm"])
    assert found[True][1] == pytest.approx(abs(exact) * np.sqrt(2), rel=5e-3)
    assert found[False][1] == pytest.approx(abs(exact) * np.sqrt(2), rel=0.2) and found[False] != found[True]


def test_accumulated_gradients_are_dropped_at_an_overflow():
    program, optimizer = linear(), optim.sgd()
    step = jax.jit(make_accumulating_step(program, optimizer, schedule.constant(0.5), 2, loss_scaling=RULES))
    state = start(program, optimizer, jax.random.key(0), accumulate=(), loss_scaling=RULES)
    state, held = step(state, rows(200.0))
    assert not held["updated"] and float(held["loss_scale"]) == 8
    state, record = step(state, rows(0.1))
    assert not record["updated"] and int(state.step) == 0 and (state.params["w"] == 1).all()
    assert float(state.loss_scale.factor) == 4 and not np.asarray(state.accumulator.grads["w"]).any()
    for _ in range(2):
        state, record = step(state, rows(0.1))
    assert record["updated"] and int(state.step) == 1 and (state.params["w"] < 1).all()


def test_fit_goes_through_overflows_stops_at_a_loss_that_is_none_and_resumes_to_the_bit(tmp_path):
    program, optimizer = linear(), optim.adam()
    x = np.linspace(-1, 1, 24, dtype=np.float16).reshape(12, 2) * 20
    data = Dataset({"x": x, "target": x[:, :1]})
    common = dict(batch_size=4, seed=3)
    rate = schedule.constant(1e-2)
    whole, history = fit(program, optimizer, rate, data, epochs=4, **common)
    assert (
        len(history) < 12 and len(history) == int(whole.step) and int(whole.batches) == 12
    )  # some steps were left out
    assert history[0]["loss_scale"] < 2**15 and all(np.isfinite(r["gradient_norm"]) for r in history)
    half, _ = fit(program, optimizer, rate, data, epochs=2, **common)
    checkpoint.save(tmp_path / "half", half)
    again, _ = fit(
        program, optimizer, rate, data, epochs=2, state=checkpoint.load(tmp_path / "half", like=half), **common
    )
    jax.tree.map(np.testing.assert_array_equal, jax.random.key_data(whole.key), jax.random.key_data(again.key))
    jax.tree.map(np.testing.assert_array_equal, whole._replace(key=0), again._replace(key=0))
    with pytest.raises(NonFiniteError, match="step 1 .* loss inf"):
        fit(program, optimizer, rate, Dataset({"x": x * 2000, "target": x[:, :1]}), epochs=1, **common)


def test_a_factor_that_would_round_is_refused():
    with pytest.raises(SettingError, match="initial is 1000.*power of two"):
        LossScaling(initial=1000)
    with pytest.raises(SettingError, match="period >= 1"):
        LossScaling(period=0)
    grown = LossScaling().after(LossScale(jnp.float32(2**15), jnp.int32(1999)), True, jnp.float16)
    assert float(grown.factor) == 2**15 and int(grown.finite) == 0  # 2**16 is infinite in float16
