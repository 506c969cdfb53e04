from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import DataError, GraphError, SettingError
from aidgejax.training.checked_epoch import CheckedEpoch
from aidgejax.training.loop import TrainState

RNG = np.random.default_rng(0)
ROWS = 50
X = RNG.normal(size=(ROWS, 6)).astype(np.float32)
Y = RNG.integers(0, 3, ROWS)


def classifier(reduction="rows", normed=False):
    g = aj.zoo.mlp(sizes=(6, 8, 3), seed=1)
    if normed:
        g = aj.Graph("normed")
        op, rng = g.op, np.random.default_rng(2)
        x = g.input("x", ("N", 6))
        h = op.MatMul(x, g.parameter("w", rng.normal(size=(6, 3)).astype(np.float32)))
        one = np.ones(3, np.float32)
        g.output(
            op.BatchNormalization(
                h,
                g.parameter("s", one),
                g.parameter("b", 0 * one),
                g.buffer("mean", 0 * one),
                g.buffer("var", one),
                name="logits",
            )
        )
    return aj.with_loss(aj.infer_shapes(g), "cross_entropy", reduction=reduction)


def data():
    return aj.Dataset(x=X, target=Y, classes={"target": 3})


def accuracy(outputs, batch):
    return aj.metrics.accuracy(outputs["logits"], batch["target"])


def by_hand(params, batches, momentum, lr):
    """The same network and rule, in NumPy and jax.grad."""

    def loss(p, x, y):
        h = jax.nn.relu(x @ p["fc1.weight"].T + p["fc1.bias"])
        z = h @ p["fc2.weight"].T + p["fc2.bias"]
        return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(len(y)), y])

    velocity, losses = None, []
    for k, (x, y) in enumerate(batches):
        value, g = jax.value_and_grad(loss)(params, x, y)
        velocity = g if velocity is None else jax.tree.map(lambda v, d: momentum * v + d, velocity, g)
        rate = lr(k)
        params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)  # noqa: B023
        losses.append(float(value))
    return params, losses


def close(got, want, **tolerance):
    check = partial(np.testing.assert_allclose, **({"rtol": 1e-5, "atol": 1e-6} | tolerance))
    jax.tree.map(check, dict(got), dict(want))


