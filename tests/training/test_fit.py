"""fit: going on from a state, callbacks, and numbers that are not finite."""

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import DataError, NonFiniteError, SettingError
from aidgejax.training.callbacks import (
    STOP,
    AverageWeights,
    BestWeights,
    checkpoints,
    csv_log,
    early_stopping,
    every_steps,
    json_lines,
)
from aidgejax.training.lr_finder import find_learning_rate

ROWS = 50
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(ROWS, 6)).astype(np.float32), RNG.integers(0, 3, ROWS)


def classifier():
    g = aj.Graph("tiny")
    x, op, rng = g.input("x", ("N", 6)), g.op, np.random.default_rng(1)
    h = op.Dropout(op.Relu(op.MatMul(x, g.parameter("a", rng.normal(size=(6, 8)).astype("f4") * 0.3))), 0.2)
    g.output(op.MatMul(h, g.parameter("w", rng.normal(size=(8, 3)).astype("f4") * 0.3), name="logits"))
    return aj.with_loss(aj.infer_shapes(g), "cross_entropy", reduction="rows")


PROGRAM = aj.make_program(classifier(), training=True)
EVALUATED = aj.make_program(classifier(), training=False)


def fit(epochs=2, *, x=X, accumulate=1, lr=0.01, batch_size=10, optimizer=None, **more):
    return aj.fit(
        PROGRAM,
        optimizer or aj.optim.adam(),
        aj.schedule.cosine(lr, 40),
        aj.Dataset(x=x, target=Y),
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        seed=3,
        **more,
    )


def test_steps_compute_in_the_precision_that_is_asked_for_and_states_stay_float32():
    exact, low = fit(1), fit(1, precision="bfloat16")
    assert {a.dtype.name for a in low[0].params.values()} == {"float32"}
    assert bits(low[0].params) != bits(exact[0].params)
    np.testing.assert_allclose(low[1][-1]["loss"], exact[1][-1]["loss"], rtol=0.02)
    half, _ = fit(1, precision="bfloat16")  # the same program again, nothing kept by an identity that changed
    assert bits(half) == bits(low[0])
    scaled, _ = fit(1, precision="float16", state=fit(1)[0])
    assert int(scaled.loss_scale.finite) == 5 and float(scaled.loss_scale.factor) == 2.0**15
    with pytest.raises(SettingError, match="computes in bfloat16, float16, float32, got 'int8'"):
        fit(1, precision="int8")


def bits(tree):
    return [
        np.asarray(jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a).tobytes()
        for a in jax.tree.leaves(tree)
    ]


@pytest.mark.parametrize("accumulate, last", [(1, "drop"), (3, "pad")])
def test_going_on_is_as_if_it_had_not_stopped(tmp_path, accumulate, last):
    more = {"accumulate": accumulate, "last": last, "batch_size": 8}
    whole, history = fit(4, **more)
    first, start = fit(2, **more)
    before = bits(first)
    aj.save(tmp_path / "c", first)
    rest, end = fit(2, state=aj.load(tmp_path / "c", like=first), **more)
    assert bits(whole) == bits(rest) and history == start + end
    assert bits(first) == before, "the caller's state was taken"


def test_going_on_from_inside_an_epoch():
    whole, history = fit(2)
    seen = []
    half, start = fit(2, callbacks=[every_steps(3, lambda r, s: (seen.append(r["step"]), STOP)[1])])
    assert seen == [3] and len(start) == 3 and int(half.batches) == 3
    rest, end = fit(2, state=half)  # the rest of the first epoch, and the second
    assert bits(whole) == bits(rest) and history == start + end


def test_callbacks(tmp_path):
    best, mean, called = BestWeights(), AverageWeights(0.5), []
    state, history = fit(
        5,
        test=aj.Dataset(x=X, target=Y),
        test_program=EVALUATED,
        callbacks=[
            best,
            every_steps(2, mean),
            csv_log(tmp_path / "log.csv"),
            json_lines(tmp_path / "log.jsonl"),
            checkpoints(tmp_path / "ckpt", keep=2, best="test_loss"),
            lambda record, state: called.append((record["epoch"], int(state.step))),
        ],
    )
    assert called == [(e, 5 * e + 5) for e in range(5)]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 6
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["test_loss"] for r in logged] == [r["test_loss"] for r in history if "test_loss" in r]
    lowest = min(logged, key=lambda r: r["test_loss"])
    assert best.record["epoch"] == lowest["epoch"]
    assert {p.name for p in (tmp_path / "ckpt").iterdir()} == {"step-20.ckpt", "step-25.ckpt", "best.ckpt"}
    kept = aj.load(tmp_path / "ckpt/best.ckpt", like=state)
    np.testing.assert_array_equal(kept.params["w"], best.params["w"])
    assert mean.params["w"].shape == (8, 3) and not np.array_equal(mean.params["w"], state.params["w"])


def test_of_several_processes_the_first_writes_logs_and_takes_parts_away(tmp_path, monkeypatch):
    state = aj.start(PROGRAM, aj.optim.sgd(), jax.random.key(0))
    write = checkpoints(tmp_path / "ckpt", keep=1)
    write({"step": 1}, state)
    part = tmp_path / "ckpt" / f"step-1.ckpt.{'0' * 16}.0"  # of an array that was split between processes
    part.touch()
    write({"step": 2}, state)
    assert [p.name for p in (tmp_path / "ckpt").iterdir()] == ["step-2.ckpt"]
    monkeypatch.setattr("aidgejax.training.callbacks.is_first", lambda: False)
    for f in (csv_log(tmp_path / "log.csv"), json_lines(tmp_path / "log.jsonl"), checkpoints(tmp_path / "other")):
        f({"step": 1, "loss": 0.5}, state)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ckpt", "other"]
    assert not any((tmp_path / "other").iterdir())


