"""What `run` is given, and what it refuses, on both backends."""

import numpy as np
import pytest

import aidgejax
from aidgejax.execution.cache import PROGRAMS, ProgramCache
from aidgejax.execution.program import Program

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
    with pytest.raises(aidgejax.BackendError, match="unknown backend 'torch'; expected 'jax' or 'numpy'"):
        aidgejax.run(dense(), [X], "torch")


def traces_of(monkeypatch):
    """A list that grows by one whenever a forward is traced."""
    seen = []
    forward = Program.forward

    def counting(self, *args, **kwargs):
        seen.append(self.graph.name)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Program, "forward", counting)
    return seen


def test_a_loop_of_runs_traces_once_per_shape(monkeypatch):
    seen = traces_of(monkeypatch)
    PROGRAMS.clear()
    for n in range(6):
        (y,) = aidgejax.run(dense(), [X * n], params={"w": np.full((3, 2), n, np.float32)})  # a new, equal graph
        np.testing.assert_array_equal(y, np.full((2, 2), 3 * n * n, np.float32))
    assert seen == ["dense"]
    aidgejax.run(dense(), [X[:1]])
    aidgejax.run(dense(), [X[:1]])
    assert seen == ["dense"] * 2  # another shape: one more


def test_what_is_computed_otherwise_is_compiled_otherwise(monkeypatch):
    seen = traces_of(monkeypatch)
    PROGRAMS.clear()

    def scaled(by, mode=None):
        g = aidgejax.Graph("scaled")
        g.output(g.op.Mul(g.input("x", (2, 3)), g.constant("by", np.full((300,), by, np.float32)[:3])))
        return aidgejax.run(g, [X], training=mode)[0][0, 0]

    assert [scaled(2), scaled(3), scaled(2), scaled(-0.0), scaled(0.0)] == [2, 3, 2, 0, 0]
    assert np.signbit(scaled(-0.0)) and not np.signbit(scaled(0.0))
    assert len(seen) == 4
    scaled(2, mode=True)
    assert len(seen) == 5


def test_the_least_recently_used_entry_leaves_first():
    cache, made = ProgramCache(kept=2), []

    def entry(key):
        return cache.get(key, lambda: made.append(key) or key)

    assert [entry(k) for k in "abacab"] == list("abacab")
    assert made == ["a", "b", "c", "b"] and len(cache) == 2
    with pytest.raises(ZeroDivisionError):
        cache.get("d", lambda: 1 / 0)
    assert len(cache) == 2


def test_a_decorated_function_is_called_once_per_arguments():
    cache, made = ProgramCache(kept=2), []

    @cache.cached
    def compile_it(a, b=1):
        made.append((a, b))
        return [a, b]

    assert compile_it(1, b=2) is compile_it(1, b=2) and compile_it(1) == [1, 1]
    assert made == [(1, 2), (1, 1)] and len(cache) == 2
