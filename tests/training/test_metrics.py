"""Metrics against Aidge's and scikit-learn's."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.errors import DataError, SettingError
from aidgejax.training import metrics

GOLDEN = {
    c["name"]: c for c in json.loads((Path(__file__).parents[1] / "golden/aidge/metrics.json").read_text())["cases"]
}
COUNTS = [c for c in GOLDEN.values() if "axis" in c]


def array(entry):
    return np.array(entry["data"], entry["dtype"]).reshape(entry["shape"])


@pytest.mark.parametrize("case", COUNTS, ids=lambda c: c["name"])
def test_aidge_accuracy(case):
    count = jax.jit(metrics.correct_count, static_argnums=2)(
        array(case["prediction"]), array(case["target"]), case["axis"]
    )
    assert count == array(case["value"]).item()


def test_aidge_confusion():
    case = GOLDEN["confusion_matrix"]
    matrix = metrics.confusion_matrix(np.array(case["pred_indices"]), np.array(case["target_indices"]), 4)
    np.testing.assert_array_equal(matrix, array(case["matrix"]))
    together = metrics.confusion_tables(matrix)
    for k, want in enumerate(case["tables"]):
        table = metrics.confusion_table(matrix, k)
        for name, value in want.items():
            for got in (getattr(table, name), getattr(jax.tree.map(lambda x: x[k], together), name)):  # noqa: B023
                np.testing.assert_allclose(got() if callable(got) else got, value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_accuracy_per_row():
    scores = np.array([[1, 2, 0], [5, 5, 1], [np.nan, -1, -2], [np.nan] * 3, [0, 0, 9]], np.float32)
    labels = np.array([1, 1, 1, 0, 2])
    np.testing.assert_array_equal(metrics.accuracy(scores, labels), [1, 0, 1, 1, 1])
    np.testing.assert_array_equal(metrics.accuracy(scores, np.eye(3)[labels]), [1, 0, 1, 1, 1])
    np.testing.assert_array_equal(metrics.accuracy(scores.T, labels, axis=0), [1, 0, 1, 1, 1])
    images = np.moveaxis(np.broadcast_to(scores[:, None, :], (5, 2, 3)), 2, 1)  # [rows, classes, pixels]
    assert metrics.accuracy(images, np.stack([labels, labels], 1), axis=1).shape == (5, 2)


def test_top_k_against_scikit_learn():
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 7)).astype(np.float32), rng.integers(0, 7, 50)
    for k in (1, 3, 6):
        found = metrics.top_k_accuracy(scores, labels, k)
        assert found.shape == (50,)
        want = top_k_accuracy_score(labels, scores, k=k, labels=np.arange(7))
        np.testing.assert_allclose(jnp.mean(found), want, rtol=1e-6)
    np.testing.assert_array_equal(metrics.top_k_accuracy(scores, labels, 1), metrics.accuracy(scores, labels))
    ties = np.zeros((3, 4), np.float32)
    np.testing.assert_array_equal(metrics.top_k_accuracy(ties, np.array([0, 1, 2]), 2), [1, 1, 0])
    assert metrics.top_k_accuracy(np.full((1, 3), np.nan, np.float32), np.array([0]), 3) == 0


def test_confusion_against_scikit_learn():
    from sklearn.metrics import confusion_matrix, f1_score

    rng = np.random.default_rng(1)
    target, prediction = rng.integers(0, 5, 80), rng.integers(0, 5, 80)
    matrix = jax.jit(metrics.confusion_matrix, static_argnums=2)(prediction, target, 5)
    np.testing.assert_array_equal(matrix, confusion_matrix(target, prediction))
    np.testing.assert_allclose(
        metrics.confusion_tables(matrix).f_score(), f1_score(target, prediction, average=None), rtol=1e-5
    )
    one_hot = np.eye(5, dtype=np.float32)
    np.testing.assert_array_equal(metrics.confusion_matrix(one_hot[prediction], one_hot[target], 5), matrix)
    weights = (np.arange(80) < 30).astype(np.float32)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(prediction, target, 5, weights),
        confusion_matrix(target[:30], prediction[:30], labels=np.arange(5)),
    )
    beyond = metrics.confusion_matrix(np.array([0, 7, -1]), np.array([0, 0, 0]), 5)
    assert beyond.sum() == beyond[0, 0] == 1


def test_a_ratio_of_nothing_is_nan():
    table = metrics.confusion_table(metrics.confusion_matrix(np.array([0]), np.array([0]), 2), 1)
    assert np.isnan(table.precision()) and np.isnan(table.recall()) and table.specificity() == 1


def test_regression():
    rng = np.random.default_rng(2)
    p, t = rng.normal(size=(2, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(metrics.mean_absolute_error(p, t), np.abs(p - t).mean(1), rtol=1e-6)
    np.testing.assert_allclose(metrics.mean_squared_error(p, t), ((p - t) ** 2).mean(1), rtol=1e-6)
    assert metrics.mean_squared_error(p[:, 0], t[:, 0]).shape == (6,)
    want = 1 - ((p - t) ** 2).sum() / ((t - t.mean(0)) ** 2).sum()
    np.testing.assert_allclose(metrics.r2(p, t), want, rtol=1e-5)
    weights = np.array([1, 1, 1, 1, 0, 0], np.float32)
    np.testing.assert_allclose(metrics.r2(p, t, weights), metrics.r2(p[:4], t[:4]), rtol=1e-5)
    assert np.isnan(metrics.r2(p, np.ones_like(t)))


def test_rows_vmap():
    scores, labels = np.random.default_rng(3).normal(size=(4, 5, 3)).astype(np.float32), np.ones((4, 5), np.int32)
    np.testing.assert_array_equal(jax.vmap(metrics.accuracy)(scores, labels)[2], metrics.accuracy(scores[2], labels[2]))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: metrics.accuracy(np.ones((3, 4)), np.ones(4, int)),
            DataError,
            "accuracy: target is int32[4] for a prediction of shape [3, 4]; expected class indices [3] of an integer "
            "dtype, or one-hot rows [3, 4]",
        ),
        (
            lambda: metrics.accuracy(np.ones((3, 4)), np.ones((3, 4)), axis=2),
            DataError,
            "accuracy: axis is 2, but prediction has shape (3, 4); expected -2 to 1",
        ),
        (
            lambda: metrics.accuracy(np.ones(3), np.ones(3)),
            DataError,
            "accuracy: prediction has shape (3,); expected scores of at least 2 axes, [rows, classes]",
        ),
        (
            lambda: metrics.top_k_accuracy(np.ones((3, 4)), np.ones(3, int), 5),
            SettingError,
            "top_k_accuracy: k is 5; expected 1 to 4, the number of classes",
        ),
        (
            lambda: metrics.mean_squared_error(np.ones((3, 4)), np.ones(3)),
            DataError,
            "mean_squared_error: prediction has shape [3, 4] and target [3]; expected equal shapes [rows, ...]",
        ),
        (
            lambda: metrics.confusion_matrix(np.ones(3, int), np.ones(4, int), 2),
            DataError,
            "confusion_matrix: 4 targets for 3 predictions",
        ),
        (
            lambda: metrics.confusion_matrix(np.ones(3), np.ones(3, int), 2),
            DataError,
            "confusion_matrix: prediction is float32[3]; expected class indices [rows] of an integer dtype, "
            "or scores [rows, 2]",
        ),
    ],
)
def test_mistakes(call, error, message):
    with pytest.raises(error) as e:
        call()
    assert str(e.value) == message
