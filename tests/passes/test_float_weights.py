"""Integer weights are trained as floats on their grid, and written as integers; adapters beside matrices."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import aidgejax as aj
from aidgejax import onnxio
from aidgejax.errors import GraphError
from aidgejax.graph import Graph
from aidgejax.passes import float_weights, lora, merge_lora

f = np.float32
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 6)).astype(f)
Y = (X @ rng.normal(size=(6, 3))).argmax(1)


def quantized(per_channel=False, bits=8):
    """What onnxruntime's quantize_static writes of a Gemm; with 4 bits, blocks as exporters of language models do."""
    node = h.make_node
    W = rng.integers(-100, 100, (6, 3)).astype(np.int8)
    scale, zero = (f([0.01, 0.02, 0.015]), np.zeros(3, np.int8)) if per_channel else (f(0.01), np.int8(0))
    attrs = {"axis": 1} if per_channel else {}
    stored = [("W", W), ("sw", scale), ("zw", zero)]
    weights = [node("DequantizeLinear", ["W", "sw", "zw"], ["Wd"], **attrs)]
    inits = [nh.from_array(np.asarray(a), n) for n, a in stored]
    if bits == 4:
        inits = [
            h.make_tensor("W", T.INT4, (6, 3), rng.integers(-8, 8, 18).tolist()),
            nh.from_array(rng.uniform(0.01, 0.05, (3, 3)).astype(f), "sw"),
        ]
        weights = [node("DequantizeLinear", ["W", "sw"], ["Wd"], axis=0, block_size=2)]
    inits += [nh.from_array(rng.integers(-50, 50, 3).astype(np.int32), "b"), nh.from_array(f(3e-3), "sb"),
              nh.from_array(np.int32(0), "zb")]  # fmt: skip
    nodes = [*weights, node("DequantizeLinear", ["b", "sb", "zb"], ["bd"]), node("Gemm", ["x", "Wd", "bd"], ["y"])]
    ends = [[h.make_tensor_value_info(n, T.FLOAT, ["N", d])] for n, d in (("x", 6), ("y", 3))]
    return h.make_model(h.make_graph(nodes, "g", *ends, inits), opset_imports=[h.make_opsetid("", 21)], ir_version=10)


