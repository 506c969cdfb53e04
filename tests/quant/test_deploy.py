"""What is trained is what is deployed: 0 values differ, or the difference is found and named."""

from functools import cache

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import quant
from aidgejax.errors import BackendError, GraphError, SettingError
from aidgejax.graph import Graph

from ._drawn import MORE, drawn

SHIFTS = {"step": "power_of_two"}


def data(graph, rows=16, seed=0):
    shape = (rows, *graph.inputs["x"].shape[1:])
    return {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


def deployed(graph, scheme, rows=16):
    x = data(graph, rows)
    q = quant.calibrate(quant.convert(graph, scheme), x)
    return q, quant.to_integer(q), x


@cache
def lenet():
    """Of 4 bits."""
    return deployed(aj.zoo.lenet(8), quant.bits(4, **SHIFTS))


def test_the_deployed_graph_holds_integers():
    _, integers, _ = lenet()
    kinds = {k: p.data.dtype.name for k, p in integers.producers.items()}
    assert kinds["conv2.weight"] == "int8" and kinds["conv2.bias"] == "int32"
    assert np.abs(integers.producers["conv2.weight"].data).max() <= 8
    assert [k for k, d in kinds.items() if d == "float32" and not k.endswith("scale")] == []
    assert integers.count()["FakeQuantize"] == 0 and not integers.params
    for t in ("relu1.quant", "pool1", "flatten", "logits"):
        assert integers.writer()[t].op == "DequantizeLinear", t


@pytest.mark.parametrize(
    ("net", "scheme"),
    [
        pytest.param(aj.zoo.lenet(8), quant.Scheme(quant.Grid(2), quant.Grid(2), **SHIFTS), marks=pytest.mark.slow),
        pytest.param(aj.zoo.resnet8(size=8), quant.bits(4, **SHIFTS), marks=pytest.mark.slow),
        pytest.param(aj.zoo.mobilenet_v1(0.125, size=24), quant.bits(8, **SHIFTS), marks=pytest.mark.slow),
        pytest.param(aj.zoo.ds_cnn(16), quant.bits(2, **SHIFTS), marks=pytest.mark.slow),
        (aj.zoo.mlp((6, 8, 3)), quant.bits(8, 16, ends=8, **SHIFTS)),
        (drawn(1), quant.Scheme(quant.Grid(8), quant.Grid(8, symmetric=False), step="fixed_point")),
    ],
    ids=["lenet, 2 bits", "resnet8, 4 bits", "mobilenet, 8 bits", "ds-cnn, 2 bits", "mlp, 16 bits", "zero points"],
)
def test_with_powers_of_two_nothing_differs_anywhere(net, scheme):
    q, integers, x = deployed(net, scheme)
    report = quant.verify(q, integers, x)
    assert report.exact and report.grade == "proved", str(report)
    assert {r.runtime for r in report.rows} == {"numpy", "jax", "onnxruntime off", "onnxruntime all"}
    assert report.rows[-1].tensor == "logits" and report.values > 0


@pytest.mark.parametrize("seed", [3, *(pytest.param(s, marks=pytest.mark.slow) for s in range(200) if s != 3)])
def test_drawn_networks(seed):
    bits = (8, 4, 2)[seed % 3]
    scheme = quant.bits(bits, **SHIFTS)
    if seed % 2:
        scheme = quant.Scheme(quant.Grid(bits), quant.Grid(bits), ends=8, **SHIFTS)
    q, integers, x = deployed(drawn(seed), scheme)
    report = quant.verify(q, integers, x)
    assert report.exact and report.grade == "proved", str(report)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
def test_drawn_networks_of_more_kinds_are_proved_or_refused_by_name(seed, tmp_path):
    per = ("channel", "tensor")[seed % 2]
    bits = (8, 4, 2)[seed % 3]
    q, integers, x = deployed(
        drawn(seed, MORE), quant.Scheme(quant.Grid(bits, per=per), quant.Grid(bits), ends=8, **SHIFTS)
    )
    report = quant.verify(q, integers, x, ["numpy", "onnxruntime"])
    assert report.exact, str(report)
    if report.reasons:
        with pytest.raises(GraphError, match=r"not proved: AveragePool.* averages a varying number"):
            quant.write(integers, tmp_path / "q.onnx", graph=q, data=x, grade="proved", runtimes=["numpy"])


def test_free_steps_are_counted_not_proved(tmp_path):
    q, integers, x = deployed(aj.zoo.mlp((6, 8, 3)), quant.bits(8))
    report = quant.write(integers, tmp_path / "q.onnx", graph=q, data=x)
    assert report.grade == "counted" and report.passes and "no power of two" in report.reasons[0]
    assert "not proved" in str(report) and "processor: " in str(report)
    with pytest.raises(GraphError, match="not proved.*was not written.*power_of_two"):
        quant.write(integers, tmp_path / "p.onnx", graph=q, data=x, grade="proved")
    assert not (tmp_path / "p.onnx").exists()


def test_a_difference_stops_the_write_and_names_the_first_layer(tmp_path):
    q, integers, x = lenet()
    integers = integers.copy()
    integers.producers["conv2.bias"].data = integers.producers["conv2.bias"].data + 40
    report = quant.verify(q, integers, x, ["numpy"])
    assert not report.exact and report.first_bad.tensor == "relu2.quant" and report.largest >= 1
    with pytest.raises(GraphError, match="'relu2.quant'.* is the first: .* steps; .*q.onnx was not written"):
        quant.write(integers, tmp_path / "q.onnx", graph=q, data=x, runtimes=["numpy"])
    assert list(tmp_path.iterdir()) == []


def test_on_equal_inputs_only_the_layer_that_differs_differs():
    q, integers, x = lenet()
    broken = integers.copy()
    bias = broken.producers["conv2.bias"]
    broken.producers["conv2.bias"].data = bias.data + 300
    report = quant.verify(q, broken, x, ["numpy"], reasons=["asked for"])
    assert sum(r.differing > 0 for r in report.rows) > 3  # every layer behind it too
    assert [r.tensor for r in report.alone if r.differing] == ["relu2.quant"] == [report.first_bad.tensor]
    assert not report.passes and "each layer on equal inputs: " in str(report)
    mended = quant.verify(q, integers, x, ["numpy"], reasons=["asked for"])
    assert mended.passes and mended.alone == ()


def test_steps_by_blocks_leave_the_other_biases_on_their_grid(tmp_path):
    """A convolution has a step per channel there, and its bias is an integer: onnxruntime would round one in floats."""
    q, integers, x = deployed(aj.zoo.lenet(8), quant.Scheme(quant.Grid(4, per="block", block=16), **SHIFTS), rows=8)
    assert q.count()["RoundTo"] == 2
    assert quant.write(integers, tmp_path / "q.onnx", graph=q, data=x).exact
    with pytest.raises(GraphError, match="'fc1.weight.quant' has steps by blocks: form 'qonnx'"):
        quant.in_form(integers, "qonnx")


@pytest.mark.parametrize("form", ["qdq", "qoperator", "qonnx"])
def test_forms_are_verified_and_read_back(form, tmp_path):
    q, integers, x = lenet()
    path = tmp_path / f"{form}.onnx"
    report = quant.write(integers, path, form, graph=q, data=x, grade="proved")
    assert report.exact and report.grade == "proved"
    back = aj.onnxio.read(path)
    want = aj.run(q, x, "numpy")[0]
    np.testing.assert_array_equal(aj.run(back, x, "numpy")[0], want)
    wanted = {"qdq": ("DequantizeLinear", 19), "qoperator": ("QLinearConv", 5), "qonnx": ("Quant", 19)}[form]
    assert back.count()[wanted[0]] >= wanted[1]
    again = quant.from_qdq(back)  # trains on
    np.testing.assert_array_equal(aj.run(again, x, "numpy")[0], want)
    assert len(quant.layers(again)) == 5 and again.count()["RoundTo"] == 5 and len(again.params) >= 15


def test_sums_of_two_branches_are_proved_in_the_qoperator_form_with_powers_of_two(tmp_path):
    """Add stays between DequantizeLinear and QuantizeLinear there: exact with such steps, refused by name otherwise."""
    rng, g = np.random.default_rng(2), Graph("branches")
    w = [g.parameter(f"w{k}", rng.normal(0, 0.4, (6, 6)).astype(np.float32)) for k in range(3)]
    y = g.op.Relu(g.op.MatMul(g.input("x", ("N", 6)), w[0]))
    g.output(g.op.MatMul(g.op.Add(y, g.op.MatMul(y, w[1]), name="both"), w[2]))
    g = aj.infer_shapes(g)
    q, integers, x = deployed(g, quant.bits(8, **SHIFTS))
    report = quant.write(integers, tmp_path / "q.onnx", "qoperator", graph=q, data=x, grade="proved")
    assert report.exact and report.grade == "proved" and aj.onnxio.read(tmp_path / "q.onnx").count()["Add"]
    q, integers, x = deployed(g, quant.bits(8))
    with pytest.raises(GraphError, match=r"not proved: both .Add.: it is computed in floating point"):
        quant.write(integers, tmp_path / "r.onnx", "qoperator", graph=q, data=x, grade="proved")
    assert not (tmp_path / "r.onnx").exists()


@pytest.mark.slow
def test_the_form_for_aidge_has_one_step_per_tensor_and_no_rectifier(tmp_path):
    q, integers, x = deployed(aj.zoo.lenet(8), quant.Scheme(quant.Grid(8), **SHIFTS), rows=4)
    report = quant.write(integers, tmp_path / "a.onnx", "aidge", graph=q, data=x)
    assert report.exact
    back = aj.onnxio.read(tmp_path / "a.onnx")
    assert back.count()["Relu"] == 0 and back.count()["Conv"] == 2
    with pytest.raises(GraphError, match="has 6 steps: Aidge loads one per tensor"):
        quant.in_form(lenet()[1], "aidge")


def test_packed_weights_take_half_the_bytes(tmp_path):
    q, integers, x = deployed(aj.zoo.mlp((64, 96, 96, 3)), quant.bits(4, **SHIFTS))
    aj.onnxio.write(q, None, tmp_path / "float.onnx")
    sizes = {}
    for packed in (False, True):
        assert quant.write(integers, tmp_path / "q.onnx", graph=q, data=x, packed=packed).exact
        sizes[packed] = (tmp_path / "q.onnx").stat().st_size
    assert sizes[True] < 0.7 * sizes[False]
    back = aj.onnxio.read(tmp_path / "q.onnx")  # names between layers are short; the numbers are the same ones
    np.testing.assert_array_equal(aj.run(back, x, "numpy")[0], aj.run(integers, x, "numpy")[0])
    assert {"fc1.weight", "fc1.bias", "a"} <= set(back.producers)
    assert back.producers["fc1.bias"].data.dtype == np.int16
    single = [(p.data.dtype, p.data.tobytes()) for p in back.producers.values() if p.data.ndim == 0]
    assert len(single) == len(set(single))  # each number is stored once
    assert {"Mul", "Cast"} < set(back.count()) and "Relu" not in back.count()  # what follows is not stored
    again = quant.from_qdq(back)
    np.testing.assert_array_equal(aj.run(again, x, "numpy")[0], aj.run(q, x, "numpy")[0])
    assert again.count()["RoundTo"] == 3
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(tmp_path / "q.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, x)[0], aj.run(integers, x, "numpy")[0])


def test_without_onnxruntime_the_report_says_so(monkeypatch):
    q, integers, x = lenet()
    monkeypatch.setattr("aidgejax.quant.runtimes.has_onnxruntime", lambda: False)
    report = quant.verify(q, integers, x)
    assert report.exact and str(report).splitlines()[-1] == "onnxruntime: not installed, not checked"


def test_mistakes_are_named(tmp_path):
    g = aj.zoo.mlp((6, 8, 3))
    with pytest.raises(GraphError, match="not calibrated"):
        quant.to_integer(quant.convert(g))
    with pytest.raises(GraphError, match="no quantizer"):
        quant.to_integer(g)
    q, integers, x = deployed(g, quant.bits(8))
    with pytest.raises(SettingError, match="form 'tflite'"):
        quant.write(integers, tmp_path / "x", "tflite")
    with pytest.raises(BackendError, match="runtime 'tvm'"):
        quant.verify(q, integers, x, ["tvm"])


def test_a_sum_that_may_leave_24_bits_is_not_proved():
    q, integers, _ = deployed(aj.zoo.mlp((600, 3)), quant.Scheme(quant.Grid(8), quant.Grid(16), **SHIFTS))
    assert quant.largest_sums(integers)["fc1"] >= 2**24
    assert any("sums may reach" in r for r in quant.unproved(integers))


def test_qonnx_of_zero_points_is_what_was_trained(tmp_path):
    """QONNX's Quant adds its zero point before it rounds: with an odd one each half would fall the other way."""
    x = {"x": np.random.default_rng(5).normal(size=(64, 6)).astype(np.float32)}
    scheme = quant.Scheme(quant.Grid(4), quant.Grid(4, symmetric=False), step="power_of_two")
    q = quant.calibrate(quant.convert(aj.infer_shapes(aj.zoo.mlp((6, 8, 3))), scheme), x, "max")
    integers = quant.to_integer(q)
    assert any(n.op == "QuantizeLinear" and integers.producers[n.inputs[2]].data % 2 for n in integers.nodes)
    first = next(n for n in integers.nodes if n.op == "QuantizeLinear")
    levels = np.random.default_rng(5).integers(-6, 6, (64, 6)) + 0.5  # halves alone
    x = {"x": (levels * integers.producers[first.inputs[1]].data).astype(np.float32)}
    path = tmp_path / "m.onnx"
    report = quant.write(integers, path, "qonnx", graph=q, data=x, runtimes=("numpy", "jax"), grade="proved")
    assert report.differing == 0
    again = quant.to_integer(quant.from_qdq(aj.onnxio.read(path)))
    np.testing.assert_array_equal(aj.run(again, x)[0], aj.run(integers, x)[0])
