"""Steps in the operators of a target, and what is outside of one."""

import numpy as np
import onnxruntime as ort
import pytest

import aidgejax as aj
from aidgejax import quant
from aidgejax.errors import SettingError
from aidgejax.onnxio import Target, outside
from aidgejax.onnxio.step.targets import TARGETS, reason_against, target_named
from aidgejax.onnxio.step.write import make_step, to_model
from aidgejax.training import optim

ort.set_default_logger_severity(3)


def pooled(kernel=2, stride=2, pads=0, group=1):
    """A convolution, a pooling and a product, on images in which maxima are tied."""
    rng = np.random.default_rng(0)
    g = aj.Graph("pooled")
    x = g.input("x", ("N", 2, 6, 7))
    w = g.parameter("w", rng.normal(size=(4, 2 // group, 3, 3)).astype(np.float32))
    h = g.op.Conv(x, w, kernel_shape=(3, 3), pads=(1, 1, 1, 1), strides=(1, 1), group=group)
    h = g.op.Relu(h)
    h = g.op.MaxPool(h, kernel_shape=(kernel, kernel), strides=(stride, stride), pads=(pads,) * 4)
    h = g.op.ReduceMean(h, (2, 3), keepdims=0)
    v = g.parameter("v", rng.normal(size=(4, 3)).astype(np.float32))
    g.output(g.op.MatMul(h, v))
    return g


def gathered():
    g = aj.Graph("gathered")
    ids, e = g.input("ids", ("N", 5), "int64"), g.parameter("e", np.linspace(-1, 1, 21).reshape(7, 3).astype("f"))
    g.output(g.op.ReduceMean(g.op.Tanh(g.op.Gather(e, ids)), (1,), keepdims=0))
    return g


def results(step, model, rows=5):
    rng = np.random.default_rng(1)
    feeds = {**step.initial, "learning_rate": np.array(0.1, np.float32)}
    for name in step.batch:
        v = step.graph.value(name)
        shape = tuple(rows if isinstance(d, str) else d for d in v.shape)
        feeds[name] = (rng.integers(0, 3, shape) if "int" in v.dtype else rng.normal(size=shape)).astype(v.dtype)
    session = ort.InferenceSession(model.SerializeToString())
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "graph",
    [pooled(), pooled(3, 2, 1), pooled(2, 1, 0, 2), gathered()],
    ids=["tiles", "overlapping", "grouped", "gather"],
)
def test_a_targets_step_computes_the_same(graph, target):
    step = make_step(graph, loss="cross_entropy", optimizer=optim.sgd(0.9), batch=5)
    free, bound = to_model(step), to_model(step, target=target)
    want, got = results(step, free), results(step, bound)
    assert outside(bound, target_named(target, step.graph)) == []
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=2e-6)


def test_fake_quantization_in_elementary_operators():
    rows = {"x": np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)}
    graph = quant.calibrate(quant.convert(aj.zoo.mlp((4, 3))), [rows])
    step = make_step(graph, loss="cross_entropy", optimizer=optim.sgd(0.9), batch=5)
    want, got = results(step, to_model(step)), results(step, to_model(step, target="elementary"))
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=1e-6)


def test_outside_names_node_operator_and_reason():
    step = make_step(pooled(), loss="cross_entropy", optimizer=optim.sgd(), batch=2)
    found = outside(to_model(step), "webnn")
    assert {op for _, op, _ in found} >= {"ScatterElements", "SoftmaxCrossEntropyLoss"}
    assert all(name and "webnn" in reason or "taken" in reason for name, _, reason in found)


def test_a_table_of_ones_own():
    def small(node, graph):
        return "is too wide" if graph.value(node.output_names[0]).shape[-1] > 2 else None

    g = aj.Graph("g")
    x, w = g.input("x", (2, 4)), g.parameter("w", np.ones((4, 3), np.float32))
    g.output(g.op.Relu(g.op.MatMul(x, w)))
    mine = Target("mine", {"MatMul": small, "Relu": None})
    assert outside(g, mine) == [("MatMul", "MatMul", "is too wide")]
    assert outside(g, {"MatMul"}) == [("Relu", "Relu", "given has no Relu")]
    with pytest.raises(SettingError, match="expected one of 'webnn'"):
        outside(g, "tpu")


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "word"),
    [
        ("Slice", ["x", (0,), (4,), (0,), (2,)], {}, "steps"),
        ("Reshape", ["x", (0, -1)], {}, "a 0"),
        ("MaxPool", ["i"], {"kernel_shape": (2, 2), "storage_order": 1}, "storage_order"),
        ("Conv", ["v", "k"], {}, "axes"),
    ],
)
def test_a_form_that_webnn_does_not_take(op, inputs, attrs, word):
    g = aj.Graph("g")
    for name, shape in (("x", (4, 4)), ("i", (1, 1, 4, 4)), ("v", (1, 1, 4, 4, 4)), ("k", (1, 1, 1, 1, 1))):
        g.input(name, shape)
    g.add(op, inputs, attrs, names=["y"])
    g.output("y")
    assert word in reason_against(g.nodes[0], aj.infer_shapes(g), TARGETS["webnn"])
