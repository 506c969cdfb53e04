"""compare finds the node that is wrong, forward or backward."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.ops import OPERATORS


def lenet():
    return aj.with_loss(aj.infer_shapes(aj.zoo.lenet(size=8)), "cross_entropy")


def test_the_backends_agree():
    report = aj.compare(lenet(), steps=3)
    assert report.ok and report.first_bad is None
    assert {r.kind for r in report.rows} == {"forward", "gradient", "training"}
    assert {r.tensor for r in report.rows if r.kind == "training"} == set(lenet().params)
    assert {r.tensor for r in report.rows if r.kind == "gradient"} >= set(lenet().params)
    assert 0 < report.largest("forward") < 1e-5 and 0 < report.largest("gradient") < 1e-4
    assert str(report).endswith("lenet: the backends agree within 0.0001")


def test_a_forward_that_is_off_by_a_thousandth(monkeypatch):
    right = OPERATORS["MaxPool"]
    times = 0

    def wrong(x, **attributes):
        nonlocal times
        times += 1
        y = right.forward(x, **attributes)
        return (
            tuple(1.001 * a if k == 0 and a is not None else a for k, a in enumerate(y))
            if isinstance(y, tuple)
            else 1.001 * y
        )

    monkeypatch.setitem(OPERATORS, "MaxPool", replace(right, forward=wrong))
    report = aj.compare(lenet(), steps=1)
    assert not report.ok
    assert (report.first_bad.kind, report.first_bad.node) == ("forward", "pool1")
    assert report.first_bad.difference == pytest.approx(1e-3, rel=0.1)
    assert "lenet: first bad node 'pool1' (MaxPool), forward of 'pool1'" in str(report)


def test_a_rule_that_is_off_by_a_thousandth(monkeypatch):
    right = OPERATORS["Relu"]
    monkeypatch.setitem(
        OPERATORS,
        "Relu",
        replace(right, vjp=lambda op, x, y, dy: (op.Mul(op.Where(op.Greater(x, 0.0), dy, 0.0), 1.001),)),
    )
    report = aj.compare(lenet(), steps=1)
    assert (report.first_bad.kind, report.first_bad.node) == ("gradient", "relu4")
    assert report.first_bad.difference == pytest.approx(1e-3, rel=0.1)


def test_the_wrong_one_of_two_readers_is_named(monkeypatch):
    g = aj.Graph("g")
    op = g.op
    x, w = g.input("x", ("N", 3)), g.parameter("w", np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3))
    h = op.MatMul(x, w)
    g.output(op.Add(op.Tanh(h), op.Relu(h), name="y"))
    right = OPERATORS["Tanh"]
    monkeypatch.setitem(
        OPERATORS, "Tanh", replace(right, vjp=lambda op, x, y, dy: (op.Mul(right.vjp(op, x, y, dy)[0], 1.001),))
    )
    report = aj.compare(g, steps=0)
    assert (report.first_bad.node, report.first_bad.tensor) == ("Tanh", "MatMul")


def test_of_several_readers_one_takes_a_shape_computed_on_the_way():
    """Attention's heads as torch exports them: the sizes of a Reshape come from the tensor that it reshapes."""
    g = aj.Graph("heads")
    y = g.op.MatMul(g.input("x", ("N", 4)), g.parameter("w", np.eye(4, dtype=np.float32)), name="y")
    rows = g.op.Slice(g.op.Shape(y), g.constant("a", np.int64([0])), g.constant("b", np.int64([1])))
    sizes = g.op.Concat(rows, g.constant("heads", np.int64([2, 2])), axis=0)
    g.output(g.op.Reshape(y, sizes))
    g.output(g.op.Tanh(y))
    assert aj.compare(g, steps=1).ok


