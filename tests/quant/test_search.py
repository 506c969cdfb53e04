"""Sensitivity, search under a budget, and what mends a calibrated network without labels."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import quant
from aidgejax.errors import SettingError
from aidgejax.graph import Graph


def clouds(rows=160, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 3, rows)
    return aj.Dataset(x=(rng.normal(size=(rows, 6)) + 2 * np.eye(3, 6)[target]).astype(np.float32), target=target)


@pytest.fixture(scope="module")
def net():
    g = aj.infer_shapes(aj.zoo.mlp((6, 16, 8, 3)))
    program = aj.make_program(aj.with_loss(g, "cross_entropy", reduction="rows"), training=True)
    state, _ = aj.fit(program, aj.optim.adam(), aj.schedule.constant(1e-2), clouds(), epochs=8, batch_size=32)
    return g.with_params(state.params)


def outputs(graph, x):
    return aj.run(graph, {"x": x}, "numpy")[0]


def error(q, g):
    x = clouds(seed=1).columns["x"]
    return float(np.mean((outputs(q, x) - outputs(g, x)) ** 2))


def calibrated(g, bits=3):
    return quant.calibrate(quant.convert(g, quant.bits(bits, 8, ends=None)), clouds())


@pytest.fixture(scope="module")
def three_bits(net):
    return calibrated(net)


def test_sensitivity_is_the_loss_with_one_layer_quantized(net, three_bits):
    q, data = three_bits, clouds()
    s = quant.sensitivity(q, data)
    assert set(s.alone) == set(s.but) == {"fc1", "fc2", "fc3"}
    x, y = data.columns["x"], data.columns["target"]

    def loss(graph):
        z = outputs(graph, x).astype(np.float64)
        return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]))

    assert s.loss == pytest.approx(loss(net), abs=2e-2)  # but for the rounding of biases and of the output
    assert max(s.but.values()) <= max(loss(q), *s.alone.values()) + 0.5
    assert str(s).splitlines()[0].startswith("layer")


def test_search_stays_within_the_budget_and_its_bits_can_be_converted(net):
    found = quant.search(net, clouds(), {"bytes": 110}, lanes=2, epochs=1, choices=(2, 8))
    assert found.best.cost <= 110 and len(found.candidates) >= 2
    assert any(set(c.bits.values()) == {2} for c in found.candidates)  # the uniform alternative
    q = quant.convert(net, found.scheme, specific=found.specific)
    assert sum(line.bytes for line in quant.describe(q, clouds()).lines) == found.best.cost
    assert "<- best" in str(found)
    with pytest.raises(SettingError, match="with 2 bits everywhere it takes"):
        quant.search(net, clouds(), {"bytes": 10})
    with pytest.raises(SettingError, match="budget"):
        quant.search(net, clouds(), {"watts": 10})


def test_rounding_that_is_learned_errs_less_than_rounding_to_nearest(net, three_bits):
    q = three_bits
    better = quant.round_learned(q, clouds())
    assert error(better, net) < error(q, net)
    for layer in quant.layers(q):  # each weight on one of its two neighbouring levels
        name = layer.weight.inputs[0]
        step = q.producers[layer.weight.inputs[1]].data
        inside = np.clip(q.params[name] / step, *layer.weight.inputs[3:5])
        assert np.all(np.abs(better.params[name] / step - inside) < 1 + 1e-4)


def test_biases_are_corrected_to_the_mean(net, three_bits):
    assert error(quant.correct_bias(three_bits, clouds()), net) < error(three_bits, net)


@pytest.mark.slow
def test_a_teacher_needs_no_labels(net):
    q = calibrated(net, 2)
    taught = quant.distill(q, {"x": clouds().columns["x"]}, epochs=15, rate=1e-2)
    assert error(taught, net) < 0.8 * error(q, net)


def test_equalized_channels_have_one_range_and_the_same_function():
    g = aj.zoo.lenet(8)
    rng = np.random.default_rng(0)
    for name in ("conv1.weight", "conv2.weight", "fc1.weight"):
        data = g.producers[name].data
        g.producers[name].data = (data * np.exp(rng.normal(size=(len(data), *[1] * (data.ndim - 1))))).astype(
            np.float32
        )
    even = quant.equalize(g)
    x = rng.normal(size=(4, 1, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(outputs(even, x), outputs(g, x), rtol=1e-3, atol=1e-4 * np.abs(outputs(g, x)).max())
    r1 = np.abs(even.params["conv1.weight"]).max((1, 2, 3))
    r2 = np.abs(even.params["conv2.weight"]).max((0, 2, 3))
    np.testing.assert_allclose(r1, r2, atol=0.02)


def test_a_tensor_that_loses_nothing_is_exact_and_not_of_some_large_figure():
    g = Graph("exact")
    g.output(g.op.MatMul(g.input("x", ("N", 4)), g.parameter("w", np.eye(4, dtype=np.float32)), name="layer"))
    x = {"x": np.arange(-16, 16, dtype=np.float32).reshape(8, 4) / 16}
    scheme = quant.bits(8, step="power_of_two")
    described = quant.describe(quant.calibrate(quant.convert(aj.infer_shapes(g), scheme), x, "max"), x)
    assert described.lines[0].sqnr == np.inf and "exact" in str(described).splitlines()[1]