@pytest.mark.parametrize("last, steps", [("drop", 3), ("pad", 4)])
def test_epochs_equal_the_loop_written_by_hand(last, steps):
    program = aj.make_program(classifier(), training=True)
    lr = aj.schedule.warmup(aj.schedule.cosine(0.1, 30), 3)
    state, history = aj.fit(program, aj.optim.sgd(momentum=0.9), lr, data(), epochs=3, batch_size=16, last=last)
    batches = []
    for e in range(3):
        order = np.random.default_rng([0, e]).permutation(ROWS)[: steps * 16]
        batches += [(X[r], Y[r]) for r in np.split(order, range(16, len(order), 16))]
    params, losses = by_hand(program.graph.params, batches, 0.9, lambda k: float(lr(jnp.int32(k))))
    close(state.params, params, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([r["loss"] for r in history], losses, rtol=1e-4)
    assert [r["step"] for r in history] == list(range(1, 3 * steps + 1))
    assert [r["epoch"] for r in history] == [e for e in range(3) for _ in range(steps)]
    np.testing.assert_allclose([r["learning_rate"] for r in history], aj.schedule.lr_profile(lr, 3 * steps), rtol=1e-6)
    assert all(r["gradient_norm"] > 0 for r in history)


@pytest.mark.parametrize("every", [2, 3, 4])
def test_accumulating_small_batches_is_one_large_batch(every):
    program = aj.make_program(classifier(), training=True)
    run = partial(
        aj.fit,
        program,
        aj.optim.adam(),
        aj.schedule.constant(0.01),
        data(),
        epochs=2,
        metrics={"accuracy": accuracy},
        last="pad",
    )
    small, recorded = run(batch_size=5, accumulate=every)
    large, want = run(batch_size=5 * every)
    close(small.params, large.params, atol=1e-5)
    assert len(recorded) == len(want) == 2 * -(-10 // every)
    for a, b in zip(recorded, want, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)


def test_one_trace_over_fifty_epochs():
    program = aj.make_program(classifier(), training=True)
    lr = aj.schedule.warmup(aj.schedule.step_lr(0.1, 40), 10)
    step = aj.make_accumulating_step(program, aj.optim.adamw(), lr, 3)
    epoch = aj.make_epoch(chex.assert_max_traces(step, n=1))
    evaluate = aj.make_evaluation(aj.make_program(classifier(), training=False))
    on_device = data().on_device()
    state = aj.start(program, aj.optim.adamw(), jax.random.key(0), accumulate=())
    for e in range(50):
        rows, weights = aj.batch_order(ROWS, 8, seed=0, epoch=e, last="pad")
        assert rows.shape == (7, 8) and weights[-1].sum() == 2
        state, history = epoch(state, rows, weights, on_device)
        found = evaluate(state.params, state.buffers, rows, weights, on_device)
    assert epoch._cache_size() == 1 and evaluate._cache_size() == 1
    assert int(state.step) == 50 * 3 and float(found["loss"]) < float(history["loss"][0]) * 1.2


def test_state_is_donated():
    program = aj.make_program(classifier(), training=True)
    epoch = aj.make_epoch(aj.make_step(program, aj.optim.sgd(), aj.schedule.constant(0.1)))
    state = aj.start(program, aj.optim.sgd(), jax.random.key(0))
    rows, _ = aj.batch_order(ROWS, 10)
    after, _ = epoch(state, rows, None, data().on_device())
    assert all(a.is_deleted() for a in state.params.values())
    assert not any(a.is_deleted() for a in after.params.values())


def test_chunks_equal_resident_data():
    program = aj.make_program(classifier(), training=True)
    optimizer, lr = aj.optim.sgd(momentum=0.5), aj.schedule.constant(0.05)
    step = aj.make_step(program, optimizer, lr)
    whole, held = aj.make_epoch(step), aj.make_epoch(step, gaps=True)
    rows, weights = aj.batch_order(ROWS, 8, last="pad")
    begin = lambda: aj.start(program, optimizer, jax.random.key(0))
    want, losses = whole(begin(), rows, weights, data().on_device())
    provider = [(X[k : k + 8], Y[k : k + 8]) for k in range(0, ROWS, 8)]
    state, recorded = begin(), []
    for batches, w in aj.prefetch(aj.chunks(provider, ("x", "target"), 3, last="pad")):
        state, records = held(state, batches, w)
        recorded += np.asarray(records["loss"])[np.asarray(records["updated"])].tolist()
    close(state.params, want.params)
    np.testing.assert_allclose(recorded, losses["loss"], rtol=1e-6)
    assert int(state.step) == 7 and held._cache_size() == 1


def test_streamed_epochs_do_not_run_ahead_of_the_device(monkeypatch):
    """Memory grew with the length of the stream where the loader is faster than the device."""
    results = [jnp.float32(k) for k in range(4)]
    epoch, waited = CheckedEpoch(lambda state, batches: (state, {"loss": results[batches["x"]]}), {}), []
    monkeypatch.setattr(jax, "block_until_ready", lambda x: waited.append(float(x)))
    for k in range(4):
        epoch(None, {"x": k})
    assert waited == [0, 1]  # the third call waits for the first: one runs, one is ready to


def test_accumulation_over_chunks_ends_with_the_last_alive_step():
    program = aj.make_program(classifier(), training=True)
    optimizer, lr = aj.optim.sgd(), aj.schedule.constant(0.05)
    step = aj.make_accumulating_step(program, optimizer, lr, 4)
    begin = lambda: aj.start(program, optimizer, jax.random.key(0), accumulate=())
    state = begin()
    epoch = aj.make_epoch(step, gaps=True)
    provider = [(X[k : k + 8], Y[k : k + 8]) for k in range(0, ROWS, 8)]
    parts = list(aj.chunks(provider, ("x", "target"), 3, last="pad"))
    for n, (batches, weights) in enumerate(parts):
        state, recorded = epoch(state, batches, weights, last=n == len(parts) - 1)
    assert int(state.step) == 2 and np.asarray(recorded["updated"]).tolist() == [True, False, False]
    whole = aj.make_epoch(aj.make_accumulating_step(program, optimizer, lr, 4))
    rows, weights = aj.batch_order(ROWS, 8, last="pad")
    want, _ = whole(begin(), rows, weights, data().on_device())
    close(state.params, want.params)
    with pytest.raises(SettingError, match=r"holds no gradients back: make it with start\(..., accumulate=metrics\)"):
        epoch(aj.start(program, optimizer, jax.random.key(0)), *parts[0])


def test_batch_statistics_are_updated_without_a_gradient():
    g = classifier(normed=True)
    program = aj.make_program(g, training=True)
    state, _ = aj.fit(program, aj.optim.sgd(), aj.schedule.constant(0.0), data(), epochs=1, batch_size=25)
    mean = np.zeros(3)
    order = np.random.default_rng([0, 0]).permutation(ROWS)
    for r in np.split(order, 2):
        mean = 0.9 * mean + 0.1 * (X[r] @ g.params["w"]).mean(0)
    np.testing.assert_allclose(state.buffers["mean"], mean, rtol=1e-4, atol=1e-6)
    assert set(state.params) == {"w", "s", "b"}


def test_padding_is_kept_out_of_batch_statistics():
    program = aj.make_program(classifier(normed=True), training=True)
    with pytest.raises(SettingError, match=r"last='pad' would let padding into the batch statistics .*'mean'"):
        aj.fit(program, aj.optim.sgd(), aj.schedule.constant(0.1), data(), epochs=1, batch_size=16, last="pad")


def test_evaluation_weighs_rows():
    program = aj.make_program(classifier(), training=False)
    evaluate = aj.make_evaluation(program, metrics={"accuracy": accuracy})
    outputs = aj.run(classifier(), {"x": X, "target": Y})
    params, rows_weights = program.graph.params, aj.batch_order(ROWS, 16, last="pad")
    found = evaluate(params, {}, *rows_weights, data().on_device())
    np.testing.assert_allclose(found["loss"], outputs[1].mean(), rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], (outputs[0].argmax(1) == Y).mean(), rtol=1e-5)


def test_the_numpy_backend_trains_the_same():
    program = aj.make_program(classifier(), training=True)
    run = partial(
        aj.fit,
        optimizer=aj.optim.sgd(momentum=0.9),
        schedule=aj.schedule.constant(0.05),
        data=data(),
        epochs=2,
        batch_size=10,
        metrics={"accuracy": accuracy},
    )
    by_jax, recorded = run(program)
    by_numpy, want = run(aj.NumpyProgram(program), compiled=False)
    close(by_jax.params, by_numpy.params, atol=1e-5)
    assert recorded[-1] == pytest.approx(want[-1], rel=1e-3)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    program = aj.make_program(classifier(), training=True)
    optimizer = aj.optim.adam()
    step = aj.make_step(program, optimizer, aj.schedule.cosine(0.1, 20))
    epoch, on_device = aj.make_epoch(step), data().on_device()

    def epochs(state, which):
        for e in which:
            state, _ = epoch(state, aj.batch_order(ROWS, 10, seed=3, epoch=e)[0], None, on_device)
        return state

    straight = epochs(aj.start(program, optimizer, jax.random.key(5)), range(4))
    half = epochs(aj.start(program, optimizer, jax.random.key(5)), range(2))
    aj.save(tmp_path / "half.ckpt", half)
    again = aj.load(tmp_path / "half.ckpt", like=aj.start(program, optimizer, jax.random.key(0)))
    assert isinstance(again, TrainState)
    resumed = epochs(again, range(2, 4))
    for a, b in zip(jax.tree.leaves(straight.params), jax.tree.leaves(resumed.params), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("mistake, error, message", [
    (dict(batch_size=0), DataError, r"batch size 0: expected 1 or more"),
    (dict(batch_size=51), DataError, r"batch size 51 with 50 rows leaves no batch: take a smaller one, or last='pad'"),
    (dict(batch_size=8, last="keep"), DataError, r"last='keep': a short last batch is either 'drop' or 'pad'"),
    (dict(batch_size=8, accumulate=0), SettingError, r"accumulate is 0: an update needs at least 1 micro-batch"),
    (dict(batch_size=8, epochs=0), SettingError, r"epochs is 0: expected 1 or more"),
])  # fmt: skip
def test_settings_that_make_no_sense(mistake, error, message):
    program = aj.make_program(classifier(), training=True)
    with pytest.raises(error, match=message):
        aj.fit(program, aj.optim.sgd(), aj.schedule.constant(0.1), data(), **{"epochs": 1, **mistake})


def test_what_a_loop_of_ones_own_gets_wrong_is_named():
    program = aj.make_program(classifier(), training=True)
    rule, rate = aj.optim.sgd(), aj.schedule.constant(0.1)
    columns, rows = data().columns, np.arange(16).reshape(2, 8)
    epoch = aj.make_epoch(aj.make_step(program, rule, rate))
    state = aj.start(program, rule, jax.random.key(0))
    with pytest.raises(DataError, match=r"no data to take them from: call epoch\(state, rows, weights, data\)"):
        epoch(state, rows)
    with pytest.raises(DataError, match=r"column 'target', row 0: label \d with 3 classes"):
        epoch(state, rows, None, columns | {"target": columns["target"] + 3})
    epoch(state, rows, None, columns)
    with pytest.raises(SettingError, match="went into an epoch before, which has reused its memory"):
        epoch(state, rows, None, columns)
    with pytest.raises(SettingError, match=r"key is 3: expected a key of JAX's, jax.random.key\(3\)"):
        aj.start(program, rule, 3)
    with pytest.raises(SettingError, match="optimizer is 'adam': expected init and update"):
        aj.make_step(program, "adam", rate)
    with pytest.raises(SettingError, match="initial_lr is 'cosine': expected a finite number of at least 0"):
        aj.make_step(program, rule, "cosine")
    by_number, by_schedule = (aj.make_step(program, rule, r) for r in (0.1, aj.schedule.constant(0.1)))
    batch = {k: v[:8] for k, v in columns.items()}
    one, two = (jax.jit(step)(aj.start(program, rule, jax.random.key(3)), batch) for step in (by_number, by_schedule))
    jax.tree.map(np.testing.assert_array_equal, one[0].params, two[0].params)


def test_labels_are_checked_once_on_the_host():
    with pytest.raises(DataError, match=r"column 'target', row 2: label 3 with 3 classes \(0 to 2\); 2 labels are out"):
        aj.Dataset(x=X[:4], target=np.array([0, 1, 3, -1]), classes={"target": 3})
    program = aj.make_program(classifier(), training=True)
    with pytest.raises(DataError, match=r"column 'target', row 1: label 7 with 3 classes"):
        aj.fit(
            program,
            aj.optim.sgd(),
            aj.schedule.constant(0.1),
            aj.Dataset(x=X[:4], target=np.array([0, 7, 0, 0])),
            epochs=1,
            batch_size=2,
        )


@pytest.mark.parametrize("columns, message", [
    ({}, r"needs at least one column"),
    ({"x": X, "y": Y[:7]}, r"columns have different numbers of rows: 'x' 50, 'y' 7"),
    ({"x": X[:0]}, r"the data set has no rows"),
    ({"x": np.array(["a"])}, r"column 'x' has dtype <U1: expected numbers"),
    ({"x": 3.0}, r"column 'x' is a single number"),
])  # fmt: skip
def test_data_that_is_none(columns, message):
    with pytest.raises(DataError, match=message):
        aj.Dataset(columns)


def test_a_data_set_that_lacks_an_input():
    program = aj.make_program(classifier(), training=True)
    with pytest.raises(DataError, match=r"the data lacks 'target', which graph 'mlp' takes; it has 'x'"):
        aj.fit(program, aj.optim.sgd(), aj.schedule.constant(0.1), aj.Dataset(x=X), epochs=1, batch_size=10)


def test_a_graph_without_a_loss():
    g = aj.zoo.mlp(sizes=(6, 3))
    with pytest.raises(GraphError, match=r"graph 'mlp' has no output 'loss' to train on; it has 'logits'"):
        aj.make_step(aj.make_program(g), aj.optim.sgd(), aj.schedule.constant(0.1))


def test_a_scalar_loss_takes_no_padding():
    program = aj.make_program(classifier("mean"), training=True)
    with pytest.raises(GraphError, match=r"one number for the whole batch, so padded rows cannot be left out"):
        aj.fit(program, aj.optim.sgd(), aj.schedule.constant(0.1), data(), epochs=1, batch_size=16, last="pad")
    state, _ = aj.fit(program, aj.optim.sgd(), aj.schedule.constant(0.1), data(), epochs=1, batch_size=10)
    rows, _ = aj.fit(
        aj.make_program(classifier(), training=True),
        aj.optim.sgd(),
        aj.schedule.constant(0.1),
        data(),
        epochs=1,
        batch_size=10,
    )
    close(state.params, rows.params)


@pytest.mark.parametrize("provider, message", [
    ([], r"the data provider gave no batch"),
    ([(X[:4],)], r"batch 0 is tuple of 1: expected a tuple of 2 arrays \(x, target\)"),
    ([(X[:4], Y[:4]), (X[:8], Y[:8])], r"batch 1 has 8 rows, the first had 4"),
    ([(X[:4], Y[:4]), (X[:4, :3], Y[:4])], r"batch 1, 'x': float32\[4, 3\] does not fit the first batch"),
])  # fmt: skip
def test_a_data_provider_that_does_not_fit(provider, message):
    with pytest.raises(DataError, match=message):
        list(aj.chunks(provider, ("x", "target"), 2))


def test_prefetch_hands_on_what_the_source_raises():
    def source():
        yield 1
        raise OSError("disk gone")

    got = []
    with pytest.raises(OSError, match="disk gone"):
        for item in aj.prefetch(source(), place=lambda x: x):
            got.append(item)
    assert got == [1]
    import threading

    assert not [t for t in threading.enumerate() if t.name == "aidgejax-prefetch"]


def test_digits_are_the_real_ones():
    d = aj.digits()
    assert len(d) == 1797 and d.columns["x"].shape == (1797, 1, 8, 8)
    assert np.bincount(d.columns["target"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    from sklearn.datasets import load_digits

    np.testing.assert_array_equal(d.columns["x"][:, 0] * 16, load_digits().images)
