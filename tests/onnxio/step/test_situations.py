"""Models as they are met: each one's step in plain onnxruntime against the compiled step."""

import jax
import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import aidgejax as aj
from aidgejax import analog, quant
from aidgejax.frontends.aihwkit.simulator.configs import TorchInferenceRPUConfig
from aidgejax.passes.lora import lora
from aidgejax.training import optim, schedule
from aidgejax.training.loop import start

from .test_step import Loop, data

ort.set_default_logger_severity(3)
RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.normal(size=shape).astype(np.float32) * 0.4


def model(nodes, x, y, opset=17, **weights):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def unary(op, opset=17, **attributes):
    nodes = [node("MatMul", "x w", "h"), node(op, "h", "a", **attributes), node("MatMul", "a v", "y")]
    return model(nodes, ["N", 4], ["N", 3], opset, w=array(4, 5), v=array(5, 3))


def recurrent(op, gates):
    how = {"hidden_size": 3, **({"linear_before_reset": 1} if op == "GRU" else {})}
    nodes = [node(op, "x W R B", "all last", **how), node("Squeeze", "last axes", "h"), node("MatMul", "h v", "y")]
    weights = {"W": array(1, gates * 3, 2), "R": array(1, gates * 3, 3), "B": array(1, gates * 6)}
    return model(nodes, [4, 3, 2], [3, 3], axes=np.array([0]), v=array(3, 3), **weights)


