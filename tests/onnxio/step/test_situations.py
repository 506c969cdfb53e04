"""Models as they are met: each one's step in plain onnxruntime against the compiled step.

SITUATIONS are the 23 in which onnxsim 0.8.1 was tried (it refuses all but the first three).
"""

import jax
import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import aidgejax as aj
from aidgejax import analog, quant
from aidgejax.execution.run import run
from aidgejax.frontends.aihwkit.simulator.configs import TorchInferenceRPUConfig
from aidgejax.onnxio.step.write import step_graph
from aidgejax.passes.lora import lora
from aidgejax.training import optim, schedule
from aidgejax.training.loop import start

from .test_step import Loop, data

ort.set_default_logger_severity(3)
RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.normal(size=shape).astype(np.float32) * 0.4


def model(nodes, x, y, opset=17, dtype=TensorProto.FLOAT, **weights):
    labels = [helper.make_tensor_value_info("label", TensorProto.INT64, [x[0]])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, x), *labels[: any("label" in n.input for n in nodes)]],
        [helper.make_tensor_value_info("y", dtype, y)],
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


def dense(dtype):
    """Two products in a floating-point type of their own."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [node("MatMul", "x w", "h"), node("Tanh", "h", "a"), node("MatMul", "a v", "y")]
    return model(nodes, ["N", 4], ["N", 3], 17, kind, w=array(4, 5).astype(dtype), v=array(5, 3).astype(dtype))


def dropping(training):
    nodes = [node("MatMul", "x w", "h"), node("Dropout", "h ratio training", "a"), node("MatMul", "a v", "y")]
    weights = {"w": array(4, 8), "ratio": np.float32(0.25), "training": np.array(training), "v": array(8, 3)}
    return model(nodes, [6, 4], [6, 3], **weights)


# {situation: its model}; the loss, where it is not in the model, is a cross entropy.
SITUATIONS = {
    "shared weight": lambda: model(
        [node("MatMul", "x w", "h"), node("Tanh", "h", "a"), node("MatMul", "a w", "y")], [3, 3], [3, 3],
        w=array(3, 3),
    ),
    "dropout at inference": lambda: dropping(False),
    "auto_pad": lambda: image([node("Conv", "x w", "h", auto_pad="SAME_UPPER")], w=array(3, 2, 3, 3)),
    "symbolic batch": lambda: unary("Tanh"),
    "batch normalization in training": lambda: image(
        [node("Conv", "x w", "c"), node("BatchNormalization", "c s b m u", "h")], w=array(3, 2, 3, 3),
        s=np.ones(3, "f"), b=np.zeros(3, "f"), m=np.zeros(3, "f"), u=np.ones(3, "f"),
    ),
    "dropout in training": lambda: dropping(True),
    "vector in a product": lambda: model(
        [node("MatMul", "x w", "h"), node("Unsqueeze", "h a", "c"), node("Mul", "c v", "y")], ["N", 4], ["N", 3],
        w=array(4), a=np.array([1]), v=array(3),
    ),
    "pooling with ceil_mode": lambda: image(
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
    "Flatten of an image": lambda: model(
        [node("Conv", "x w", "h"), node("Flatten", "h", "f"), node("MatMul", "f v", "y")], ["N", 2, 4, 4], ["N", 3],
        w=array(2, 2, 3, 3), v=array(8, 3),
    ),
    "Flatten at another axis": lambda: model(
        [node("Transpose", "x", "t", perm=[1, 2, 0]), node("Flatten", "t", "f", axis=2),
         node("Transpose", "f", "b", perm=[1, 0]), node("MatMul", "b v", "y")], ["N", 2, 4], ["N", 3], v=array(8, 3),
    ),
    "LogSoftmax": lambda: unary("LogSoftmax"),
    "Gelu": lambda: unary("Gelu", 20),
    "HardSwish": lambda: unary("HardSwish"),
    "ReduceMax": lambda: model(
        [node("MatMul", "x w", "h"), node("ReduceMax", "h", "m", axes=[1]), node("Add", "h m", "y")], ["N", 4],
        ["N", 3], w=array(4, 3),
    ),
    "SoftmaxCrossEntropyLoss": lambda: model(
        [node("MatMul", "x w", "scores"), node("SoftmaxCrossEntropyLoss", "scores label", "y")], ["N", 4], [],
        w=array(4, 3),
    ),
    "Loop": looped,
    "float16 weights": lambda: dense(np.float16),
    "float64 weights": lambda: dense(np.float64),
}  # fmt: skip
STEPS = {"GRU": 60, "LSTM": 60, "Loop": 60}  # as many as were promised of these, 10 of the others
TOLERANCE = {"float16 weights": 2e-3, "float64 weights": 1e-9}
assert len(SITUATIONS) == 23


@pytest.mark.parametrize("name", SITUATIONS)
def test_its_steps_are_the_compiled_steps(tmp_path, name):
    graph = aj.infer_shapes(aj.onnxio.read(SITUATIONS[name]().SerializeToString()))
    loss = "y" if "Loss" in name else "loss"
    with jax.enable_x64(name == "float64 weights"):
        graph = graph if loss == "y" else aj.infer_shapes(aj.with_loss(graph, "cross_entropy"))
        step = aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.sgd(0.9), loss=loss)
        program = aj.make_program(graph, training=True)
        assert set(step.parameters) == set(program.wrt) and step.parameters
        loop, tolerance = Loop(step), TOLERANCE.get(name, 1e-5)
        if "seed" in step.scalars:
            return draws_as_numpy_does(loop, program.graph)
        compiled = jax.jit(aj.make_step(program, optim.sgd(0.9), schedule.constant(0.0625), loss=loss))
        state = start(program, optim.sgd(0.9), jax.random.key(0))
        for k in range(STEPS.get(name, 10)):
            batch = data(program.graph, step, 3, k)
            found = loop(batch, learning_rate=0.0625)
            state, record = compiled(state, batch)
            np.testing.assert_allclose(found, record["loss"], atol=tolerance)
        for p, w in {**state.params, **state.buffers}.items():
            if p in loop.state:
                np.testing.assert_allclose(loop.state[p], w, atol=tolerance)


def draws_as_numpy_does(loop, graph):
    """A step that draws random numbers: not those of JAX, but the file's own on each runtime; and the loss falls."""
    inside, losses = step_graph(loop.step), []
    batch = {"x": np.abs(data(graph, loop.step, 6)["x"]), "target": np.zeros(6, np.int64)}  # can be learned by heart
    for k in range(30):
        given = {"learning_rate": np.float32(0.0625), "seed": np.int64(3)}
        if k < 5:
            feeds = {**batch, **loop.state, **{n: np.asarray(a) for n, a in given.items()}}
            want = run(inside, feeds, backend="numpy")[inside.outputs.index(loop.step.loss)]
        losses.append(float(loop(batch, **given)))
        if k < 5:
            np.testing.assert_allclose(losses[-1], want, atol=1e-5)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


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
