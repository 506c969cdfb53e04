"""Files that onnxruntime quantized are trained on, with their own grids, and written back as integers."""

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType

import aidgejax as aj
from aidgejax import onnxio, quant
from aidgejax.cli.main import main
from aidgejax.errors import GraphError
from aidgejax.graph import Graph

rng = np.random.default_rng(0)
TARGET = rng.integers(0, 3, 160)
X = (rng.normal(0, 0.5, (160, 1, 6, 6)) + np.eye(3)[TARGET].repeat(12, 1).reshape(-1, 1, 6, 6)).astype(np.float32)


def network():
    g = Graph("net")
    draw = lambda *shape: rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
    x = g.input("x", ("N", 1, 6, 6))
    w = [g.parameter(f"w{k}", draw(*s)) for k, s in enumerate(((4, 1, 3, 3), (4, 4, 3, 3), (3, 16)))]
    b = [g.parameter(f"b{k}", 0.1 * draw(n, 1)[:, 0]) for k, n in enumerate((4, 4, 3))]
    y = g.op.Relu(g.op.Conv(x, w[0], b[0], name="conv0"))
    z = g.op.Add(y, g.op.Relu(g.op.Conv(y, w[1], b[1], pads=(1, 1, 1, 1), name="conv1")), name="add")
    z = g.op.Flatten(g.op.MaxPool(z, kernel_shape=(2, 2), strides=(2, 2)))
    (z,) = g.add("Gemm", [z, w[2], b[2]], {"transB": 1}, names=["y"], name="fc")
    g.output(z)
    return aj.infer_shapes(g)


class Rows(CalibrationDataReader):
    def __init__(self):
        self.left = iter([{"x": X[k : k + 16]} for k in range(0, 160, 16)])

    def get_next(self):
        return next(self.left, None)


def answers(path, rows=X):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"x": rows})[0]


KINDS = {
    "int8 per channel": {"per_channel": True},
    "uint8 activations": {"activation_type": QuantType.QUInt8},
    "qoperator": {"quant_format": QuantFormat.QOperator, "activation_type": QuantType.QUInt8},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    onnxio.write(network(), None, str(folder / "f.onnx"))
    for name, how in KINDS.items():
        how = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8} | how
        quantization.quantize_static(folder / "f.onnx", folder / f"{name}.onnx", Rows(), **how)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_gives_what_the_file_gives(files, kind):
    graph = onnxio.read(str(files / f"{kind}.onnx"))
    assert quant.arrived_quantized(graph)
    q = quant.from_qdq(graph)
    assert not {"QuantizeLinear", "DequantizeLinear", "QLinearConv"} & {n.op for n in q.nodes}
    assert {"conv0", "conv1"} <= {layer.name.split("_quant")[0] for layer in quant.layers(q)}
    got, want = aj.run(q, {"x": X}, "numpy")[0], answers(files / f"{kind}.onnx")
    step = np.unique(np.abs(np.diff(np.unique(want)))).min() if len(np.unique(want)) > 1 else 0
    assert np.mean(np.abs(got - want) > step / 2) < 0.02 and np.abs(got - want).max() < 2.5 * step
    with pytest.raises(GraphError, match=r"arrived quantized: quant.from_qdq"):
        quant.convert(graph, quant.bits(8))


@pytest.mark.parametrize(("kind", "learned"), [("int8 per channel", True), ("uint8 activations", False)])
def test_it_trains_and_is_written_as_integers(files, kind, learned, tmp_path):
    q = quant.from_qdq(onnxio.read(str(files / f"{kind}.onnx")), learned=learned)
    steps = quant.step_names(q)
    assert bool(steps) == learned
    data = aj.Dataset(x=X, target=TARGET)
    after, history = quant.finetune(q, data, epochs=5, rate=5e-3)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert all((np.asarray(after.params[s]) > 0).all() for s in steps)
    integers = quant.to_integer(after)
    path = str(tmp_path / "back.onnx")
    report = quant.write(integers, path, graph=after, data={"x": X}, grade="counted")
    assert report.values > 0 and report.first_bad is None, str(report)
    kinds = {p.data.dtype.name for p in onnxio.read(path).producers.values() if p.data.size > 3}
    assert "int8" in kinds
    found = answers(path)
    assert np.mean(found.argmax(1) == TARGET) > np.mean(answers(files / f"{kind}.onnx").argmax(1) == TARGET)
    assert found.shape == (160, 3)