def test_batch_normalization_and_dropout_are_compared_in_training():
    g = aj.Graph("g")
    op, one = g.op, np.ones(4, np.float32)
    x = g.input("x", ("N", 4))
    w = g.parameter("w", np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))
    h = op.BatchNormalization(
        op.MatMul(x, w),
        g.parameter("s", one),
        g.parameter("b", 0 * one),
        g.buffer("mean", 0 * one),
        g.buffer("var", one),
    )
    g.output(op.Dropout(h, 0.5, name="y"))
    report = aj.compare(g, steps=2)
    assert report.ok, str(report)
    assert {"mean", "var"} <= {r.tensor for r in report.rows if r.kind == "training"}


def test_other_arrays_and_batches():
    g = aj.zoo.mlp(sizes=(3, 2))
    batch = {"x": np.ones((5, 3), np.float32)}
    assert aj.compare(g, {"fc1.weight": np.zeros((2, 3), np.float32)}, batch, steps=1).ok
    with pytest.raises(aj.GraphError, match="has no producer 'nobody'"):
        aj.compare(g, {"nobody": np.zeros(1)}, batch)
    with pytest.raises(aj.DataError, match="steps is -1"):
        aj.compare(g, steps=-1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_are_measured_in_their_own_steps(dtype):
    """A bfloat16 model was called wrong by 1.0, since its bits had to be equal."""
    g = aj.Graph("narrow")
    kind = jnp.dtype(dtype)
    rng = np.random.default_rng(0)
    y = g.op.MatMul(g.input("x", ("N", 8), dtype), g.parameter("w", rng.normal(size=(8, 3)).astype(kind)))
    g.output(y)
    report = aj.compare(aj.with_loss(aj.infer_shapes(g), "mse"), steps=3)
    assert report.ok and 0 <= max(r.difference for r in report.rows) < 0.05
    assert all(r.step == float(jnp.finfo(kind).eps) for r in report.rows if r.kind == "gradient")


def test_what_was_rounded_to_16_bits_is_measured_in_them_in_float32_too():
    graph = aj.Graph("g")
    rng = np.random.default_rng(0)
    graph.input("x", ("N", 6), "bfloat16")
    graph.parameter("w", rng.normal(size=(6, 5)).astype("bfloat16"))
    graph.parameter("v", rng.normal(size=(5, 2)).astype("float32"))
    (h,) = graph.add("MatMul", ["x", "w"])
    (wide,) = graph.add("Cast", [h], {"to": 1})
    (y,) = graph.add("MatMul", [wide, "v"], names=["y"])
    graph.output("y")
    report = aj.compare(aj.infer_shapes(graph), steps=1)
    steps = {r.tensor: r.step for r in report.rows if r.kind == "forward"}
    assert set(steps.values()) == {0.0078125} and report.first_bad is None
    assert all(r.step == 0 for r in aj.compare(aj.infer_shapes(aj.zoo.mlp((4, 3))), steps=1).rows)


def test_what_16_bits_cannot_hold_is_no_alarm_and_a_wrong_rule_is_one(monkeypatch):
    """1 - tanh(x)**2 of a saturated tanh has few digits left: the tolerance follows what rounding does there."""
    graph = aj.Graph("saturated")
    x = graph.input("x", ("N", 4000), "float16")
    w = graph.parameter("w", np.random.default_rng(1).normal(size=(4000, 1)).astype(np.float16))
    graph.output(graph.op.Tanh(graph.op.MatMul(x, w)))
    graph = aj.with_loss(aj.infer_shapes(graph), "mse")
    batch = {
        "x": np.random.default_rng(4).normal(size=(16, 4000)).astype(np.float16),
        "target": np.zeros((16, 1), np.float16),
    }
    report = aj.compare(graph, None, batch, steps=0)
    worst = max((r for r in report.rows if r.kind == "gradient"), key=lambda r: r.difference / r.step)
    assert report.ok and worst.difference > 8 * worst.step
    tanh = OPERATORS["Tanh"]
    wrong = lambda op, x, y, dy: (op.Mul(dy, op.Sub(1.0, y)),)
    monkeypatch.setitem(OPERATORS, "Tanh", replace(tanh, vjp=wrong))
    assert not aj.compare(graph, None, batch, steps=0).ok
