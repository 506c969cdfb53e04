"""Where quantizers stand, what they remember, and what calibration makes of data."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import quant
from aidgejax.errors import DataError, GraphError, SettingError
from aidgejax.graph import Graph

POWERS = quant.bits(4, step="power_of_two")


def quantizers(graph):
    return {n.name: n for n in graph.nodes if n.op == "FakeQuantize"}


def test_a_lenet_has_one_quantizer_per_weight_and_one_per_tensor_between_layers():
    q = quant.convert(aj.zoo.lenet(8), quant.bits(4))
    assert [layer.name for layer in quant.layers(q)] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    levels = {k: n.inputs[3:] for k, n in quantizers(q).items()}
    assert len(levels) == 11
    assert levels["conv2.weight/quantize"] == (-8, 7) and levels["relu2/quantize"] == (0, 15)
    assert levels["conv1.weight/quantize"] == levels["x/quantize"] == (-128, 127)  # the first layer
    assert levels["fc3.weight/quantize"] == (-128, 127) and levels["relu4/quantize"] == (0, 255)  # and the last
    assert q.outputs == ["logits"] and q.count()["RoundTo"] == 5


def test_what_add_adds_shares_a_step():
    q = quant.convert(aj.zoo.resnet8(size=8), quant.bits(4))
    nodes = quantizers(q)
    assert nodes["stem.relu/quantize"].inputs[1] == nodes["block1.b.norm/quantize"].inputs[1]
    assert nodes["stem.relu/quantize"].inputs[3:] == (0, 15)
    assert nodes["block1.b.norm/quantize"].inputs[3:] == (-8, 7)
    assert q.count()["BatchNormalization"] == 0


def test_what_concat_joins_shares_step_and_levels():
    g = Graph("two")
    x = g.input("x", ("N", 4))
    w = [g.parameter(f"w{k}", np.eye(4, dtype=np.float32)) for k in range(3)]
    joined = g.op.Concat(g.op.Relu(g.op.MatMul(x, w[0])), g.op.MatMul(x, w[1]), axis=0)
    g.output(g.op.MatMul(joined, w[2]))
    q = quant.convert(aj.infer_shapes(g), quant.Scheme())
    a, b = (n for n in q.nodes if n.op == "FakeQuantize" and n.inputs[0] in ("Relu", "MatMul_1"))
    assert a.inputs[1:] == b.inputs[1:] and a.inputs[3] == -128


def test_softmax_and_norms_stay_and_products_of_activations_are_layers():
    q = quant.convert(aj.zoo.transformer_encoder(depth=1), quant.bits(8))
    writer, readers = q.writer(), q.readers()
    scores = q.node("block1.attention.scores")
    assert all(writer[i].op in ("Transpose", "FakeQuantize") for i in scores.inputs)
    assert readers["block1.attention.softmax"][0].op == "FakeQuantize"
    assert writer["block1.norm1.quant"].op == "FakeQuantize"
    assert q.count()["RoundTo"] == 7  # biases added behind MatMul, and that of the last layer


@pytest.mark.parametrize("how", [("fc1",), ("fc1.weight",), ("fc1*",), "Gemm#->Relu->Gemm->Relu"])
def test_layers_are_left_out_by_name_pattern_or_query(how):
    q = quant.convert(aj.zoo.lenet(8), quant.bits(4), exclude=how)
    assert "fc1" not in [layer.name for layer in quant.layers(q)]


def test_a_layer_has_its_own_scheme():
    q = quant.convert(aj.zoo.lenet(8), quant.bits(4), specific={"conv2": quant.bits(2), "fc*": None})
    assert quantizers(q)["conv2.weight/quantize"].inputs[3:] == (-2, 1)
    assert [layer.name for layer in quant.layers(q)] == ["conv1", "conv2"]


def test_mistakes_are_named():
    g = aj.zoo.lenet(8)
    with pytest.raises(GraphError, match=r"exclude 'fc9' means no node of graph 'lenet'; it has 'conv1'"):
        quant.convert(g, exclude=("fc9",))
    with pytest.raises(GraphError, match="quantized already"):
        quant.convert(quant.convert(g))
    with pytest.raises(SettingError, match="9 bits"):
        quant.Grid(9)
    with pytest.raises(SettingError, match="'even'"):
        quant.Scheme(rounding="away")
    with pytest.raises(DataError, match="lacks 'x'"):
        quant.calibrate(quant.convert(g), {"y": np.zeros((2, 1))})
    with pytest.raises(GraphError, match="no layer to quantize"):
        quant.convert(g, exclude="*")


@pytest.mark.parametrize(
    "scheme",
    [
        POWERS,
        quant.bits(4, method="lsq+"),
        quant.bits(4, method="sat"),
        quant.bits(8, method="dorefa"),
        quant.Scheme(quant.Grid(4, per="block"), quant.Grid(16)),
        quant.Scheme(quant.Grid(8, symmetric=False), quant.Grid(8, symmetric=False)),
    ],
    ids=["shifts", "lsq+", "sat", "dorefa", "blocks", "zero points"],
)
def test_a_file_says_the_same_and_is_trained_on(scheme, tmp_path):
    q = quant.convert(aj.zoo.mlp((40, 6, 3)), scheme)
    x = np.random.default_rng(0).normal(size=(8, 40)).astype(np.float32)
    q = quant.calibrate(q, {"x": x})
    aj.onnxio.write(q, None, tmp_path / "q.onnx")
    back = aj.onnxio.read(tmp_path / "q.onnx")
    assert back.count()["FakeQuantize"] == 0 and back.count()["QuantizeLinear"] == 5
    want = aj.run(q, {"x": x}, "numpy")[0]
    np.testing.assert_allclose(aj.run(back, {"x": x}, "numpy")[0], want, rtol=1e-5, atol=1e-6)
    again = quant.restored(back)
    same = ("FakeQuantize", "PowerOfTwo", "RoundTo", "Gemm", "ScaleAdjust")
    assert [str(n) for n in again.nodes if n.op in same] == [str(n) for n in q.nodes if n.op in same]
    assert quant.step_names(back) == quant.step_names(q) and quant.is_calibrated(back)
    np.testing.assert_array_equal(aj.run(again, {"x": x}, "numpy")[0], want)


@pytest.mark.parametrize("method", ["max", "percentile", "mse", "kl", "sigma"])
def test_calibrations(method):
    """Against what NumPy says of all values at once."""
    rng = np.random.default_rng(1)
    batches = [{"x": (rng.normal(size=(50, 4)) * s).astype(np.float32)} for s in (0.1, 1.0, 3.0)]
    g = Graph("one")
    g.output(g.op.MatMul(g.input("x", ("N", 4)), g.parameter("w", np.eye(4, dtype=np.float32))))
    q = quant.convert(aj.infer_shapes(g), quant.bits(4, ends=None))
    q = quant.calibrate(q, batches, method, percentile=95)
    x = np.concatenate([b["x"] for b in batches])
    step, high = float(q.params["x.step"]), 7
    if method == "max":
        assert step == pytest.approx(max(x.max() / high, -x.min() / 8), rel=1e-6)
    elif method == "sigma":
        assert step == pytest.approx(min(4 * np.sqrt(np.mean(x**2)), x.max()) / high, rel=1e-5)
    elif method == "percentile":
        assert step == pytest.approx(max(np.quantile(x, 0.975) / high, -np.quantile(x, 0.025) / 8), rel=2e-2)
    elif method == "mse":
        error = lambda s: np.mean((np.clip(np.rint(x / s), -8, 7) * s - x) ** 2)
        assert error(step) <= 1.02 * min(error(s) for s in np.linspace(0.1, 1, 60) * x.max() / 7)
    else:
        assert 0 < step <= x.max() / high * 1.01


def test_steps_that_are_powers_of_two_are_chosen_as_such():
    x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    q = quant.calibrate(quant.convert(aj.zoo.mlp((6, 8, 3)), POWERS), {"x": x}, "mse")
    for name in quant.step_names(q):
        fraction, _ = np.frexp(q.params[name])
        assert (fraction == 0.5).all(), name


@pytest.mark.parametrize("rule", [aj.optim.sgd(momentum=0.9, weight_decay=0.1), aj.optim.adam(weight_decay=0.1)])
def test_steps_stay_positive_whatever_the_rate(rule):
    rng = np.random.default_rng(0)
    data = aj.Dataset(x=rng.normal(size=(64, 6)).astype(np.float32), target=rng.integers(0, 3, 64))
    q = quant.convert(aj.zoo.mlp((6, 8, 3)), quant.bits(8))
    program = aj.make_program(aj.with_loss(q, "cross_entropy", reduction="rows"), training=True)
    state, _ = aj.fit(program, quant.with_steps(rule, q), aj.schedule.constant(3.0), data, epochs=3, batch_size=16)
    for k in quant.step_names(q):
        assert np.isfinite(state.params[k]).all() and (np.asarray(state.params[k]) > 0).all()


def test_the_gradient_graph_stays_readable():
    """At most 4 nodes more per quantized tensor than the floating-point network has."""
    g = aj.infer_shapes(aj.zoo.resnet8(size=8))
    g = aj.passes.fold_batchnorm(g)
    plain = len(aj.make_gradient(g).nodes)
    q = quant.convert(g, POWERS)
    grown = len(aj.make_program(q).gradient.nodes) - plain
    assert grown <= 4 * q.count()["FakeQuantize"], (grown, q.count()["FakeQuantize"])


NANS = np.where(np.arange(80)[:, None] == 70, np.nan, np.ones((80, 6))).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: quant.convert(g, 4), "given '4', expected a quant.Scheme, such as"),
        (lambda g: quant.convert("m.onnx"), "given 'm.onnx', expected a Graph"),
        (lambda g: quant.convert(g, specific={"fc1": 4}), "specific 'fc1': got 4, expected a quant.Scheme"),
        (lambda g: quant.Scheme(weights=4), "weights 4: expected a Grid"),
        (lambda g: quant.bits("4"), "grid of '4' bits"),
        (lambda g: quant.bits(4, per="tensor"), r"'per'.*Scheme\(Grid"),
        (lambda g: quant.calibrate(quant.convert(g), None), "got NoneType, expected a Dataset"),
        (lambda g: quant.calibrate(quant.convert(g), np.ones((4, 6), "f")), "got ndarray.*{'x': array}"),
        (lambda g: quant.finetune(g, aj.Dataset(x=np.ones((4, 6), "f"))), "no quantized layer"),
        (lambda g: quant.finetune(quant.convert(g), aj.Dataset(x=NANS)), "is not calibrated: quant.calibrate"),
        (lambda g: quant.calibrate(quant.convert(g), {"x": NANS}), "column 'x' for graph 'mlp': row 70 holds nan"),
        (lambda g: quant.calibrate(quant.convert(g), {"x": ["a"]}), "expected an array of numbers with a row for each"),
        (lambda g: quant.calibrate(quant.convert(g), {"x": np.zeros((4, 6), "f")}), "'x' is zero in all rows"),
        (lambda g: quant.calibrate(quant.convert(g), [(np.ones((4, 6), "f"),)]), "a batch .* is tuple, expected"),
        (lambda g: quant.sensitivity(quant.convert(g), {"x": NANS}), "lacks 'target'; it has 'x'"),
        (lambda g: quant.search(g, {}, "8 kB"), "budget '8 kB': expected one of bytes"),
        (lambda g: quant.verify(g, quant.convert(g), {}, []), "not deployed yet: to_integer"),
    ],
)
def test_mistakes_say_what_was_expected(call, message):
    with pytest.raises((SettingError, DataError, GraphError), match=message):
        call(aj.zoo.mlp((6, 8, 3)))


def test_a_model_of_a_fixed_batch_gets_as_many_rows_at_a_time():
    g = Graph("fixed")
    g.output(g.op.Relu(g.input("x", (3, 6))))
    rows = {"x": np.arange(48, dtype=np.float32).reshape(8, 6)}
    assert [len(b["x"]) for b in quant.each_batch(g, rows)] == [3, 3]
    with pytest.raises(DataError, match="takes 3 rows at a time, the data have 2"):
        list(quant.each_batch(g, {"x": rows["x"][:2]}))