def test_the_command_line_goes_on_from_the_files_scales(files, tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x=X, target=TARGET)
    model, out = str(files / "uint8 activations.onnx"), str(tmp_path / "q.onnx")
    given = ["quantize", model, "--data", str(tmp_path / "d.npz"), "--out", out, "--epochs", "1", "--steps", "fixed"]
    assert main(given) == 0
    text = capsys.readouterr().out
    assert "arrived quantized: 3 layers go on from its scales, steps fixed" in text
    assert "int8   0 of " in text.splitlines()[-1] and len(answers(out)) == 160


def test_a_scale_that_is_computed_is_named():
    g = Graph("dynamic")
    x = g.input("x", ("N", 4))
    ints = g.op.QuantizeLinear(x, g.op.ReduceMax(g.op.Abs(x), keepdims=0), name="odd")
    g.output(g.op.DequantizeLinear(ints, g.op.ReduceMax(g.op.Abs(x), keepdims=0), name="odd/dq"))
    with pytest.raises(GraphError, match=r"cannot be trained on, as their scale is computed.*odd/dq"):
        quant.from_qdq(aj.infer_shapes(g))
    with pytest.raises(GraphError, match="no QuantizeLinear or DequantizeLinear: convert quantizes it"):
        quant.from_qdq(aj.zoo.mlp((4, 3)))


def products(scaled=True):
    """Two layers as hand-made converters write them: sums of integers, a bias of 32 bits, Cast, Mul."""
    g = Graph("products")
    draw = np.random.default_rng(3)
    x = g.input("x", ("N", 1, 6, 6))
    scale, zero = g.constant("sx", np.float32(0.03)), g.constant("zx", np.uint8(120))
    w = g.constant("w", draw.integers(-128, 128, (4, 1, 3, 3)).astype(np.int8))
    y = g.op.ConvInteger(
        g.op.QuantizeLinear(x, scale, zero), w, zero, g.constant("zw", np.int8(0)), pads=(1, 1, 1, 1), name="conv"
    )
    if not scaled:
        g.output(y)
        return aj.infer_shapes(g)
    y = g.op.Add(y, g.constant("b", draw.integers(-900, 900, (1, 4, 1, 1)).astype(np.int32)))
    y = g.op.Relu(
        g.op.Mul(g.op.Cast(y, to=1), g.constant("s", draw.uniform(1e-4, 2e-4, (1, 4, 1, 1)).astype(np.float32)))
    )
    z = g.op.Flatten(g.op.QuantizeLinear(y, g.constant("sy", np.float32(0.02)), g.constant("zy", np.uint8(0))))
    v = g.constant("v", draw.integers(0, 256, (144, 3)).astype(np.uint8))
    z = g.op.MatMulInteger(z, v, None, g.constant("zv", np.uint8(128)), name="fc")
    both = g.op.Mul("sy", g.constant("sv", np.float32(0.001)))
    g.output(g.op.Mul(g.op.Cast(z, to=1), both))
    return aj.infer_shapes(g)


