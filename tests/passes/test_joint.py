"""Forward and gradient as one graph."""

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import GraphError
from aidgejax.execution.run import run
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes.joint import make_joint


def small() -> aj.Graph:
    g = aj.Graph("small")
    x, w = g.input("x", (3, 4)), g.parameter("w", np.linspace(-1, 1, 8).reshape(4, 2).astype(np.float32))
    h = g.op.Tanh(g.op.MatMul(x, w))
    g.add("ReduceSum", [g.op.Mul(h, h)], {"keepdims": 0}, names=["loss"])
    g.output("loss")
    return infer_shapes(g)


def test_one_graph_gives_the_loss_and_the_gradient():
    joint, found = make_joint(small(), "loss", ["w"])
    joint.outputs += [found["w"]]
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    w = joint.params["w"]
    loss, gradient = run(joint.check(), {"x": x})
    want, slope = jax.value_and_grad(lambda w: (jax.numpy.tanh(x @ w) ** 2).sum())(w)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)


def test_what_is_not_kept_is_computed_again():
    whole, found = make_joint(small(), "loss", ["w"])
    again, same = make_joint(small(), "loss", ["w"], kept={"x", "w"})
    assert again.count()["Tanh"] == 2 == 2 * whole.count()["Tanh"]
    batch = {"x": np.ones((3, 4), np.float32)}
    for g, gradient in ((whole, found), (again, same)):
        g.outputs.append(gradient["w"])
    np.testing.assert_allclose(run(whole, batch)[1], run(again.check(), batch)[1], rtol=1e-6)


def test_a_loss_of_many_numbers_is_summed():
    g = aj.Graph("rows")
    x, w = g.input("x", ("N", 4)), g.parameter("w", np.ones((4, 2), np.float32))
    g.add("MatMul", [x, w], names=["y"])
    g.output("y")
    joint, found = make_joint(infer_shapes(g), "y", ["w"])
    joint.outputs = [found["w"]]
    joint.prune()
    (gradient,) = run(joint, {"x": np.ones((5, 4), np.float32)})
    np.testing.assert_array_equal(gradient, np.full((4, 2), 5))


def test_a_tensor_out_of_reach_is_named_or_zeros():
    g = small()
    g.parameter("u", np.ones(3, np.float32))
    with pytest.raises(GraphError, match="'u'"):
        make_joint(g, "loss", ["w", "u"])
    joint, found = make_joint(g, "loss", ["w", "u"], unreachable="zeros")
    joint.outputs = [found["u"]]
    assert not np.any(run(joint, {"x": np.ones((3, 4), np.float32)})[0])
