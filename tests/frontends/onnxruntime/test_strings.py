"""Strings in a model that is trained: they are looked up before a step, or pass through, and never reach JAX."""

import gc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aidgejax.frontends.onnxruntime.training import onnxblock
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module


def model():
    """y = x w + price[word]; the words themselves come out again (and `note`, which no node reads, of the block)."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Reshape", ["words", "flat"], ["row"]),
        helper.make_node("LabelEncoder", ["row"], ["price"], domain="ai.onnx.ml", keys_strings=["pear", "fig"],
                         values_floats=[2.0, 3.0], default_float=-1.0),
        helper.make_node("Reshape", ["price", "column"], ["prices"]),
        helper.make_node("Add", ["h", "prices"], ["y"]),
        helper.make_node("Identity", ["words"], ["echo"]),
    ]  # fmt: skip
    info = helper.make_tensor_value_info
    inputs = [info("note", TensorProto.STRING, ["K"]), info("x", TensorProto.FLOAT, ["N", 2])]
    inputs.append(info("words", TensorProto.STRING, ["N", 1]))
    outputs = [info("y", TensorProto.FLOAT, ["N", 1]), info("echo", TensorProto.STRING, ["N", 1])]
    stored = {"w": np.ones((2, 1), np.float32), "flat": np.array([-1]), "column": np.array([-1, 1])}
    body = helper.make_graph(
        nodes, "words", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in stored.items()]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(body, opset_imports=opsets, ir_version=8)


class Echoing(onnxblock.TrainingBlock):
    def __init__(self):
        super().__init__()
        self.loss, self.echo = onnxblock.loss.MSELoss(), onnxblock.blocks.PassThrough()

    def build(self, y, words, note):
        return self.loss(y), self.echo(words), self.echo(note)


def module(tmp_path):
    block = Echoing()
    block.requires_grad("w")
    with onnxblock.base(model()):
        block("y", "echo", "note")
        parameters = block.parameters()
    for name, proto in zip(("train", "eval"), block.to_model_proto(), strict=True):
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, tmp_path / f"{name}.onnx")
    onnxblock.save_checkpoint(parameters, tmp_path / "checkpoint")
    state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
    return Module(tmp_path / "train.onnx", state, tmp_path / "eval.onnx")


def test_words_are_looked_up_and_pass_through(tmp_path):
    m = module(tmp_path)
    assert m.input_names() == ["note", "x", "words", "target"]
    x, target = np.array([[1, 2], [3, 4], [5, 6]], np.float32), np.zeros((3, 1), np.float32)
    words, note = np.array([["fig"], ["plum"], ["pear"]]), np.array(["read by nobody"])
    y = x.sum(1, keepdims=True) + np.array([[3.0], [-1.0], [2.0]])
    for mode in (True, False):
        m.train(mode)
        loss, echo, again = m(note, x, words, target)
        np.testing.assert_allclose(loss, np.mean(y**2), rtol=1e-6)
        assert echo.tolist() == words.tolist() and again.tolist() == note.tolist()
    m.train()
    m(note, x, words, target)
    np.testing.assert_allclose(m._state.parameters["w"].grad, 2 * 2 * x.T @ y / 3, rtol=1e-6)  # two calls added up


def test_what_an_ortvalue_shows_outlives_it(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    m = module(tmp_path)
    vector = m.get_contiguous_parameters().numpy()  # the OrtValue itself is gone here
    x = onnxruntime.OrtValue.ortvalue_from_numpy(np.ones((1, 2), np.float32))
    loss = m(np.array(["-"]), x, np.array([["fig"]]), np.full((1, 1), 5, np.float32))[0].numpy()
    gc.collect()
    filler = np.full(1000, 7, np.float32)
    assert vector.tolist() == [1, 1] and float(loss) == 0 and filler[0] == 7