def test_products_of_integers_run_and_train_on(tmp_path):
    onnxio.write(products(), None, str(tmp_path / "p.onnx"))
    graph = onnxio.read(str(tmp_path / "p.onnx"))
    want = answers(tmp_path / "p.onnx")
    for backend in ("jax", "numpy"):
        np.testing.assert_allclose(aj.run(graph, {"x": X}, backend)[0], want, rtol=1e-6, atol=1e-6)
    assert not graph.params and graph.roles()["w"][0] == "quantized weight"
    with pytest.raises(GraphError, match=r"no parameter to train: its weights are integers: 'w' .int8.*float_weights"):
        aj.train(graph, (X, TARGET), epochs=1)
    q = quant.from_qdq(graph)
    assert q.count()["FakeQuantize"] == 4 and {"w", "v"} <= set(q.params)
    got = aj.run(q, {"x": X}, "numpy")[0]
    assert np.mean(np.abs(got - want) > 1e-5) < 0.01  # a value of the first layer may round the other way
    after, history = quant.finetune(q, aj.Dataset(x=X, target=TARGET), epochs=2)
    assert history[-1]["loss"] < history[0]["loss"]
    report = quant.write(
        quant.to_integer(after), str(tmp_path / "back.onnx"), graph=after, data={"x": X}, grade="counted"
    )
    assert report.first_bad is None, str(report)
    with pytest.raises(
        GraphError, match=r"cannot go on from their scales: 'conv' .its sums are not multiplied by a scale"
    ):
        quant.from_qdq(products(scaled=False))
    g = Graph("sums")
    g.output(g.op.MatMulInteger(g.input("x", ("N", 4), "uint8"), g.constant("w", np.ones((4, 2), np.int8))))
    with pytest.raises(GraphError, match=r"no Conv.* its MatMulInteger holds integers already, see quant.from_qdq"):
        quant.convert(aj.infer_shapes(g))


def test_brevitas_spelling_trains_on_and_is_written(tmp_path):
    """QCDQ of brevitas 0.13: weights in floats behind QuantizeLinear, Clip, DequantizeLinear; biases in floats."""
    g, draw = Graph("brevitas"), np.random.default_rng(4)

    def held(name, array, step, low, high):
        scale, zero = g.constant(f"{name}.s", np.float32(step)), g.constant(f"{name}.z", np.int8(0))
        ends = (g.constant(f"{name}.{k}", np.int8(v)) for k, v in (("low", low), ("high", high)))
        return g.op.DequantizeLinear(g.op.Clip(g.op.QuantizeLinear(array, scale, zero), *ends), scale, zero)

    def weight(name, *shape):
        return g.parameter(name, draw.normal(0, 0.3, shape).astype(np.float32))

    x = held("x", g.input("x", ("N", 1, 6, 6)), 0.03, -128, 127)
    bias = [g.parameter(f"b{k}", draw.normal(0, 0.1, n).astype(np.float32)) for k, n in enumerate((4, 4, 3))]
    y = g.op.Relu(g.op.Conv(x, held("w0", weight("w0", 4, 1, 3, 3), 0.1, -7, 7), bias[0]))
    y = g.op.MaxPool(held("y", y, 0.2, 0, 15), kernel_shape=(2, 2), strides=(2, 2))
    z = g.op.Relu(g.op.Conv(y, held("w1", weight("w1", 4, 4, 1, 1), 0.1, -7, 7), bias[1]))
    z = g.op.Flatten(held("z", z, 0.1, 0, 15))
    g.output(g.op.Add(g.op.MatMul(z, held("w2", weight("w2", 16, 3), 0.1, -7, 7)), bias[2]))
    g = aj.infer_shapes(g)
    same, q = quant.from_qdq(g, round_biases=False), quant.from_qdq(g)
    np.testing.assert_array_equal(aj.run(same, {"x": X}, "numpy")[0], aj.run(g, {"x": X}, "numpy")[0])
    assert q.count()["RoundTo"] == 3 and "RoundTo" not in same.count()
    after, history = quant.finetune(q, aj.Dataset(x=X, target=TARGET), epochs=3)
    assert history[-1]["loss"] < history[0]["loss"]
    path = tmp_path / "b.onnx"
    report = quant.write(quant.to_integer(after), str(path), graph=after, data={"x": X}, grade="counted")
    assert report.passes and {"int32", "int8"} <= {p.data.dtype.name for p in onnxio.read(path).producers.values()}
