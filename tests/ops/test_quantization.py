"""Training through integers: what passes a QuantizeLinear and back, and what learns its scale."""

import jax
import numpy as np
import onnx.reference
import pytest

from aidgejax import onnxio, reference
from aidgejax.errors import GraphError
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes.gradient import make_gradient
from aidgejax.training import optim
from aidgejax.training.loop import make_step, start
from tests.both_passes import both_passes

RNG = np.random.default_rng(5)
X = np.float32([[-50.0, -3.1, -0.26, 0.14], [0.77, 1.21, 2.42, 49.0]])
STEP, ZERO = np.float32(0.3), np.int8(3)
DY = RNG.normal(size=X.shape).astype(np.float32)


def there_and_back(scale=STEP, rows="N", **attributes):
    """x, quantized and dequantized, with the shape changed in between."""
    g = Graph("qdq")
    op, x = g.op, g.input("x", (rows, 4))
    s = g.parameter("scale", np.asarray(scale, np.float32))
    zero = g.constant("zero", np.full(np.shape(scale), ZERO))
    q = op.QuantizeLinear(x, s, zero, **attributes)
    if not attributes:
        q = op.Reshape(op.Reshape(q, (-1, 2, 2)), (-1, 4))
    g.output(op.DequantizeLinear(q, s, zero, name="y", **attributes))
    return g


def gradients(g, wrt, feeds):
    program = make_program(g, wrt=wrt)
    return both_passes(program, g.params, g.buffers, feeds, lambda outputs: {"y": DY})[1]


def lsq(x, scale):
    """(dx, d scale element by element) of quantizing and dequantizing, as Esser et al. have it."""
    z = np.rint(x / scale) + int(ZERO)
    inside = (z >= -128) & (z <= 127)
    slope = np.where(inside, np.rint(x / scale) - x / scale, np.clip(z, -128, 127) - int(ZERO))
    return DY * inside, DY * slope


def test_straight_through_with_the_step_learned():
    grads = gradients(there_and_back(), ["x", "scale"], {"x": X})
    dx, d_scale = lsq(X, STEP)
    np.testing.assert_allclose(grads["x"], dx, rtol=1e-6)
    np.testing.assert_allclose(grads["scale"], d_scale.sum(), rtol=2e-5)
    assert dx[0, 0] == 0 and dx[1, 3] == 0 and np.count_nonzero(dx) == 6  # what was cut gets nothing


def test_a_step_for_each_column():
    steps = np.float32([0.4, 0.1, 0.2, 0.3])
    grads = gradients(there_and_back(steps, axis=-1), ["x", "scale"], {"x": X})
    dx, d_scale = lsq(X, steps)
    np.testing.assert_allclose(grads["x"], dx, rtol=1e-6)
    np.testing.assert_allclose(grads["scale"], d_scale.sum(axis=0), rtol=2e-5, atol=1e-5)


def test_a_step_for_each_block():
    steps = np.float32([[0.4, 0.1], [0.2, 0.5]])
    g = there_and_back(steps, rows=2, axis=1, block_size=2)
    grads = gradients(g, ["x", "scale"], {"x": X})
    dx, d_scale = lsq(X, np.repeat(steps, 2, axis=1))
    np.testing.assert_allclose(grads["x"], dx, rtol=1e-6)
    np.testing.assert_allclose(grads["scale"], d_scale.reshape(2, 2, 2).sum(axis=2), rtol=2e-5, atol=1e-5)


def test_the_gradient_is_a_model_of_onnx():
    g = infer_shapes(there_and_back())
    backward = make_gradient(g, ["y"], ["x", "scale"])
    model = onnxio.to_model(infer_shapes(backward))
    assert {n.domain for n in model.graph.node} == {""}
    found = reference.execute(g, {"x": X})
    known = {"y_grad": DY, **{k: np.asarray(v) for k, v in found.items()}}
    got = onnx.reference.ReferenceEvaluator(model).run(None, {i.name: known[i.name] for i in model.graph.input})
    dx, d_scale = lsq(X, STEP)
    np.testing.assert_allclose(got[0], dx, rtol=1e-6)
    np.testing.assert_allclose(got[1], d_scale.sum(), rtol=2e-5)