def answers(m):
    """Without onnxruntime's optimizations, which quantize x where weights are 8 bits."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})[0]


KINDS = {"per tensor": {}, "per channel": {"per_channel": True}, "four bits in blocks": {"bits": 4}}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_before_training(kind):
    m = quantized(**KINDS[kind])
    graph = aj.infer_shapes(float_weights(onnxio.read(m)))
    assert sorted(graph.params) == ["W", "bd"] and graph.params["W"].dtype == f
    for backend in ("jax", "numpy"):
        np.testing.assert_allclose(aj.run(graph, {"x": X}, backend)[0], answers(m), rtol=1e-5, atol=1e-6)
    again = onnxio.to_model(graph)
    before = {t.name: nh.to_array(t) for t in m.graph.initializer}
    after = {t.name: nh.to_array(t) for t in again.graph.initializer}
    assert all(np.array_equal(before[n], after[n]) and before[n].dtype == after[n].dtype for n in ("W", "b"))
    assert [n.op_type for n in again.graph.node].count("QuantizeLinear") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_is_what_is_written(kind):
    graph = float_weights(onnxio.read(quantized(**KINDS[kind])))
    result = aj.train(graph, (X, Y), epochs=20, lr=0.02)
    losses = [r["loss"] for r in result.history]
    assert np.mean(losses[-2:]) < 0.7 * np.mean(losses[:2])
    m = onnxio.to_model(result.graph)
    kinds = {t.name: t.data_type for t in m.graph.initializer}
    assert kinds["b"] == T.INT32 and kinds["W"] == (T.INT4 if "four" in kind else T.INT8)
    z = answers(m).astype(float)  # the bias is rounded only when it is written
    real = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(40), Y])
    np.testing.assert_allclose(real, result.evaluate((X, Y))["loss"], atol=2e-3)


def test_without_integers_it_is_refused():
    with pytest.raises(GraphError, match="in a product of integers that are called 'head.*'"):
        float_weights(onnxio.read(quantized()), ["head.*"])


def plain():
    g = aj.Graph("plain")
    y = g.op.Gemm(g.input("x", ("N", 6)), g.parameter("w", rng.normal(size=(3, 6)).astype(f)), transB=1)
    g.output(g.op.MatMul(g.op.Relu(y), g.parameter("v", rng.normal(size=(3, 3)).astype(f))))
    return g


@pytest.mark.parametrize("make", [plain, lambda: onnxio.read(quantized(bits=4))], ids=["floats", "four bits"])
def test_adapters_alone_are_trained(make):
    graph = lora(make(), 2, alpha=4.0)
    np.testing.assert_allclose(aj.run(graph, {"x": X})[0], aj.run(make_again(graph), {"x": X})[0], rtol=1e-6)
    assert all(".lora_" in p for p in graph.params)
    result = aj.train(graph, (X, Y), epochs=10, lr=0.02)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    np.testing.assert_allclose(
        answers(onnxio.to_model(result.graph)), result.predict(X_ONLY)[graph.outputs[0]], rtol=1e-4, atol=1e-5
    )


X_ONLY = {"x": X}


def make_again(graph):
    """The graph with its adapters at 0, which they are at first."""
    return graph.with_params({p: 0 * graph.params[p] for p in graph.params if p.endswith("_B")})


def test_adapters_are_merged():
    graph = lora(plain(), 2)
    changed = graph.with_params({p: rng.normal(size=a.shape).astype(f) for p, a in graph.params.items()})
    merged = merge_lora(changed)
    assert merged.count() == plain().count() and sorted(merged.params) == ["v", "w"]
    np.testing.assert_allclose(aj.run(merged, {"x": X})[0], aj.run(changed, {"x": X})[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(GraphError, match="'W' is stored as int4"):
        merge_lora(lora(onnxio.read(quantized(bits=4)), 1))


@pytest.mark.parametrize("per_channel", [False, True])
def test_what_quantize_dynamic_writes_is_trained(per_channel, tmp_path):
    """DynamicQuantizeLinear and MatMulInteger: the weight trains as floats on its grid, and integers are written."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    g = Graph("dynamic")
    x = g.input("x", ("N", 6))
    y = g.op.Relu(g.op.MatMul(x, g.parameter("w1", rng.normal(size=(6, 8)).astype(f))))
    g.output(g.op.MatMul(y, g.parameter("w2", rng.normal(size=(8, 3)).astype(f))))
    onnxio.write(aj.infer_shapes(g), None, str(tmp_path / "f.onnx"))
    quantization.quantize_dynamic(tmp_path / "f.onnx", tmp_path / "q.onnx", per_channel=per_channel)
    before = onnxio.read(str(tmp_path / "q.onnx"))
    assert "MatMulInteger" in before.count()
    graph = float_weights(before)
    assert sorted(graph.params) == ["w1_quantized", "w2_quantized"]
    np.testing.assert_allclose(aj.run(graph, {"x": X})[0], aj.run(before, {"x": X})[0], rtol=1e-5, atol=1e-6)
    result = aj.train(graph, (X, Y), epochs=20, lr=0.02)
    losses = [r["loss"] for r in result.history]
    assert losses[-1] < 0.7 * losses[0]
    m = onnxio.to_model(result.graph)
    kinds = {t.name: t.data_type for t in m.graph.initializer}
    assert kinds["w1_quantized"] == kinds["w2_quantized"] == T.INT8
    assert [n.op_type for n in m.graph.node].count("QuantizeLinear") == 0
    z = answers(m).astype(float)
    real = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(40), Y])
    np.testing.assert_allclose(real, result.evaluate((X, Y))["loss"], atol=2e-3)
