"""Models as other converters write them, from the shell: what is trained, and artifacts that onnxruntime runs."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from aidgejax.cli.main import main

f = np.float32
rng = np.random.default_rng(0)


def stored(*shape):
    return (rng.normal(size=shape) / 3).astype(f)


def save(path, nodes, inputs, outputs, tensors, opset=17):
    ends = [[h.make_tensor_value_info(n, t, s) for n, t, s in group] for group in (inputs, outputs)]
    graph = h.make_graph(nodes, "g", *ends, [nh.from_array(np.asarray(a), n) for n, a in tensors.items()])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8), path)
    return str(path)


def training_step(folder, feeds):
    """(loss, {parameter: gradient}) of the artifacts."""
    session = onnxruntime.InferenceSession(str(folder / "training_model.onnx"))
    zeros = {i.name: np.zeros(i.shape, f) for i in session.get_inputs() if i.name.endswith("_grad.accumulation.buffer")}
    loss, *grads = session.run(None, {**feeds, **zeros, "lazy_reset_grad": np.array([True])})
    return loss, {name.removesuffix("_grad.accumulation.buffer"): g for name, g in zip(zeros, grads, strict=True)}


def test_token_ids_of_32_bits(tmp_path):
    """tf2onnx: Gather into a table, the mean of the words, a dense layer."""
    tensors = {"table": stored(9, 4), "kernel": stored(4, 3)}
    nodes = [
        h.make_node("Gather", ["table", "ids"], ["words"]),
        h.make_node("ReduceMean", ["words"], ["mean"], axes=[1], keepdims=0),
        h.make_node("MatMul", ["mean", "kernel"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, [("ids", T.INT32, ["N", 5])], [("y", T.FLOAT, ["N", 3])], tensors)
    assert main(["artifacts", path, "--loss", "CrossEntropyLoss", "--out", str(tmp_path / "a")]) == 0
    ids, labels = rng.integers(0, 9, (6, 5)).astype(np.int32), rng.integers(0, 3, 6)
    loss, grads = training_step(tmp_path / "a", {**tensors, "ids": ids, "labels": labels})
    scores = tensors["table"][ids].mean(1) @ tensors["kernel"]
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(loss, -np.log(p[np.arange(6), labels]).mean(), rtol=1e-5)
    d = (p - np.eye(3)[labels]) / 6 @ tensors["kernel"].T / 5
    wanted = np.zeros((9, 4))
    np.add.at(wanted, ids, d[:, None])
    np.testing.assert_allclose(grads["table"], wanted, atol=1e-6)


def test_a_hard_sigmoid_that_is_written_out_is_no_bias(tmp_path, capsys):
    """Clip(conv + 3, 0, 6) / 6 behind a kernel of 1 x 1."""
    nodes = [
        h.make_node("GlobalAveragePool", ["x"], ["p"]),
        h.make_node("Conv", ["p", "squeeze"], ["q"]),
        h.make_node("Add", ["q", "three"], ["r"]),
        h.make_node("Clip", ["r", "low", "high"], ["s"]),
        h.make_node("Div", ["s", "six"], ["gate"]),
        h.make_node("Mul", ["x", "gate"], ["y"]),
    ]
    tensors = {"squeeze": stored(4, 4, 1, 1), "three": f(3), "low": f(0), "high": f(6), "six": f(6)}
    size = ["N", 4, 5, 5]
    path = save(tmp_path / "m.onnx", nodes, [("x", T.FLOAT, size)], [("y", T.FLOAT, size)], tensors)
    assert main(["inspect", path]) == 0
    assert "trained: squeeze\nleft alone: three, six (is one number" in capsys.readouterr().out


def test_artifacts_of_pixels_take_one_class_for_each(tmp_path):
    tensors = {"kernel": stored(5, 3, 1, 1)}
    nodes = [h.make_node("Conv", ["x", "kernel"], ["y"])]
    ends = [("x", T.FLOAT, ["N", 3, "H", "W"])], [("y", T.FLOAT, ["N", 5, "H", "W"])]
    path = save(tmp_path / "m.onnx", nodes, *ends, tensors)
    assert main(["artifacts", path, "--loss", "CrossEntropyLoss", "--out", str(tmp_path / "a")]) == 0
    x, labels = stored(2, 3, 4, 6), rng.integers(0, 5, (2, 4, 6))
    loss, _ = training_step(tmp_path / "a", {**tensors, "x": x, "labels": labels})
    scores = np.einsum("oc,nchw->nohw", tensors["kernel"][:, :, 0, 0], x)
    logp = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(loss, -np.take_along_axis(logp, labels[:, None], 1).mean(), rtol=1e-5)


@pytest.mark.parametrize("loss", ["MSELoss", "CrossEntropyLoss"])
def test_artifacts_that_would_train_nothing_are_refused(tmp_path, capsys, loss):
    nodes = [h.make_node("DequantizeLinear", ["q", "s"], ["w"]), h.make_node("MatMul", ["x", "w"], ["y"])]
    tensors = {"q": rng.integers(-9, 9, (4, 3)).astype(np.int8), "s": f(0.1)}
    path = save(tmp_path / "m.onnx", nodes, [("x", T.FLOAT, ["N", 4])], [("y", T.FLOAT, ["N", 3])], tensors)
    assert main(["artifacts", path, "--loss", loss, "--out", str(tmp_path / "a")]) == 1
    assert "has no parameter to train: its weights are integers: 'q' (int8)" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_predictions_have_the_dtypes_of_the_model(tmp_path):
    nodes = [h.make_node("MatMul", ["x", "w"], ["y"]), h.make_node("ArgMax", ["y"], ["class"], axis=1, keepdims=0)]
    outputs = [("class", T.INT64, ["N"]), ("y", T.FLOAT, ["N", 3])]
    path = save(tmp_path / "m.onnx", nodes, [("x", T.FLOAT, ["N", 4])], outputs, {"w": stored(4, 3)})
    np.savez(tmp_path / "d.npz", x=stored(7, 4))
    assert main(["predict", path, str(tmp_path / "d.npz"), "--out", str(tmp_path / "p.npz")]) == 0
    assert {k: v.dtype.name for k, v in np.load(tmp_path / "p.npz").items()} == {"class": "int64", "y": "float32"}
