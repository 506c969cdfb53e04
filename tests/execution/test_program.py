from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.errors import GraphError
from aidgejax.execution.program import as_jax, make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.evaluate import Evaluator
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.ops import OPERATORS


def dense():
    g = Graph("dense")
    op = g.op
    x = g.input("x", ("N", 3))
    w = g.parameter("w", np.arange(6, dtype=np.float32).reshape(3, 2) / 3 - 1)
    b = g.parameter("b", np.array([0.5, -0.25], np.float32))
    g.output(op.Relu(op.Add(op.MatMul(x, w), b), name="y"))
    return g


def image():
    g = Graph("image")
    op = g.op
    x = g.input("x", ("N", 2, 6, 6))
    k = g.parameter("k", np.linspace(-1, 1, 54, dtype=np.float32).reshape(3, 2, 3, 3))
    s = g.parameter("s", np.array([[[2.0]], [[3.0]], [[4.0]]], np.float32))
    h = op.Relu(op.Mul(op.Conv(x, k, pads=(1, 1, 1, 1)), s))
    g.output(op.Flatten(op.MaxPool(h, kernel_shape=(2, 2), strides=(2, 2)), name="y"))
    return g


X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(size=(2, 2, 6, 6)).astype(np.float32)


def test_forward_and_backward_are_pure_functions_of_pytrees():
    program = make_program(dense())
    outputs, saved, buffers = jax.jit(program.forward)(program.graph.params, {}, {"x": X})
    grads = jax.jit(program.backward)(program.graph.params, saved, {"y": jnp.ones((4, 2))})
    p = program.graph.params
    z = X @ p["w"] + p["b"]
    np.testing.assert_allclose(outputs["y"], np.maximum(z, 0), rtol=1e-5)
    np.testing.assert_allclose(grads["b"], (z > 0).sum(0), rtol=1e-6)
    np.testing.assert_allclose(grads["w"], X.T @ (z > 0), rtol=1e-5)
    assert buffers == {}


def test_gradients_are_carried_on():
    program = make_program(dense())
    out, saved, _ = program.forward(program.graph.params, {}, {"x": X})
    once = program.backward(program.graph.params, saved, {"y": np.ones(out["y"].shape, np.float32)})
    twice = program.backward(program.graph.params, saved, {"y": np.ones(out["y"].shape, np.float32)}, grads=once)
    np.testing.assert_allclose(twice["w"], 2 * once["w"])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_layout_changes_nothing(layout):
    program = make_program(image(), layout=layout)
    other = make_program(image(), layout="NCHW")
    params = program.graph.params
    (out, saved, _), (want, kept, _) = (q.forward(params, {}, {"x": IMAGES}) for q in (program, other))
    np.testing.assert_allclose(out["y"], want["y"], rtol=1e-5, atol=1e-5)
    dy = np.random.default_rng(2).normal(size=out["y"].shape).astype(np.float32)
    got, want = program.backward(params, saved, {"y": dy}), other.backward(params, kept, {"y": dy})
    for k in params:
        np.testing.assert_allclose(got[k], want[k], rtol=1e-4, atol=1e-4)


def test_images_stay_channels_last_between_convolution_and_pool():
    walker = Evaluator(infer_shapes(image()), "NHWC")
    assert walker.channels_last == {"Conv", "Mul", "Relu", "MaxPool"}


def test_as_jax_is_differentiated_through_our_rules():
    f = as_jax(make_program(dense()))

    def loss(params, x):
        return jnp.sum(f(params, {}, {"x": x})[0]["y"] ** 2)

    def plain(params, x):
        return jnp.sum(jnp.maximum(x @ params["w"] + params["b"], 0) ** 2)

    params = dense().params
    for argument in (0, 1):
        got = jax.jit(jax.grad(loss, argument))(params, X)
        want = jax.grad(plain, argument)(params, X)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), got, want)
    per_row = jax.vmap(jax.grad(loss, 1), (None, 0))(params, X[:, None])
    np.testing.assert_allclose(per_row[:, 0], jax.grad(plain, 1)(params, X), rtol=1e-4)


def test_a_doubled_rule_doubles_what_jax_grad_says(monkeypatch):
    def gradient():
        f = as_jax(make_program(dense()))
        return jax.grad(lambda p: jnp.sum(f(p, {}, {"x": X})[0]["y"]))(dense().params)

    once = gradient()
    right = OPERATORS["MatMul"]

    def doubled(op, a, b, y, dy):
        return tuple(op.Mul(share, 2.0) for share in right.vjp(op, a, b, y, dy))

    monkeypatch.setitem(OPERATORS, "MatMul", replace(right, vjp=doubled))
    twice = gradient()
    np.testing.assert_allclose(twice["w"], 2 * once["w"])
    np.testing.assert_allclose(twice["b"], once["b"])


def test_frozen_parameters_take_no_part():
    program = make_program(dense(), wrt=["b"])
    assert program.gradient.outputs == ["b_grad"] and "x" not in program.saves


def test_any_batch_through_one_program():
    program = make_program(dense())
    for n in (1, 5):
        out, saved, _ = program.forward(program.graph.params, {}, {"x": np.ones((n, 3), np.float32)})
        assert out["y"].shape == (n, 2)
        ones = np.ones((n, 2), np.float32)
        assert program.backward(program.graph.params, saved, {"y": ones})["w"].shape == (3, 2)


