"""Scatters that multiply, or keep the largest: checked by differences alone, since JAX has no gradient of theirs."""

import numpy as np
import pytest

from ._case import Case, f
from ._checks import difference_quotients

PLACES = np.array([[0, 1], [2, 1], [0, 1]])  # one of them twice
ALONG = np.array([[0, 1, 1], [3, 3, 0], [2, 1, 3]])
ROWS = [
    Case(op, (f(3, 4), indices, f(*shape)), reduction=how, why=how, **axis)
    for op, indices, shape, axis in (("ScatterElements", ALONG, (3, 3), {"axis": 1}), ("ScatterND", PLACES, (3,), {}))
    for how in ("mul", "max", "min")
]


def gradients(case, dy):
    program, feeds = case.program(np.float64), case.feeds(np.float64)
    return program, case.reference_gradients(program, feeds, {"y0": dy})


@pytest.mark.parametrize("case", ROWS, ids=repr)
def test_differences(case):
    dy = np.random.default_rng(1).uniform(0.5, 1.5, (3, 4))
    program, grads = gradients(case, dy)
    for w, (v, slope, size) in difference_quotients(case, {"program": program, "dy": {"y0": dy}}).items():
        np.testing.assert_allclose(np.sum(v * grads[w]), slope, rtol=2e-6, atol=1e-8 * size, err_msg=w)


def test_zeros_have_a_slope():
    x, updates = np.zeros((1, 2), np.float32), np.float32([[3, 0, 0]])
    case = Case("ScatterElements", (x, np.array([[0, 1, 1]]), updates), axis=1, reduction="mul")
    _, grads = gradients(case, np.array([[1.0, 10.0]]))
    assert grads["x"].tolist() == [[3, 0]] and grads["updates"].tolist() == [[0, 0, 0]]


def test_equal_ones_share():
    case = Case(
        "ScatterElements",
        (np.float32([[2, 1]]), np.array([[0, 0, 1]]), np.float32([[2, 2, 5]])),
        axis=1,
        reduction="max",
    )
    _, grads = gradients(case, np.array([[9.0, 1.0]]))
    assert grads["x"].tolist() == [[3, 0]] and grads["updates"].tolist() == [[3, 3, 1]]
