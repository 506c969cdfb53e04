"""Normalization as a user meets it: running statistics, modes, layouts, short floats, exports, mistakes."""

import jax
import numpy as np
import onnx.reference
import pytest

from aidgejax import onnxio, reference
from aidgejax.errors import GraphError
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.ops.batch_norm import batch_moments, batch_normalization, batch_normalization_grad
from aidgejax.passes.gradient import grad_name
from tests.both_passes import both_passes

RNG = np.random.default_rng(3)
X = RNG.normal(2, 3, (6, 4, 3, 3)).astype(np.float32)
DY = RNG.normal(size=X.shape).astype(np.float32)
STATISTICS = {"mean": RNG.normal(size=4).astype(np.float32), "var": RNG.uniform(1, 2, 4).astype(np.float32)}
KEPT = 0.75  # of the old running statistics


def batch_norm(shape=("N", 4, 3, 3), dtype="float32", **attrs):
    """x -> BatchNormalization -> y, its statistics being buffers."""
    g = Graph("norm")
    x = g.input("x", shape, dtype)
    scale, b = g.parameter("scale", np.linspace(0.5, 2, 4, dtype=np.float32)), g.parameter("b", np.ones(4, np.float32))
    mean, var = (g.buffer(k, v) for k, v in STATISTICS.items())
    g.output(g.op.BatchNormalization(x, scale, b, mean, var, momentum=KEPT, name="bn", **attrs))
    return g


def run(program, x=X, dy=DY):
    graph = program.graph
    outputs, grads, buffers = both_passes(program, graph.params, graph.buffers, {"x": x}, lambda outputs: {"bn": dy})
    return outputs["bn"], buffers, grads


@pytest.mark.parametrize("unbiased", [0, 1])
def test_training_updates_the_running_statistics(unbiased):
    y, buffers, _ = run(make_program(batch_norm(unbiased_running_var=unbiased), training=True))
    np.testing.assert_allclose(np.mean(y, axis=(0, 2, 3)), np.ones(4), atol=1e-5)
    batch_var = X.var(axis=(0, 2, 3), ddof=unbiased)
    np.testing.assert_allclose(
        buffers["mean"], KEPT * STATISTICS["mean"] + (1 - KEPT) * X.mean(axis=(0, 2, 3)), rtol=1e-5
    )
    np.testing.assert_allclose(buffers["var"], KEPT * STATISTICS["var"] + (1 - KEPT) * batch_var, rtol=1e-5)


def test_inference_leaves_them_alone_even_where_the_graph_names_them():
    g = batch_norm()
    node = g.nodes.pop()
    outs = g.add(node.op, node.inputs, {**node.attrs, "training_mode": 1}, names=["y", "new_mean", "new_var"])
    g.outputs = [o.name for o in outs]
    program = make_program(g, training=False, seeds=["y"])
    outputs, _, buffers = program.forward(program.graph.params, program.graph.buffers, {"x": X})
    for k, v in STATISTICS.items():
        np.testing.assert_array_equal(buffers[k], v)
        np.testing.assert_array_equal(outputs[f"new_{k}"], v)


@pytest.mark.parametrize("training", [True, False])
def test_layouts_agree(training):
    results = [run(make_program(batch_norm(), training=training, layout=layout)) for layout in ("NHWC", "NCHW")]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *results)


def test_a_large_mean_does_not_eat_the_variance():
    far = (X + 3e4).astype(np.float32)
    y = run(make_program(batch_norm(), training=True), far)[0]
    np.testing.assert_allclose(y, run(make_program(batch_norm(), training=True), far - 3e4)[0], atol=2e-2)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="counts the walks of the CPU's form")
def test_a_batch_is_walked_over_as_often_as_must_be():
    """Forward: mean 2, variance 1, y 2; gradient: its sums 1 and 2, dx 3; nothing of that size is written besides."""

    def both(x, dy, v):
        y = batch_normalization(x, v, v, v, v, training_mode=1, layout="NHWC")
        return y, batch_normalization_grad(dy, x, v, v, v, training_mode=1, layout="NHWC")

    image, vector = (jax.ShapeDtypeStruct(s, np.float32) for s in ((8, 16, 16, 32), (32,)))
    compiled = jax.jit(both).lower(image, image, vector).compile()
    assert compiled.cost_analysis()["bytes accessed"] < 11.1 * image.size * 4
    assert compiled.memory_analysis().temp_size_in_bytes < image.size


def decomposed(graph, **feeds):
    """The graph written in standard operators, and what onnx's evaluator makes of it."""
    model = onnxio.to_model(graph)
    names = [i.name for i in model.graph.input]
    return model, onnx.reference.ReferenceEvaluator(model).run(None, {n: feeds[n] for n in names})


