"""Convolutions of many channels in artifacts: products tap by tap, and the turned kernel."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import aidgejax as aj
from aidgejax.onnxio.artifacts.generate import write_artifacts

CONVS = [  # (outputs, kernel, attributes); all but the first have 16 channels or more on both sides
    (16, (1, 1), {}),
    (17, (3, 2), {"pads": [1, 0, 0, 1], "dilations": [1, 2]}),
    (18, (3, 3), {"strides": [2, 1], "pads": [0, 1, 2, 1]}),
    (16, (2, 3), {"auto_pad": "SAME_UPPER"}),
    (16, (4, 3), {"pads": [1, 1, 1, 1]}),  # more taps than are written one by one
    (16, (2, 2), {"pads": [2, 0, 0, 0]}),  # padded beyond the kernel: no turned kernel
]


def test_gradients_are_those_of_the_core(tmp_path):
    rng, channels = np.random.default_rng(0), 3
    nodes, params = [], {}
    for k, (outputs, kernel, attributes) in enumerate(CONVS):
        shape = (outputs, channels, *kernel)
        params[f"w{k}"] = (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype("f")
        nodes.append(helper.make_node("Conv", [f"h{k}", f"w{k}"], [f"h{k + 1}"], **attributes))
        channels = outputs
    last = f"h{len(CONVS)}"
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("h0", TensorProto.FLOAT, ["N", 3, 9, 8])],
        [info(last, TensorProto.FLOAT, ["N", 16, None, None])],
        [numpy_helper.from_array(w, name) for name, w in params.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    write_artifacts(tmp_path / "m.onnx", tmp_path, loss="MSELoss")
    written = [n.op_type for n in onnx.load(tmp_path / "training_model.onnx").graph.node]
    assert written.count("MatMul") == 1 + 6 + 9 + 6 + 4  # one for each tap of those that have at most nine
    assert written.count("ConvTranspose") == 2  # strided; padded beyond the kernel

    read = aj.onnxio.read(tmp_path / "m.onnx")
    x = rng.normal(size=(2, 3, 9, 8)).astype("f")
    batch = {"h0": x, "target": rng.normal(size=aj.run(read, {"h0": x})[0].shape).astype("f")}
    program = aj.make_program(aj.with_loss(read, "mse"), training=True)
    _, saved, _ = program.forward(params, {}, batch, None)
    wanted = program.backward(params, saved, {"loss": 1.0})
    session = ort.InferenceSession(tmp_path / "training_model.onnx")
    feeds = batch | params | {f"{p}_grad.accumulation.buffer": np.zeros_like(w) for p, w in params.items()}
    found = session.run([f"{p}_grad.accumulation.out" for p in params], feeds | {"lazy_reset_grad": np.ones(1, bool)})
    for p, g in zip(params, found, strict=True):
        np.testing.assert_allclose(g, wanted[p], rtol=1e-4, atol=1e-6)
