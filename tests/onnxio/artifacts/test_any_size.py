"""Artifacts of fully convolutional models: height and width are symbols."""

import jax
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from aidgejax.errors import AidgeJaxError
from aidgejax.onnxio.artifacts.generate import write_artifacts

W1 = np.eye(4, dtype="f").reshape(4, 4, 1, 1)


def written(folder, weight, **attributes):
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1"], ["h"]),
            helper.make_node("Conv", ["h", "w2"], ["y"], **attributes),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", weight.shape[0], "A", "B"])],
        [
            numpy_helper.from_array(np.eye(4, dtype="f").reshape(4, 4, 1, 1), "w1"),
            numpy_helper.from_array(weight, "w2"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    write_artifacts(folder / "m.onnx", folder, loss="MSELoss")
    return ort.InferenceSession(folder / "training_model.onnx")


@pytest.mark.parametrize(
    ("group", "attributes"),
    [
        (1, {"pads": [1, 1, 1, 1]}),
        (1, {"strides": [2, 3], "pads": [1, 0, 0, 2]}),
        (2, {"strides": [2, 2], "dilations": [2, 1]}),
    ],
)
def test_gradients_at_two_sizes(tmp_path, group, attributes):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(6, 4 // group, 3, 2)).astype(np.float32)
    session = written(tmp_path, w, group=group, **attributes)
    pads = attributes.get("pads", [0] * 4)

    def conv(x, w1, w2):
        return jax.lax.conv_general_dilated(
            jax.lax.conv(x, w1, (1, 1), "VALID"),
            w2,
            attributes.get("strides", (1, 1)),
            ((pads[0], pads[2]), (pads[1], pads[3])),
            rhs_dilation=attributes.get("dilations", (1, 1)),
            feature_group_count=group,
        )

    w1 = W1
    for size in ((7, 8), (10, 9)):
        x = rng.normal(size=(2, 4, *size)).astype(np.float32)
        t = rng.normal(size=conv(x, w1, w).shape).astype(np.float32)
        feeds = {"x": x, "target": t, "w1": w1, "w2": w, "lazy_reset_grad": np.ones(1, bool)}
        feeds |= {f"{p}_grad.accumulation.buffer": np.zeros_like(feeds[p]) for p in ("w1", "w2")}
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))
        want = jax.grad(lambda a, b: ((conv(x, a, b) - t) ** 2).mean(), (0, 1))(w1, w)  # noqa: B023
        for p, g in zip(("w1", "w2"), want, strict=True):
            np.testing.assert_allclose(found[f"{p}_grad.accumulation.out"], g, rtol=1e-4, atol=1e-5)


def test_padding_that_depends_on_the_size_is_refused_by_name(tmp_path):
    with pytest.raises(AidgeJaxError, match=r"ConvGrad(Weight|Input).*auto_pad=SAME_UPPER"):
        written(tmp_path, np.ones((2, 4, 3, 3), np.float32), auto_pad="SAME_UPPER")
