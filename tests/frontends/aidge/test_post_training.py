"""Quantization after training: factors and integer outputs of the real Aidge, and what must hold of any of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends import aidge_quantization as aq
from aidgejax.frontends.aidge_quantization.ptq_ranges import factors

from .test_quantization import built, network, tensor

FOLDER = Path(__file__).parents[2] / "golden/aidge_quantization"
PAGE = json.loads((FOLDER / "ptq.json").read_text())


def outputs(graph, xs):
    scheduler = ac.SequentialScheduler(graph)
    return np.array([np.array(scheduler.forward(True, data=[tensor(x)])[0]) for x in xs])


def tagged(graph, activation="int8", weight="int8", bias="int32"):
    aq.auto_assign_node_precision(graph, *(getattr(ac.dtype, k) for k in (activation, weight, bias)))


@pytest.mark.parametrize("case", PAGE["cases"], ids=lambda c: c["name"])
def test_factors_and_outputs_are_aidges(case):
    data, stored = case["data"], dict(np.load(FOLDER / "ptq.npz"))
    values = {k.split("/")[-1]: stored[k] for k in stored if k.startswith(f"{data}/init/")}
    graph = built(PAGE["models"][data]["model"], values)
    given = dict(case["arguments"])
    if "clipping_mode" in given:
        given["clipping_mode"] = aq.Clipping[given["clipping_mode"]]
    x = stored[f"{data}/x"]
    tagged(graph, case["activation"], case["weight"], case["bias"])
    aq.quantize_network(graph, [tensor(v) for v in x[: PAGE["calib"]]], **given)
    for name, factor in case["factors"].items():
        np.testing.assert_allclose(factors(graph.get_node(name)).ravel(), np.ravel(factor), rtol=1e-4, err_msg=name)
    want = stored[f"{data}/{case['name'][len(data) + 1 :]}/output"]
    got = outputs(graph, x[PAGE["calib"] :]).reshape(want.shape)
    assert np.abs(got - want).max() <= 1 and np.mean(np.abs(got - want) > 1e-4) < 0.02


CALIBRATION = [np.random.default_rng(k).normal(size=(4, 6)).astype(np.float32) for k in range(5)]


@pytest.mark.parametrize("mode", list(aq.Clipping), ids=lambda m: m.name)
def test_every_clipping_mode_keeps_the_function_nearly(mode):
    graph = network()
    want = outputs(graph, CALIBRATION)
    tagged(graph)
    settings = {"rescale_inputs": True, "fake_quantize": True, "dequantize": True}
    aq.quantize_network(graph, [tensor(x) for x in CALIBRATION], mode, **settings)
    got = outputs(graph, CALIBRATION)
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > (
        0.9 if mode is aq.Clipping.KL else 0.98
    )  # Aidge's KL cuts off much


def test_kl_is_aidges():
    histogram = [int(1000 * np.exp(-((i / 30.0) ** 2))) + 1 for i in range(256)]
    assert [aq.compute_kl_clipping(histogram, b) for b in (2, 4, 6)] == [0.15, 0.27, 0.97]


def test_other_bits_for_weights_keep_the_function_too():
    """A bias stands on the scale of activation times weight, whatever their widths."""
    for activation, weight in (("int8", "int4"), ("int4", "int8")):
        graph = network()
        want = outputs(graph, CALIBRATION)
        tagged(graph, activation, weight)
        aq.quantize_network(
            graph, [tensor(x) for x in CALIBRATION], rescale_inputs=True, fake_quantize=True, dequantize=True
        )
        assert np.corrcoef(outputs(graph, CALIBRATION).ravel(), want.ravel())[0, 1] > 0.95


def test_equalization_keeps_the_function_and_evens_out():
    graph = network()
    want = outputs(graph, CALIBRATION)
    aq.cross_layer_equalization(graph, 0.01)
    np.testing.assert_allclose(outputs(graph, CALIBRATION), want, rtol=1e-4, atol=1e-5)
    a, b = (np.array(graph.get_node(n).get_operator().get_output(0)) for n in ("a_w", "b_w"))
    np.testing.assert_allclose(np.abs(a).max(1), np.abs(b).max(0), atol=0.01)


def test_what_cannot_be_quantized_says_so():
    graph = network()
    calibration = [tensor(x) for x in CALIBRATION]
    with pytest.raises(RuntimeError, match="'a' .FC. has no precision: call auto_assign_node_precision first"):
        aq.quantize_network(graph, calibration)
    tagged(graph)
    with pytest.raises(RuntimeError, match="calibration set is empty"):
        aq.quantize_network(graph, [])
    odd = ac.sequential([ac.FC(6, 4, name="f"), ac.HardSwish(name="h"), ac.FC(4, 2, name="g")])
    odd.set_backend("cpu")
    tagged(odd)
    assert aq.check_architecture(odd) is False and aq.check_architecture(graph) is True
    with pytest.raises(RuntimeError, match="does not know the operators of 'h' .HardSwish."):
        aq.quantize_network(odd, calibration)
    assert aq.check_precision_tag(graph) is True
    aq.clear_all_node_precision(graph)
    assert aq.check_precision_tag(graph) is False
    with pytest.raises(ImportError, match="set_to_qop is not in aidgejax: aidgejax.quant.write"):
        from aidgejax.frontends.aidge_quantization import set_to_qop  # noqa: F401