def looped():
    body = helper.make_graph(
        [
            node("MatMul", "h w", "m"),
            node("Tanh", "m", "h2"),
            node("Identity", "on", "on2"),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h2", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["count", "", "x"], ["h3"], body=body)
    nodes = [loop, node("MatMul", "h3 v", "y")]
    return model(nodes, ["N", 4], ["N", 3], count=np.array(3), w=array(4, 4), v=array(4, 3))


def image(nodes, channels=3, **weights):
    tail = [node("GlobalAveragePool", "h", "p"), node("Flatten", "p", "f"), node("MatMul", "f v", "y")]
    return model([*nodes, *tail], ["N", 2, 6, 6], ["N", 3], v=array(channels, 3), **weights)


SITUATIONS = {
    "shared weight": lambda: model(
        [node("MatMul", "x w", "h"), node("Tanh", "h", "a"), node("MatMul", "a w", "y")], ["N", 3], ["N", 3],
        w=array(3, 3),
    ),
    "auto_pad": lambda: image([node("Conv", "x w", "h", auto_pad="SAME_UPPER")], w=array(3, 2, 3, 3)),
    "batch normalization": lambda: image(
        [node("Conv", "x w", "c"), node("BatchNormalization", "c s b m u", "h")], w=array(3, 2, 3, 3),
        s=np.ones(3, "f"), b=np.zeros(3, "f"), m=np.zeros(3, "f"), u=np.ones(3, "f"),
    ),
    "vector in a product": lambda: model(
        [node("MatMul", "x w", "h"), node("Unsqueeze", "h a", "c"), node("Mul", "c v", "y")], ["N", 4], ["N", 3],
        w=array(4), a=np.array([1]), v=array(3),
    ),
    "ceil_mode": lambda: image(
        [node("Conv", "x w", "c"), node("MaxPool", "c", "h", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        w=array(3, 2, 2, 2),
    ),
    "transposed convolution": lambda: image([node("ConvTranspose", "x w", "h", strides=[2, 2])], w=array(2, 3, 3, 3)),
    "GRU": lambda: recurrent("GRU", 3),
    "LSTM": lambda: recurrent("LSTM", 4),
    "Pow": lambda: model(
        [node("MatMul", "x w", "h"), node("Pow", "h two", "y")], ["N", 4], ["N", 3], w=array(4, 3), two=np.float32(2)
    ),
    "Max": lambda: model(
        [node("MatMul", "x w", "h"), node("Max", "h v", "y")], ["N", 4], ["N", 3], w=array(4, 3), v=array(3)
    ),
    "LogSoftmax": lambda: unary("LogSoftmax"),
    "Gelu": lambda: unary("Gelu", 20),
    "HardSwish": lambda: unary("HardSwish"),
    "ReduceMax": lambda: model(
        [node("MatMul", "x w", "h"), node("ReduceMax", "h", "m", axes=[1]), node("Add", "h m", "y")], ["N", 4],
        ["N", 3], w=array(4, 3),
    ),
    "Loop": looped,
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_ten_steps_are_the_compiled_steps(tmp_path, name):
    graph = aj.onnxio.read(SITUATIONS[name]().SerializeToString())
    graph = aj.infer_shapes(aj.with_loss(aj.infer_shapes(graph), "cross_entropy"))
    rule = optim.sgd(0.9)
    step = aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=rule)
    program = aj.make_program(graph, training=True)
    compiled = jax.jit(aj.make_step(program, rule, schedule.constant(0.05)))
    state, loop = start(program, rule, jax.random.key(0)), Loop(step)
    for k in range(10):
        batch = data(program.graph, step, 3, k)
        loss = loop(batch, learning_rate=0.05)
        state, record = compiled(state, batch)
        np.testing.assert_allclose(loss, record["loss"], atol=1e-5)
    assert set(step.parameters) == set(program.wrt)


def quantized():
    g = aj.Graph("quantized")
    x, w = g.input("x", ("N", 4)), g.parameter("w", array(4, 3))
    scale = g.parameter("scale", np.array(0.05, np.float32))
    zero = g.constant("zero", np.array(0, np.int8))
    whole = g.op.QuantizeLinear(w, scale, zero)
    g.output(g.op.MatMul(x, g.op.DequantizeLinear(whole, scale, zero)))
    return g


def same_as_compiled(graph, path, rule, steps=5, **how):
    graph = aj.infer_shapes(aj.with_loss(aj.infer_shapes(graph), "cross_entropy"))
    step = aj.onnxio.write_step(graph, None, path, optimizer=rule)
    program = aj.make_program(graph, training=True)
    compiled = jax.jit(aj.make_step(program, rule, schedule.constant(0.05)))
    state, loop = start(program, rule, jax.random.key(0)), Loop(step)
    for k in range(steps):
        batch = data(program.graph, step, 4, k)
        given = {"learning_rate": 0.05, "seed": 0}
        loss = loop(batch, **{n: given[n] for n in step.scalars})
        state, record = compiled(state, batch)
        np.testing.assert_allclose(loss, record["loss"], **(how or {"atol": 1e-5}))
    return loop, state


def test_adapters_train_beside_weights_that_stay(tmp_path):
    graph = lora(aj.infer_shapes(aj.zoo.mlp(sizes=(8, 6, 3))), 2)
    loop, _ = same_as_compiled(graph, tmp_path / "s.onnx", optim.adam())
    assert all("lora" in p for p in loop.step.parameters)


def test_fake_quantization_trains_with_its_steps(tmp_path):
    graph = quant.convert(aj.zoo.mlp(sizes=(8, 6, 3)))
    graph = quant.calibrate(graph, [{"x": RNG.normal(size=(16, 8)).astype(np.float32)}])
    loop, state = same_as_compiled(graph, tmp_path / "s.onnx", optim.sgd())
    for p, v in state.params.items():
        np.testing.assert_allclose(loop.state[p], v, atol=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.06])
def test_an_analog_model_trains_with_its_clipped_weights(tmp_path, noise):
    config = TorchInferenceRPUConfig()
    config.forward.out_noise = noise
    config.forward.inp_noise = 0.0
    graph = analog.convert_to_analog(aj.zoo.mlp(sizes=(8, 6, 3)), config)
    rule = analog.with_post_update(optim.sgd(), graph)
    how = {"atol": 0.7} if noise else {"atol": 1e-5}  # the noise of a file is not that of JAX
    loop, _ = same_as_compiled(graph, tmp_path / "s.onnx", rule, **how)
    assert ("seed" in loop.step.scalars) == bool(noise)


def test_a_quantized_model_trains_on_the_device(tmp_path):
    graph = aj.infer_shapes(aj.with_loss(aj.infer_shapes(quantized()), "cross_entropy"))
    step = aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.sgd(), train=["w"])
    program = aj.make_program(graph, training=True, wrt=["w"])
    compiled = jax.jit(aj.make_step(program, optim.sgd(), schedule.constant(0.1)))
    state, loop = start(program, optim.sgd(), jax.random.key(0)), Loop(step)
    for k in range(5):
        batch = data(program.graph, step, 6, k)
        loss = loop(batch, learning_rate=0.1)
        state, record = compiled(state, batch)
        np.testing.assert_allclose(loss, record["loss"], atol=1e-5)
