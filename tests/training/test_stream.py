"""Batches that are read while fit trains."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import DataError, NonFiniteError, SettingError
from aidgejax.training.callbacks import every_steps
from aidgejax.training.pytrees import copied


@pytest.fixture(scope="module")
def trained():
    """f(data, **more): two epochs of 5 batches of 8 rows, of one program."""
    graph = aj.with_loss(aj.infer_shapes(aj.zoo.mlp((6, 5, 3))), "cross_entropy", reduction="rows")
    program, optimizer, rate = aj.make_program(graph), aj.optim.sgd(0.9), aj.schedule.constant(0.1)

    def fit(data, **more):
        return aj.fit(program, optimizer, rate, data, **{"epochs": 2, "batch_size": 8} | more)

    return fit


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(43, 6)).astype(np.float32), "target": rng.integers(0, 3, 43)}


def same(a, b):
    for k, v in a.params.items():
        np.testing.assert_array_equal(v, b.params[k])


def test_rows_on_a_disk_train_as_a_data_set_does(trained, columns, tmp_path):
    for k, v in columns.items():
        np.save(tmp_path / f"{k}.npy", v)
    read = {k: np.load(tmp_path / f"{k}.npy", mmap_mode="r") for k in columns}
    state, history = trained(aj.Dataset(columns), seed=3)
    streamed, found = trained(aj.Stream.of_rows(read, batch_size=8, seed=3, ahead=2))
    same(state, streamed)
    assert [r["loss"] for r in found] == [r["loss"] for r in history] and len(found) == 10


def test_a_stream_goes_on_where_it_was(trained, columns):
    stream, kept = aj.Stream.of_rows(columns, batch_size=8, ahead=3), []
    whole, _ = trained(stream, callbacks=[every_steps(4, lambda record, state: kept.append(copied(state)))])
    assert [int(s.batches) for s in kept] == [4, 9]
    rest, history = trained(stream, state=kept[0])
    same(whole, rest)
    assert [r["step"] for r in history] == [5, 6, 7, 8, 9, 10]


def test_a_loader_is_iterated_anew_in_each_epoch(trained, columns):
    batches = [(columns["x"][k : k + 8], columns["target"][k : k + 8]) for k in range(0, 40, 8)]
    state, history = trained(aj.Stream(batches))
    again, _ = trained(aj.Stream(lambda epoch: iter(batches), steps=5))
    same(state, again)
    assert history[-1]["loss"] < history[0]["loss"]
    with pytest.raises(SettingError, match="can be read once"):
        aj.Stream(iter(batches), steps=5)
    with pytest.raises(SettingError, match=r"Stream\(..., steps=\)"):
        aj.Stream(lambda epoch: batches)
    with pytest.raises(DataError, match="ended after 5 batches, and an epoch has 6"):
        trained(aj.Stream(lambda epoch: batches, steps=6))
    with pytest.raises(DataError, match="of 3 rows among batches 5 to 5"):
        trained(aj.Stream([*batches, (columns["x"][40:], columns["target"][40:])], ahead=5))


def test_a_number_that_is_not_finite_is_found_in_its_batch(trained, columns):
    bad = columns["x"].copy()
    bad[16 + 3, 2] = np.nan
    batches = [(bad[k : k + 8], columns["target"][k : k + 8]) for k in range(0, 40, 8)]
    with pytest.raises(NonFiniteError, match=r"epoch 0, batch 2\).* row 3 holds nan") as e:
        trained(aj.Stream(batches, ahead=2))
    assert e.value.step == 3 and all(np.isfinite(v).all() for v in e.value.state.params.values())
