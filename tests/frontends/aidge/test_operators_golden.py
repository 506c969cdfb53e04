"""Every operator case that the real Aidge computed, built as users build it, on both backends."""

import numpy as np
import pytest

from aidgejax.frontends import aidge_core as ac

from ._golden import BACKENDS, CLOSE, array, cases

# What the recorded `attrs` leave unsaid, and the inputs decide.
UNSAID = {
    "MaxPooling1D": {"kernel_dims": [2], "stride_dims": [2]},
    "AvgPooling1D": {"kernel_dims": [2], "stride_dims": [2]},
    "MaxPooling2D_ties": {"kernel_dims": [2, 2], "stride_dims": [2, 2]},
    "Resize_nearest": {"scale": [1, 1, 2, 2], "interpolation_mode": "floor"},
    "GridSample": {"mode": "linear", "padding_mode": "zeros", "align_corners": False},
    "Cast": {"target_type": ac.dtype.float64},
    "Hardmax": {"axis": 1},
    "Unfold2D": {"kernel_dims": [2, 2]},
    "Max_tie": {"nb_inputs": 2},
    "Min_tie": {"nb_inputs": 2},
    "Max_tie3": {"nb_inputs": 3},
}
DROPPED = ("bias", "in_channels", "out_channels", "no_bias")
# Gradients that Aidge has wrong (known_bug) are compared with the mathematical derivative.
DERIVATIVE = {
    "Sin": lambda x, g: np.cos(x) * g,
    "Cos": lambda x, g: -np.sin(x) * g,
    "Tan": lambda x, g: g / np.cos(x) ** 2,
    "Sinh": lambda x, g: np.cosh(x) * g,
    "Cosh": lambda x, g: np.sinh(x) * g,
    "Atan": lambda x, g: g / (1 + x * x),
    "LeakyReLU": lambda x, g: np.where(x > 0, g, 0.1 * g),
    "Sum": lambda x, g: g,
}
# Aidge's linear GridSample gives each pixel the weight of the opposite one, negated.  By ONNX's formula:
RIGHT_VALUE = {"GridSample": [[[[-0.6000437, -0.4756452], [-0.0868106, -0.6145333]]]]}
ALL = [*cases("operators"), *cases("operators_boundary")]


def build(case):
    attrs = {k: v for k, v in case["attrs"].items() if k not in DROPPED} | UNSAID.get(case["name"], {})
    kind = case["op"]
    if kind == "BatchNorm2D" or f"{kind}Op" not in ac.__all__:
        attrs.pop("nb_features", None)
    if kind in ("Softmax", "LogSoftmax") and "axis" not in attrs:
        attrs["axis"] = 1
    node = ac.Node(getattr(ac, f"{kind}Op")(**attrs), "node")
    for k, stored in enumerate(case["inputs"]):
        ac.Producer(ac.Tensor(array(stored)), f"x{k}").add_child(node, 0, k)
    return node


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ALL, ids=lambda c: c["name"])
def test_operator(case, backend):
    node = build(case)
    graph = ac.get_connected_graph_view(node)
    graph.set_backend(backend)
    scheduler = ac.SequentialScheduler(graph)
    scheduler.forward()
    outputs = [node.get_operator().get_output(k) for k in range(len(case["outputs"]))]
    for found, want in zip(outputs, map(array, case["outputs"]), strict=True):
        want = np.asarray(RIGHT_VALUE.get(case["name"], want), want.dtype)
        np.testing.assert_allclose(np.array(found), want, **CLOSE)
        assert np.array(found).dtype == want.dtype
    if not case.get("output_grads"):
        return
    dy = array(case["output_grads"][0])
    for k, g in enumerate(dy.ravel()):
        outputs[0].grad[k] = float(g)
    scheduler.backward()
    for k, stored in enumerate(case["input_grads"]):
        x = array(case["inputs"][k])
        if stored is None:
            continue
        want = DERIVATIVE[case["op"]](x, dy) if case.get("known_bug") else array(stored)
        if case["name"] == "Pow_zero" and k == 1:
            want = np.where(x == 2.0, [[0.0, 0.0, np.nan]], want)  # d 0**e / de is 0 for e > 0, not NaN
        found = np.array(node.get_parent(k).get_operator().get_output(0).grad)
        np.testing.assert_allclose(found, want, **CLOSE)