def test_shapes_are_inferred_with_symbols():
    g = Graph("g")
    op = g.op
    x = g.input("x", ("N", 4, "S"))
    flat = op.Reshape(x, (0, -1), name="flat")
    op.Transpose(x, perm=(2, 0, 1), name="turned")
    op.Concat(x, x, axis=0, name="joined")
    op.ReduceSum(x, (2,), keepdims=0, name="summed")
    g.output(flat)
    values = infer_shapes(g).values
    assert [values[k].shape for k in ("flat", "turned", "joined", "summed")] == [
        ("N", "4*S"),
        ("S", "N", 4),
        ("2*N", 4, "S"),
        ("N", 4),
    ]


def test_shape_arithmetic_is_done_while_lowering():
    g = Graph("g")
    op = g.op
    x = g.input("x", ("N", 4, 6))
    batch = op.Gather(op.Shape(x), (0,), axis=0)
    g.output(op.Reshape(x, op.Concat(batch, (-1,), axis=0), name="y"))
    program = make_program(g, wrt=["x"])
    assert program.graph.values["y"].shape == ("N", 24)
    out, saved, _ = jax.jit(program.forward)({}, {}, {"x": np.ones((3, 4, 6), np.float32)})
    assert out["y"].shape == (3, 24)
    assert program.backward({}, saved, {"y": np.ones(out["y"].shape, np.float32)})["x"].shape == (3, 4, 6)


def test_float64_and_int64_are_kept_without_any_setting():
    g = Graph("g")
    x, n = g.input("x", ("N",), "float64"), g.input("n", ("N",), "int64")
    g.output(g.op.Mul(x, 0.1, name="y"))
    g.output(g.op.Add(n, n, name="m"))
    out, _, _ = make_program(g, wrt=[]).forward({}, {}, {"x": np.array([1.0]), "n": np.array([2**40])})
    y, m = np.asarray(out["y"]), np.asarray(out["m"])
    assert y.dtype == np.float64 and y[0] == 0.1
    assert m.dtype == np.int64 and m[0] == 2**41


@pytest.mark.parametrize("batch, message", [
    ({}, r"graph 'dense' was not given x:float32\[N, 3\]; got w, b"),
    ({"x": np.ones((4, 2), np.float32)}, r"graph 'dense', x.* shape \[4, 2\]; axis 1 has 2, the model takes 3\n"),
    ({"x": np.ones(3, np.float32)}, r"x:float32\[N, 3\]: got an array of shape \[3\]; its rank is 1, the model's 2\n"),
    ({"x": np.ones((4, 3), int)}, r"x:float32\[N, 3\]: got an array of dtype int64; convert it with .astype"),
    ({"x": "pixels"}, r"x:float32\[N, 3\]: got str, expected an array"),
])  # fmt: skip
def test_a_batch_that_does_not_fit_is_named(batch, message):
    program = make_program(dense())
    with pytest.raises(GraphError, match=message):
        program.forward(program.graph.params, {}, batch)


def test_symbolic_sizes_agree_with_each_other():
    g = Graph("g")
    g.output(g.op.Add(g.input("a", ("N", 1)), g.input("b", ("N", 1))))
    with pytest.raises(GraphError, match=r"b:float32\[N, 1\]: N is 3 here but 2 in 'a'"):
        make_program(g, wrt=[]).forward({}, {}, {"a": np.ones((2, 1), np.float32), "b": np.ones((3, 1), np.float32)})


@pytest.mark.parametrize("build, message", [
    (lambda op, x: op.MatMul(x, np.ones((4, 2), np.float32), name="mm"),
     r"node 'mm' \(MatMul\) of graph 'g' with inputs x:float32\[.*, 3\], .*float32\[4, 2\]"),
    (lambda op, x: op.Relu(x, slope=2), r"node 'Relu' of graph 'g': Relu has no attribute 'slope'; it has slope_at"),
    (lambda op, x: op.Relu(x, x), r"node 'Relu' of graph 'g': Relu takes at most 1 inputs \(x\), got 2"),
    (lambda op, x: op.Reshape(x, op.Cast(x, to=7)), r"node 'Cast' .*its input 'x' must be a compile-time constant"),
    (lambda op, x: op.Reshape(x, (7, 7), name="r"), r"node 'r' \(Reshape\) of graph 'g' with inputs x:float32"),
])  # fmt: skip
def test_a_node_that_does_not_fit_is_named(build, message):
    g = Graph("g")
    g.output(build(g.op, g.input("x", ("N", 3))))
    with pytest.raises(GraphError, match=message):
        make_program(g, wrt=[])


def test_an_input_without_a_shape_is_refused():
    g = Graph("g")
    g.output(g.op.Relu(g.input("x", None)))
    with pytest.raises(GraphError, match=r"does not say the shape of its input x:float32\[\?\]"):
        make_program(g)


def test_cotangents_must_be_those_of_the_seeds():
    program = make_program(dense())
    with pytest.raises(GraphError, match=r"needs the cotangents of \['y'\], got \['loss'\]"):
        program.backward({}, {}, {"loss": 1.0})


def test_a_cotangent_of_another_shape_is_refused():
    program = make_program(dense())
    out, saved, _ = program.forward(program.graph.params, {}, {"x": X})
    with pytest.raises(GraphError, match=r"the cotangent of y:float32\[N, 2\] has shape \[\]"):
        program.backward(program.graph.params, saved, {"y": 1.0})


def test_a_random_operator_asks_for_a_key():
    g = Graph("g")
    g.output(g.op.Dropout(g.input("x", ("N", 3)), 0.5, True, name="drop"))
    with pytest.raises(GraphError, match=r"node 'drop' \(Dropout\) .* draws random numbers: give a key"):
        make_program(g, wrt=[]).forward({}, {}, {"x": X})
