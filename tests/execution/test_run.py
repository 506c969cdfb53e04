"""What `run` is given, and what it refuses, on both backends."""

import numpy as np
import pytest

import aidgejax

BACKENDS = ("jax", "numpy")
X = np.ones((2, 3), np.float32)


def dense():
    g = aidgejax.Graph("dense")
    x, w = g.input("x", ("N", 3)), g.parameter("w", np.ones((3, 2), np.float32))
    g.output(g.op.MatMul(x, w, name="y"))
    return g


@pytest.mark.parametrize("backend", BACKENDS)
def test_by_name_by_place_and_with_other_parameters(backend):
    for inputs in ([X], {"x": X}, {"x": X.tolist()}, {"x": X.astype(np.float64)}):
        (y,) = aidgejax.run(dense(), inputs, backend)
        np.testing.assert_array_equal(y, np.full((2, 2), 3, np.float32))
        assert y.dtype == np.float32
    (y,) = aidgejax.run(dense(), [X], backend, params={"w": np.zeros((3, 2), np.float32)})
    assert not y.any()
    assert aidgejax.run(dense(), [X[:0]], backend)[0].shape == (0, 2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "inputs, params, message",
    [
        ([], None, r"graph 'dense' takes 1 inputs \(x\), got 0"),
        ({"y": X}, None, "has no input 'y'; it takes 'x'"),
        ({"x": X[:, :2]}, None, r"x:float32\[N, 3\].* \[2, 2\]"),
        ({"x": X.astype(np.int32)}, None, "got an array of dtype int32; convert it with .astype\\('float32'\\)"),
        ({"x": np.array("a")}, None, "got an array of dtype <U1"),
        ({"x": None}, None, "got None, expected an array"),
        ({"x": [[1, 2], [3]]}, None, "what was given is no array"),
        ({"x": X}, {"v": X}, "has no producer 'v'; it has 'w'"),
    ],
)
def test_what_cannot_be_run_is_refused(inputs, params, message, backend):
    with pytest.raises(aidgejax.GraphError, match=message):
        aidgejax.run(dense(), inputs, backend, params=params)


def test_a_backend_that_is_not_there():
    with pytest.raises(aidgejax.BackendError, match="no backend 'torch'; there are jax, numpy"):
        aidgejax.run(dense(), [X], "torch")
