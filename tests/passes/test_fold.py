"""Folding what constants and known shapes decide."""

import numpy as np

import aidgejax as aj
from aidgejax.execution.run import run
from aidgejax.passes.fold import folded


def fold(build, shape=(4, 3)):
    g = aj.Graph("g")
    x = g.input("x", shape)
    g.output(build(g.op, x))
    g = aj.infer_shapes(g)
    after = folded(g)
    rows = tuple(5 if isinstance(d, str) else d for d in shape)
    batch = {"x": np.random.default_rng(0).normal(size=rows).astype(np.float32)}
    np.testing.assert_array_equal(run(g, batch)[0], run(after.check(), batch)[0])
    return after.count()


def test_known_shapes_are_constants():
    assert fold(lambda op, x: op.Expand(x, op.Mul(op.Shape(x), (1, 1)))) == {"Identity": 1}
    assert fold(lambda op, x: op.Relu(op.Expand(x, op.Shape(x)))) == {"Relu": 1}


def test_a_symbolic_shape_stays_and_an_equal_one_goes():
    assert fold(lambda op, x: op.Mul(op.Size(op.Exp(x)), 2), ("N", 3))["Size"] == 1
    assert fold(lambda op, x: op.Reshape(op.Exp(x), op.Shape(x)), ("N", 3)) == {"Exp": 1}


def test_what_changes_nothing_goes():
    count = fold(lambda op, x: op.Exp(op.Add(op.Mul(op.Identity(op.Cast(x, to=1)), 1.0), 0.0)))
    assert count == {"Exp": 1}


def test_a_slice_of_everything_goes_and_a_backward_one_stays():
    assert fold(lambda op, x: op.Exp(op.Slice(x, (0,), (9,), (1,), (1,)))) == {"Exp": 1}
    assert fold(lambda op, x: op.Exp(op.Slice(x, (-1,), (-9,), (1,), (-1,))))["Slice"] == 1
    last = lambda op, x: op.Exp(op.Slice(x, (0, -1), (9, -9), (0, 1), op.Mul((1, -1), 1)))
    assert fold(last)["Slice"] == 1


def test_the_same_node_is_written_once():
    assert fold(lambda op, x: op.Sub(op.Exp(op.Neg(x)), op.Sqrt(op.Exp(op.Neg(x)))))["Exp"] == 1


def test_an_output_keeps_its_name():
    g = aj.Graph("g")
    x = g.input("x", (2, 2))
    (y,) = g.add("Identity", [g.op.Relu(x)], names=["y"])
    (z,) = g.add("Identity", [x], names=["z"])
    for v in (y, z):
        g.output(v)
    after = folded(aj.infer_shapes(g))
    assert after.outputs == ["y", "z"]
    assert after.count() == {"Relu": 1, "Identity": 1}


def test_a_broadcasting_operator_takes_what_was_expanded():
    assert fold(lambda op, x: op.Mul(x, op.Expand(op.ReduceMean(x, (1,), keepdims=1), (4, 3)))) == {
        "ReduceMean": 1,
        "Mul": 1,
    }
