"""Analog graphs with a quantized periphery: noise and bits compose, train and survive a file."""

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax import analog, quant
from aidgejax.errors import GraphError
from aidgejax.frontends.aihwkit.simulator.configs import (
    BoundManagementType,
    NoiseManagementType,
    TorchInferenceRPUConfig,
)
from aidgejax.graph import Graph


def network():
    """A convolution and a dense layer that become analog, and a last layer that stays digital."""
    rng, g = np.random.default_rng(0), Graph("mixed")
    draw = lambda *shape: rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
    x = g.input("x", ("N", 1, 6, 6))
    y = g.op.Conv(x, g.parameter("conv.w", draw(4, 1, 3, 3)), g.parameter("conv.b", draw(4, 1)[:, 0]), name="conv")
    y = g.op.Flatten(g.op.MaxPool(g.op.Relu(y), kernel_shape=(2, 2), strides=(2, 2)))
    y = g.op.Relu(g.op.Gemm(y, g.parameter("fc.w", draw(12, 16)), transB=1, name="fc"))
    (z,) = g.add("Gemm", [y, g.parameter("last.w", draw(3, 12))], {"transB": 1}, names=["logits"], name="last")
    g.output(z)
    return aj.infer_shapes(g)


def hardware():
    config = TorchInferenceRPUConfig()
    config.forward.out_noise = 0.02
    config.forward.noise_management, config.forward.bound_management = (
        NoiseManagementType.NONE,
        BoundManagementType.NONE,
    )
    config.pre_post.input_range.enable = True
    return config


def rows(n=192):
    rng = np.random.default_rng(1)
    target = rng.integers(0, 3, n)
    x = rng.normal(0, 0.4, (n, 1, 6, 6)) + np.eye(3)[target].repeat(12, 1).reshape(n, 1, 6, 6)
    return aj.Dataset(x=x.astype(np.float32), target=target.astype(np.int64))


@pytest.fixture(scope="module")
def trained():
    data = rows()
    g = analog.convert_to_analog(network(), hardware(), exclude=("last",))
    q = quant.calibrate(quant.convert(g, quant.bits(4, ends=4)), data)
    after, history = quant.finetune(q, data, epochs=6, rate=1e-2)
    return g, q, after, history


def test_tiles_stay_and_their_periphery_is_quantized(trained):
    g, q, *_ = trained
    inside = {n.name: n for n in g.nodes if n.name.startswith(("conv.", "fc."))}
    assert len(inside) > 10 and all(q.node(k).op == n.op for k, n in inside.items())
    quantized = {n.inputs[0]: n.inputs[3:] for n in q.nodes if n.op == "FakeQuantize"}
    assert quantized == {
        "x": (-8, 7),
        "Relu": (0, 15),
        "Relu_1": (0, 15),
        "last.w": (-8, 7),
        "logits.float": (-128, 127),
    }
    assert [layer.name for layer in quant.layers(q)] == ["last"]
    assert [t.node.name for t in analog.layers(q)] == ["conv", "fc"]
    left = quant.convert(g, quant.bits(4, ends=4), exclude="fc")
    assert {n.inputs[0] for n in left.nodes if n.op == "FakeQuantize"} >= {"x", "Relu", "last.w"}


def test_noise_and_bits_train_together(trained):
    g, q, after, history = trained
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    moved = [k for k, v in after.params.items() if not np.array_equal(v, q.params[k])]
    assert {"conv.weight", "fc.weight", "last.w", "Relu.step", "x.step"} <= set(moved)
    assert any(k.endswith("input_range") for k in {**after.params, **after.buffers})
    assert all(np.asarray(v) > 0 for k, v in after.params.items() if k.endswith(".step") and np.size(v) == 1)
    noisy = aj.make_program(after, training=True)
    one, two = (
        noisy.forward(after.params, after.buffers, {"x": rows(8).columns["x"]}, jax.random.key(k))[0]["logits"]
        for k in (0, 1)
    )
    assert not np.array_equal(one, two)


def test_a_file_holds_tiles_and_quantizers(trained, tmp_path):
    *_, after, _ = trained
    path = tmp_path / "mixed.onnx"
    aj.onnxio.write(after, None, str(path))
    back = quant.restored(aj.onnxio.read(str(path)))
    assert [t.node for t in analog.layers(back)] == [t.node for t in analog.layers(after)]
    assert quant.step_names(back) == quant.step_names(after)
    digital = analog.to_digital(after)
    assert digital.count()["FakeQuantize"] == 5 and digital.node("fc").inputs[0] == after.node("last").inputs[
        0
    ].replace("Relu_1.quant", "Flatten")
    with pytest.raises(GraphError, match=r"has analog tiles .conv, fc., which multiply no integers"):
        quant.to_integer(after)