def test_no_export_of_a_gradient_normalizes_in_training_mode():
    """onnxruntime computes that wrong where the statistics are not read."""
    program = make_program(batch_norm(), training=True)
    found = reference.execute(program.graph, {"x": X})
    model, got = decomposed(program.gradient, **found, **{grad_name("bn"): DY})
    assert "training_mode" not in {a.name for n in model.graph.node for a in n.attribute}
    for a, b in zip(got, run(program)[2].values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("axes", [(2, 3), (1,)])
def test_mean_variance_normalization_is_onnx_s(axes):
    g = Graph("mvn")
    g.output(g.op.MeanVarianceNormalization(g.input("x", X.shape), axes=axes))
    _, (want,) = decomposed(infer_shapes(g), x=X)
    np.testing.assert_allclose(reference.execute(g, {"x": X})[g.outputs[0]], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "op, attrs, per",
    [
        ("LayerNormalization", {}, 3),
        ("RMSNormalization", {}, 3),
        ("GroupNormalization", {"num_groups": 2}, 4),
        ("InstanceNormalization", {}, 4),
        ("LRN", {"size": 3}, None),
        ("LpNormalization", {}, None),
        ("MeanVarianceNormalization", {}, None),
        ("BatchNormalization", {"training_mode": 1}, 4),
    ],
)
def test_bfloat16_goes_through_forward_and_backward(op, attrs, per):
    bfloat16 = jax.numpy.bfloat16
    g = Graph(op)
    operands = [g.input("x", ("N", 4, 3, 3), "bfloat16")]
    count = {"RMSNormalization": 1, "BatchNormalization": 4}.get(op, 2) if per else 0
    operands += [g.parameter(f"p{k}", np.ones(per, np.float32).astype(bfloat16)) for k in range(count)]
    g.output(g.add(op, operands, attrs, names=["y"])[0])
    program = make_program(g, seeds=["y"], wrt=["x", *(["p0"] if per else [])])
    dy, x = {"y": DY.astype(bfloat16)}, {"x": X.astype(bfloat16)}
    outputs, grads, _ = both_passes(program, program.graph.params, {}, x, lambda outputs: dy)
    assert {outputs["y"].dtype, *(d.dtype for d in grads.values())} == {np.dtype(bfloat16)}
    wide = Graph(op)
    operands = [wide.input("x", ("N", 4, 3, 3))]
    operands += [wide.parameter(f"p{k}", np.ones(per, np.float32)) for k in range(count)]
    wide.output(wide.add(op, operands, attrs, names=["y"])[0])
    want = reference.execute(wide, {"x": X})["y"]
    np.testing.assert_allclose(np.asarray(outputs["y"], np.float32), want, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize(
    "op, inputs, attrs, message",
    [
        (
            "BatchNormalization",
            ((2, 3, 4), 4, 3, 3, 3),
            {},
            r"scale has shape \[4\]: expected one number per channel, \[3\]",
        ),
        ("BatchNormalization", ((3,), 3, 3, 3, 3), {}, r"X has shape \[3\]: expected \[n, channels, \*positions\]"),
        (
            "BatchNormalization",
            ((1, 3), 3, 3, 3, 3),
            {"training_mode": 1, "unbiased_running_var": 1},
            r"the variance of a sample needs more than one value per channel",
        ),
        ("LayerNormalization", ((2, 3), 2), {}, r"Scale of shape \[2\] does not broadcast to X's \[2, 3\]"),
        ("LayerNormalization", ((2, 3), 3), {"axis": 2}, r"axis 2 is outside a tensor of rank 2"),
        ("GroupNormalization", ((2, 3, 4), 3, 3), {"num_groups": 2}, r"num_groups is 2: expected a divisor of the 3"),
        ("LpNormalization", ((2, 3),), {"p": 3}, r"p is 3: expected 1 or 2"),
        ("LRN", ((2, 3, 4),), {"size": 0}, r"size is 0: a window has at least 1 channel"),
    ],
)
def test_mistakes_are_named(op, inputs, attrs, message):
    g = Graph("g")
    values = [g.input(f"x{k}", s if isinstance(s, tuple) else (s,)) for k, s in enumerate(inputs)]
    g.output(g.add(op, values, attrs, names=["y"], name="norm")[0])
    with pytest.raises(GraphError, match=rf"node 'norm' \({op}\) .*{message}"):
        infer_shapes(g)


def test_a_large_mean_is_right_to_its_last_bit_whatever_the_order_of_its_sum():
    """A sum of 16384 numbers is off by 40 roundings; running means of devices that each sum a part then differ."""
    x = (np.random.default_rng(0).normal(size=(64, 3, 16, 16)) + 7).astype(np.float32)
    mean, variance = batch_moments(x, "NCHW")
    exact = x.astype(np.float64).mean((0, 2, 3), keepdims=True)
    assert np.abs(mean - exact).max() <= np.spacing(np.float32(7)) / 2 + 1e-9
    np.testing.assert_allclose(variance, x.astype(np.float64).var((0, 2, 3), keepdims=True), rtol=2e-5)
