"""Mixed precision as a pass: what becomes 16 bits, what stays, and that training still works."""

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.passes import precision

CODE = {"bfloat16": 16, "float16": 10}


def network():
    """A convolution, a batch normalization, a residual and a softmax before the loss's own."""
    rng = np.random.default_rng(0)
    w = lambda *s: rng.normal(0, 0.4, s).astype(np.float32)
    g = aj.Graph("net")
    x = g.input("x", ("N", 3, 6, 6))
    h = g.op.Conv(x, g.parameter("w1", w(4, 3, 3, 3)), g.parameter("b1", w(4)), pads=(1, 1, 1, 1), name="conv1")
    bn = [g.parameter("scale", np.ones(4, np.float32)), g.parameter("shift", np.zeros(4, np.float32))]
    stats = [g.buffer("mean", np.zeros(4, np.float32)), g.buffer("var", np.ones(4, np.float32))]
    h = g.op.Relu(g.op.BatchNormalization(h, *bn, *stats, name="bn"), name="relu")
    h = g.op.Add(h, g.op.Conv(h, g.parameter("w2", w(4, 4, 1, 1)), name="conv2"), name="residual")
    h = g.op.Gemm(g.op.Flatten(h, name="flat"), g.parameter("w3", w(5, 144)), transB=1, name="fc")
    g.output(g.op.Softmax(h, name="probabilities"))
    return aj.with_loss(aj.infer_shapes(g), "mse")


def batch(n=8):
    rng = np.random.default_rng(1)
    return {"x": rng.normal(size=(n, 3, 6, 6)).astype(np.float32), "target": rng.random((n, 5), np.float32)}


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_what_computes_in_16_bits_and_what_stays(compute):
    g = precision(network(), compute)
    assert all(a.dtype == np.float32 for a in (*g.params.values(), *g.buffers.values()))
    assert [g.value(o).dtype for o in g.outputs] == ["float32", "float32"]
    low = {n.name for n in g.nodes if n.op != "Cast" and g.value(n.output_names[0]).dtype == compute}
    assert low == {"conv1", "relu", "conv2", "residual", "flat", "fc"}
    # One conversion for each tensor: relu is read twice, x once.
    casts = [(n.inputs[0], n.attrs["to"]) for n in g.nodes if n.op == "Cast"]
    assert len(casts) == len(set(casts)) and ("x", CODE[compute]) in casts and ("w3", CODE[compute]) in casts


def test_gradients_are_float32_and_near_those_of_float32():
    key, data = jax.random.key(0), batch()
    found = []
    for g in (network(), precision(network())):
        program = aj.make_program(g, training=True)
        outputs, saved, buffers = program.forward(g.params, g.buffers, data, key)
        found.append(program.backward(g.params, saved, {"loss": 1.0}))
        assert buffers["mean"].dtype == np.float32
    for name, exact in found[0].items():
        assert found[1][name].dtype == np.float32
        # The bias before a batch normalization has no gradient but rounding: it is checked by its layer's weight.
        size = np.abs(found[0]["w1"] if name == "b1" else exact).max()
        np.testing.assert_allclose(found[1][name], exact, atol=0.04 * size, err_msg=name)


def test_the_numpy_backend_computes_the_same():
    g, data = precision(network()), batch(4)
    jax_loss, numpy_loss = (aj.run(g, data, backend, training=False)[-1] for backend in ("jax", "numpy"))
    np.testing.assert_allclose(jax_loss, numpy_loss, rtol=2e-2)


def test_single_nodes_and_operators_are_overruled():
    g = precision(network(), keep=["conv*"], lower=["Softmax"])
    dtype = {n.name: g.value(n.output_names[0]).dtype for n in g.nodes}
    assert dtype["conv1"] == dtype["conv2"] == "float32" and dtype["fc"] == "bfloat16"
    assert dtype["probabilities"] == "bfloat16" and dtype["bn"] == "float32"


def test_the_policy_survives_export(tmp_path):
    g = precision(network(), "float16")
    aj.onnxio.write(g, g.params, tmp_path / "m.onnx")
    back = aj.onnxio.read(str(tmp_path / "m.onnx"))
    assert back.count()["Cast"] == g.count()["Cast"]
    np.testing.assert_array_equal(aj.run(back, batch(), training=False)[-1], aj.run(g, batch(), training=False)[-1])


def test_float32_changes_nothing_and_other_types_are_refused():
    assert str(precision(network(), "float32")) == str(network())
    with pytest.raises(aj.SettingError, match="computes in bfloat16, float16, float32, got 'int8'"):
        precision(network(), "int8")
    with pytest.raises(aj.GraphError, match="no node and no operator 'conv9'"):
        precision(network(), keep=["conv9"])


def test_digits_are_learned_as_well_as_in_float32():
    training, test = aj.digits().split(0.2, seed=3)
    graph = aj.with_loss(aj.infer_shapes(aj.zoo.mlp((64, 32, 10))), "cross_entropy", reduction="rows")
    flat = lambda d: aj.Dataset({"x": d.columns["x"].reshape(len(d), -1), "target": d.columns["target"]})
    accuracy = []
    for g in (graph, precision(graph)):
        metric = {"accuracy": lambda out, b: aj.metrics.accuracy(out[graph.outputs[0]], b["target"])}
        _, history = aj.fit(
            aj.make_program(g, training=True), aj.optim.adam(), aj.schedule.constant(5e-3), flat(training),
            epochs=8, batch_size=64, test=flat(test), metrics=metric,
        )  # fmt: skip
        accuracy.append(history[-1]["test_accuracy"])
    assert accuracy[0] > 0.9 and accuracy[1] > accuracy[0] - 0.01