def layer(kind):
    """x -> y through a product of integers, between a QuantizeLinear and a DequantizeLinear; and the same in floats."""
    g, floats = Graph(kind), Graph("floats")
    image = "Conv" in kind
    x_shape, w_shape = ((2, 2, 4, 4), (3, 2, 2, 2)) if image else ((3, 4), (4, 2))
    w = RNG.integers(-90, 90, w_shape).astype(np.int8)
    sx, sw, sy = np.float32(0.05), np.float32(0.01), np.float32(0.07)
    zero, one = np.int8(2), np.int8(-1)
    op, x = g.op, g.input("x", x_shape)
    if kind == "Dynamic":
        q, s, z = op.DynamicQuantizeLinear(x, outputs=3)
        g.output(op.Mul(op.Cast(op.MatMulInteger(q, w, z, one), to=1), op.Mul(s, sw), name="y"))
    elif "Integer" in kind:
        q = op.QuantizeLinear(x, sx, zero)
        product = getattr(op, kind)(q, w, zero, one)
        g.output(op.Mul(op.Cast(product, to=1), sx * sw, name="y"))
    else:
        q = op.QuantizeLinear(x, sx, zero)
        y = getattr(op, kind)(q, sx, zero, w, sw, one, sy, zero)
        g.output(op.DequantizeLinear(y, sy, zero, name="y"))
    x = floats.input("x", x_shape)
    weight = floats.constant("w", (w.astype(np.float32) - one) * sw)
    floats.output((floats.op.Conv if image else floats.op.MatMul)(x, weight, name="y"))
    return g, floats


@pytest.mark.parametrize("kind", ["MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "Dynamic"])
def test_integers_hand_on_what_floats_would(kind):
    g, floats = layer(kind)
    feeds = {"x": RNG.uniform(-1, 1, g.inputs["x"].shape).astype(np.float32)}
    found = []
    for graph in (g, floats):
        program = make_program(graph, wrt=["x"])
        ones = lambda outputs: {"y": np.ones(outputs["y"].shape, np.float32)}
        outputs, grads, _ = both_passes(program, {}, {}, feeds, ones)
        found.append((outputs["y"], grads["x"]))
    (y, dx), (want, d_want) = found
    np.testing.assert_allclose(y, want, atol=0.15)
    np.testing.assert_allclose(dx, d_want, rtol=1e-4, atol=1e-5)


def test_a_model_with_quantized_weights_trains():
    g = Graph("net")
    op, x, target = g.op, g.input("x", ("N", 4)), g.input("target", ("N", 1))
    w, s = g.parameter("w", RNG.normal(size=(4, 1)).astype(np.float32)), g.parameter("s", np.float32([0.05]))
    w8 = op.DequantizeLinear(op.QuantizeLinear(w, s, output_dtype=3), s)
    g.output(op.ReduceMean(op.Pow(op.Sub(op.MatMul(x, w8), target), 2.0), keepdims=0, name="loss"))
    program = make_program(g)
    step = jax.jit(make_step(program, optim.adam(), lambda _: 0.02))
    x = RNG.normal(size=(64, 4)).astype(np.float32)
    batch = {"x": x, "target": x @ np.float32([[1.0], [-2.0], [0.5], [3.0]])}
    state, losses = start(program, optim.adam(), jax.random.key(0)), []
    for _ in range(300):
        state, record = step(state, batch)
        losses.append(float(record["loss"]))
    assert losses[-1] < 0.01 * losses[0] and state.params["s"] != 0.05


@pytest.mark.parametrize(
    "change, message",
    [
        ({"scale": np.float32([0.1, 0.2])}, r"a scale of 2 numbers for axis 1, of size 4"),
        ({"scale": np.float32([[0.1, 0.2]]), "axis": 1, "block_size": 2}, r"a scale of shape \[\d+, 2\], got \[1, 2\]"),
        ({"scale": np.float32([[0.1, 0.2]])}, r"expected one number, or one per index of axis 1"),
    ],
)
def test_mistakes(change, message):
    with pytest.raises(GraphError, match=message):
        infer_shapes(there_and_back(**change))
