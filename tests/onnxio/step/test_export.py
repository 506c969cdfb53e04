"""Whole models: node counts, folding, targets, and how long the export takes."""

import time

import numpy as np
import onnxruntime as ort
import pytest

import aidgejax as aj
from aidgejax.onnxio import outside
from aidgejax.onnxio.artifacts.training_model import for_onnxruntime
from aidgejax.onnxio.exporter.opset_downgrade import at_opset
from aidgejax.onnxio.step.targets import target_named
from aidgejax.onnxio.step.write import make_step, to_model
from aidgejax.passes.fold import folded
from aidgejax.training import optim

ort.set_default_logger_severity(3)
# {model: (what builds it, its batch, the most nodes its step may have)}
MODELS = {
    "mlp": (lambda: aj.zoo.mlp(sizes=(64, 32, 10)), 32, 39),
    "lenet": (lambda: aj.zoo.lenet(8), 32, 106),
    "resnet8": (aj.zoo.resnet8, 8, 572),
    "transformer": (aj.zoo.transformer_encoder, 16, 467),
    "mobilenet": (lambda: aj.zoo.mobilenet_v1(size=48), 4, 1498),
}
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in list(MODELS)[1:]]


def outputs(step, model, optimized=True):
    """{output: array} of one step of plain onnxruntime on random data."""
    rng = np.random.default_rng(0)
    feeds = {**step.initial, "learning_rate": np.array(1, np.float32)}
    for name in step.batch:
        v = step.graph.value(name)
        feeds[name] = (rng.integers(0, 2, v.shape) if "int" in v.dtype else rng.normal(size=v.shape)).astype(v.dtype)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


@pytest.mark.parametrize("name", ["mlp", *LARGE])
def test_a_step_is_small_its_folding_exact_and_no_node_outside_a_target(name):
    build, rows, most = MODELS[name]
    step = make_step(build(), optimizer=optim.sgd(momentum=0.9), loss="cross_entropy", batch=rows)
    model = to_model(step)
    assert len(model.graph.node) <= most
    # onnxruntime's own optimizer may order sums differently in two graphs: without it every bit is the same
    unfolded = aj.infer_shapes(for_onnxruntime(step.graph))
    want = outputs(step, at_opset(unfolded, 17)[0], optimized=False)
    got = outputs(step, at_opset(folded(unfolded), 17)[0], optimized=False)
    whole = outputs(step, model, optimized=False)
    for o in want:
        np.testing.assert_array_equal(got[o], want[o])
        np.testing.assert_allclose(whole[o], want[o], rtol=3e-7, atol=3e-7 * max(1, np.abs(want[o]).max()))
    free = outputs(step, model)
    for target in ("webnn", "elementary"):
        bound = to_model(step, target=target)
        assert outside(bound, target_named(target, step.graph)) == []
        found = outputs(step, bound)
        moved = {p: np.abs(free[step.state[p]] - step.initial[p]).max() for p in step.parameters}
        if target == "elementary":  # before a norm the gradient of a weight is a difference of large sums
            moved = dict.fromkeys(moved, max(moved.values()))
        for p, size in moved.items():
            new = step.state[p]
            np.testing.assert_allclose(found[new], free[new], rtol=0, atol=1e-6 * max(1, size))


@pytest.mark.slow
def test_mobilenet_is_written_in_three_seconds(tmp_path):
    graph = aj.zoo.mobilenet_v1(size=48)
    times = []
    for _ in range(2):
        start = time.process_time()
        aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.sgd(0.9), loss="cross_entropy", batch=4)
        times.append(time.process_time() - start)
    assert min(times) <= 3, times