def test_early_stopping_and_what_it_needs():
    _, history = fit(50, lr=1e-7, callbacks=[early_stopping("loss", patience=2, min_delta=0.5)])
    assert history[-1]["epoch"] == 2
    with pytest.raises(SettingError, match="the records have no 'test_loss'; they have 'step'"):
        fit(1, callbacks=[early_stopping()])


def test_a_bad_number_in_the_data_is_named():
    order, _ = aj.batch_order(ROWS, 10, seed=3, epoch=1)
    x = X.copy()
    x[order[2, 4], 5] = np.nan
    clean, _ = fit(1)
    with pytest.raises(NonFiniteError) as failed:
        fit(3, x=x[:], callbacks=[])
    # the row was met in epoch 0 already, whatever its place there
    at = int(np.argwhere(aj.batch_order(ROWS, 10, seed=3, epoch=0)[0] == order[2, 4])[0, 0])
    assert failed.value.step == at + 1 and len(failed.value.history) == at
    assert f"step {at + 1} (epoch 0, batch {at}) is not finite" in str(failed.value)
    assert f"column 'x', row {order[2, 4]} holds nan" in str(failed.value)
    assert int(failed.value.state.step) == at and np.isfinite(failed.value.state.params["w"]).all()
    if at:
        part, _ = fit(1, callbacks=[every_steps(at, lambda r, s: STOP)])
        np.testing.assert_array_equal(part.params["w"], failed.value.state.params["w"])
    skipped, history = fit(1, x=x, on_nonfinite="skip")
    assert len(history) == 4 == int(skipped.step) and int(skipped.batches) == 5
    assert np.isfinite(skipped.params["w"]).all() and bits(clean) != bits(skipped)
    ignored, history = fit(1, x=x, on_nonfinite="ignore")
    assert len(history) == 5 and np.isnan(ignored.params["w"]).any()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_diverges_names_the_node(accumulate):
    with pytest.raises(NonFiniteError, match=r"is not finite: .*; the first came out of node '.*' \(\w+\)") as failed:
        fit(3, lr=1e25, optimizer=aj.optim.sgd(), accumulate=accumulate)
    assert all(np.isfinite(a).all() for a in failed.value.state.params.values())


def test_the_guard_leaves_sound_training_alone():
    outcomes = [fit(2, on_nonfinite=policy)[0] for policy in ("raise", "skip", "ignore")]
    for k in ("a", "w"):
        for other in outcomes[1:]:  # other programs, which XLA fuses in other ways
            np.testing.assert_allclose(outcomes[0].params[k], other.params[k], atol=1e-6)
    with pytest.raises(SettingError, match="on_nonfinite is 'hope'; expected one of 'raise', 'skip', 'ignore'"):
        fit(1, on_nonfinite="hope")


def test_a_batch_of_padding_leaves_everything_alone():
    step = aj.make_step(PROGRAM, aj.optim.adamw(weight_decay=0.5), aj.schedule.constant(0.1))
    state = aj.start(PROGRAM, aj.optim.adamw(), jax.random.key(0))
    new, record = jax.jit(step)(state, {"x": X[:4], "target": Y[:4]}, jnp.zeros(4))
    assert bits(new) == bits(state) and np.isfinite(record["loss"])


def test_counters_do_not_wrap():
    optimizer = aj.optim.adam(bias_correction="rate")
    state = aj.start(PROGRAM, optimizer, jax.random.key(0))
    late = state._replace(
        step=jnp.uint32(2**32 - 1),
        opt=jax.tree.map(lambda a: jnp.int32(2**31 - 1) if a.dtype == "int32" else a, state.opt),
    )
    step = jax.jit(aj.make_step(PROGRAM, optimizer, aj.schedule.warmup(aj.schedule.step_lr(0.1, 7), 5)))
    new, _ = step(late, {"x": X[:4], "target": Y[:4]})
    assert int(new.step) == 2**32 - 1 and np.isfinite(new.params["w"]).all()
    new, _ = step(state._replace(step=jnp.uint32(2**31 - 1)), {"x": X[:4], "target": Y[:4]})
    assert int(new.step) == 2**31


def test_streams_are_checked_as_resident_data_is():
    epoch = aj.make_epoch(aj.make_step(PROGRAM, aj.optim.sgd(), aj.schedule.constant(0.1)), gaps=True)
    state = aj.start(PROGRAM, aj.optim.sgd(), jax.random.key(0))
    for labels, message in [
        ([0, 7], "row 1: label 7 with 3 classes"),
        ([0, -1], "label -1"),
        ([0, 2**32 + 1], "fit int32"),
    ]:
        batches = [(X[:2], np.array([0, 1])), (X[:2], np.array(labels))]
        with pytest.raises(DataError, match=f"batch 1.*{message}"):
            for chunk, weights in aj.chunks(batches, ("x", "target"), 2):
                epoch(state, chunk, weights)
    with pytest.raises(DataError, match="batch 1, column 'target', row 1: label 7"):
        list(aj.chunks([(X[:2], Y[:2]), (X[:2], np.array([0, 7]))], ("x", "target"), 2, classes={"target": 3}))


def test_the_rate_that_teaches_fastest_is_found():
    rates, losses, best = find_learning_rate(
        PROGRAM, aj.optim.sgd(), aj.Dataset(x=X, target=Y), batch_size=10, highest=10
    )
    assert rates.shape == losses.shape and 1e-7 < best < 10 and np.isfinite(losses).all()


def test_a_refusal_can_be_sent_to_another_process():
    error = pickle.loads(pickle.dumps(NonFiniteError("step 3")))
    assert str(error) == "step 3"
