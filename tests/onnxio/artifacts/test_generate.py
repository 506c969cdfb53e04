"""Artifacts without a front end: every optimizer, every dtype, in plain onnxruntime."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import aidgejax as aj
from aidgejax.errors import AidgeJaxError, SettingError
from aidgejax.onnxio.artifacts.generate import write_artifacts
from aidgejax.training import optim


def linear(dtype=np.float32, weight_as_node=False):
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    w = numpy_helper.from_array(np.linspace(-1, 1, 6).reshape(3, 2).astype(dtype), "w")
    nodes = [helper.make_node("Constant", [], ["w"], value=w)] if weight_as_node else []
    graph = helper.make_graph(
        [*nodes, helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", code, ["N", 3])],
        [helper.make_tensor_value_info("y", code, ["N", 2])],
        [] if weight_as_node else [w],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def made(tmp_path, model, **how):
    onnx.save(model, tmp_path / "m.onnx")
    write_artifacts(tmp_path / "m.onnx", tmp_path, loss="MSELoss", **how)
    return tmp_path


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", "clipped"])
def test_three_updates_in_onnxruntime_are_the_optimizers(tmp_path, name):
    rule = {
        "momentum": optim.sgd(0.9, nesterov=True),
        "clipped": optim.clipped(optim.adam(weight_decay=0.1), 0.1),
    }.get(name) or getattr(optim, name)()
    folder = made(tmp_path, linear(), optimizer=rule)
    session = ort.InferenceSession(folder / "optimizer_model.onnx")
    params = {"w": np.linspace(-1, 1, 6).reshape(3, 2).astype(np.float32)}
    state = rule.init(params)
    feeds = {i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs() if i.type == "tensor(float)"}
    feeds |= {"w": params["w"], "learning_rate": np.array(0.1, np.float32), "step": np.ones(1, np.int64)}
    for k in range(3):
        g = np.cos(np.arange(6) + k).reshape(3, 2).astype(np.float32)
        params, state = rule.update(params, {"w": g}, state, 0.1)
        found = session.run(None, feeds | {"w_grad": g})
        for o, value in zip(session.get_outputs(), found, strict=True):
            feeds[o.name.removesuffix("_out")] = value
        assert o.name == "step_out"
        np.testing.assert_allclose(feeds["w"], params["w"], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_of_another_width_have_an_optimizer(tmp_path, dtype):
    folder = made(tmp_path, linear(dtype), optimizer=optim.adam())
    session = ort.InferenceSession(folder / "optimizer_model.onnx")
    feeds = {i.name: np.zeros(i.shape, _numpy(i.type)) for i in session.get_inputs()}
    feeds |= {"w": np.ones((3, 2), dtype), "w_grad": np.ones((3, 2), dtype), "learning_rate": np.array(0.5, np.float32)}
    w = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))["w_out"]
    assert w.dtype == dtype
    np.testing.assert_allclose(w, 0.5, rtol=1e-3)


def _numpy(kind):
    return {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
            "tensor(int64)": np.int64}[kind]  # fmt: skip


def test_a_weight_in_a_constant_node_becomes_an_input(tmp_path):
    folder = made(tmp_path, linear(weight_as_node=True), trainable=["w"])
    session = ort.InferenceSession(folder / "training_model.onnx")
    assert "w" in [i.name for i in session.get_inputs()]


def test_operators_of_an_optimized_file_are_read_as_the_core_reads_them(tmp_path):
    graph = helper.make_graph(
        [
            helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["n"], axis=-1, epsilon=1e-6),
            helper.make_node("MatMul", ["n", "w"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(np.ones(4, np.float32), "g"), numpy_helper.from_array(np.eye(4, dtype="f"), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    folder = made(tmp_path, model)
    session = ort.InferenceSession(folder / "training_model.onnx")
    x, t = np.arange(8, dtype=np.float32).reshape(2, 4), np.ones((2, 4), np.float32)
    given = {"x": x, "target": t, "g": np.ones(4, "f"), "w": np.eye(4, dtype="f"), "lazy_reset_grad": np.ones(1, bool)}
    given |= {f"{p}_grad.accumulation.buffer": np.zeros_like(given[p]) for p in "gw"}
    normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(session.run(["loss"] if _has(session, "loss") else None, given)[0],
                               ((normed - t) ** 2).mean(), rtol=1e-5)  # fmt: skip


def _has(session, name):
    return name in [o.name for o in session.get_outputs()]


def test_a_running_statistic_is_sent_to_the_frozen_ones(tmp_path):
    aj.onnxio.write(aj.zoo.resnet8(), None, tmp_path / "m.onnx")
    statistic = next(iter(aj.onnxio.read(tmp_path / "m.onnx").buffers))
    with pytest.raises(AidgeJaxError, match="running statistic.*frozen_params"):
        write_artifacts(tmp_path / "m.onnx", tmp_path, loss="MSELoss", trainable=[statistic])


def test_bad_settings_are_named_and_nothing_is_written(tmp_path):
    onnx.save(linear(), tmp_path / "m.onnx")
    for how in ({"loss": "Hinge"}, {"loss": "MSELoss", "runtime": "tflite"}):
        with pytest.raises(SettingError, match="expected one of"):
            write_artifacts(tmp_path / "m.onnx", tmp_path, **how)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_loss_that_begins_with_what_the_model_ends_with_says_so(tmp_path):
    graph = aj.Graph("ends")
    scores = graph.op.MatMul(graph.input("x", ("N", 3)), graph.parameter("w", np.eye(3, dtype=np.float32)), name="z")
    graph.output(graph.op.Softmax(scores, axis=1, name="prob"))
    aj.onnxio.write(aj.infer_shapes(graph), None, tmp_path / "m.onnx")
    with pytest.warns(UserWarning, match="'prob' is written by Softmax: it is applied twice, as ONNX Runtime does"):
        write_artifacts(tmp_path / "m.onnx", tmp_path, loss="CrossEntropyLoss")
