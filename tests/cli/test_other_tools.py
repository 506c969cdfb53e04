"""Models as other tools write them (tests/onnxio/files), fine-tuned from the shell with one command each."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aidgejax.cli.main import main

FILES = Path(__file__).parent.parent / "onnxio" / "files"
RNG = np.random.default_rng(0)
TABLE = RNG.normal(3, 2, size=(120, 4)).astype(np.float32)
CLASSES = (TABLE[:, 0] + TABLE[:, 1] > 6).astype(int) + (TABLE[:, 2] > 4)
IMAGES = RNG.normal(size=(64, 1, 8, 8)).astype(np.float32)
OF_IMAGES = (IMAGES.mean((1, 2, 3)) > 0).astype(int) + (IMAGES[:, 0, 0, 0] > 0)
WORDS = RNG.integers(0, 20, (64, 7))


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32) * 0.3


def as_tf2onnx():
    """Keras' network as tf2onnx writes it: NHWC outside, Transposes around what is NCHW, Softmax at the end."""
    node = helper.make_node
    tensors = {"k": normal(4, 1, 3, 3), "b": normal(4), "d": normal(64, 3), "e": normal(3), "shape": np.array([-1, 64])}
    graph = helper.make_graph(
        [
            node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
            node("Conv", ["t", "k", "b"], ["c"], auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 3]),
            node("Relu", ["c"], ["r"]),
            node("Transpose", ["r"], ["back"], perm=[0, 2, 3, 1]),
            node("Reshape", ["back", "shape"], ["flat"]),
            node("MatMul", ["flat", "d"], ["m"]),
            node("Add", ["m", "e"], ["z"]),
            node("Softmax", ["z"], ["y"], axis=-1),
        ],
        "tf2onnx",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["unk__1", 8, 8, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["unk__2", 3])],
        [numpy_helper.from_array(a, k) for k, a in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def quantized(folder):
    """What onnxruntime's quantize_static makes of it, per channel."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Data(quantization.CalibrationDataReader):
        rows = iter([{"x": IMAGES[k : k + 1].transpose(0, 2, 3, 1)} for k in range(4)])

        def get_next(self):
            return next(self.rows, None)

    onnx.save(as_tf2onnx(), folder / "f.onnx")
    quantization.quantize_static(folder / "f.onnx", folder / "q.onnx", Data(), per_channel=True)
    return onnx.load(folder / "q.onnx")


# {what it is: (the model, x, y, further arguments, what is printed)}
CASES = {
    "torch dynamo": ("cnn_dynamo", IMAGES, OF_IMAGES, [], "batch: the file has a fixed batch of 1, read as 'N'"),
    "torch script": ("cnn_script_train", IMAGES, OF_IMAGES, [], "(is a running statistic)"),
    "torch attention": ("mha_script", WORDS, WORDS[:, 0] % 3, [], "size: ids[1] is 7 (node /t/self_attn/Reshape_4"),
    "tf2onnx": (as_tf2onnx, IMAGES.transpose(0, 2, 3, 1), OF_IMAGES, [], "the scores before Softmax 'y'"),
    "skl2onnx": ("skl_mlp", TABLE, CLASSES, [], "the scores before Softmax 'output_probability'"),
    "skl2onnx binary": ("skl_binary", TABLE, CLASSES > 0, [], "bce_logits on add_result1, the logits before Sigmoid"),
    "skl2onnx logistic": ("skl_logistic", TABLE, CLASSES, [], "the scores before Softmax 'output_probability'"),
    "quantize_static": (
        quantized,
        IMAGES.transpose(0, 2, 3, 1),
        OF_IMAGES,
        ["--float-weights"],
        "trained: k_quantized",
    ),
}


IN_EVERY_RUN = ("torch dynamo", "skl2onnx binary", "quantize_static")


@pytest.mark.parametrize(
    "kind", [k if k in IN_EVERY_RUN else pytest.param(k, marks=pytest.mark.slow) for k in CASES], ids=list(CASES)
)
def test_one_command_is_enough(kind, tmp_path, capsys):
    made, x, y, more, said = CASES[kind]
    path = FILES / f"{made}.onnx" if isinstance(made, str) else tmp_path / "m.onnx"
    if not isinstance(made, str):
        onnx.save(made(tmp_path) if made is quantized else made(), path)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    command = ["train", "--model", str(path), "--data", str(tmp_path / "d.npz"), "--out", str(tmp_path / "run")]
    assert main([*command, "--epochs", "3", "--batch-size", "16", "--lr", "0.02", "--cache", "off", *more]) == 0
    printed = capsys.readouterr().out
    assert said in printed and printed.splitlines()[-1].startswith("test accuracy ")
    losses = np.genfromtxt(tmp_path / "run/history.csv", delimiter=",", names=True)["loss"]
    assert np.isfinite(losses).all() and losses[3:].min() < losses[0]
    written = onnx.load(tmp_path / "run/model.onnx")
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(tmp_path / "run/model.onnx"), providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x[:1]}
    assert session.run(None, feed) and written.graph.node


def test_a_length_that_an_export_hard_coded_is_named_with_its_cure(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", ids=np.zeros((20, 9), int), y=np.arange(20) % 3)
    command = ["train", "--model", str(FILES / "mha_script.onnx"), "--data", str(tmp_path / "d.npz")]
    assert main([*command, "--out", str(tmp_path / "run")]) == 1
    printed = capsys.readouterr().err
    assert "ids:int64[N, 7]: got an array of shape" in printed and "ids[1] is 7 (node /t/self_attn/Reshape_4" in printed
    assert "export the model again with dynamic shapes" in printed
