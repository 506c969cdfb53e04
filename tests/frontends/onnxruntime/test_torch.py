"""Artifacts of a training export of torch: batch statistics and dropout in training, neither in evaluation."""

import numpy as np
import onnx
import pytest

from aidgejax.frontends.onnxruntime.training import artifacts
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module, Optimizer

from ._golden import first
from ._torch import FILE, export, network

pytest.importorskip("onnxruntime")
LOSS, OPTIMIZER = artifacts.LossType, artifacts.OptimType
STATISTICS = ["bn.running_mean", "bn.running_var"]
TRAINED = ["conv.weight", "conv.bias", "bn.weight", "bn.bias", "fc.weight", "fc.bias"]
HIDDEN, DROPPED = "/Flatten_output_0", "/drop/Dropout_output_0"


def images(rows, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, 1, 8, 8)).astype("f4"), np.arange(rows) % 5


def start(folder, model=FILE, backend="onnxruntime", extra=(HIDDEN, DROPPED, "output")):
    model = onnx.load(model) if not isinstance(model, onnx.ModelProto) else model
    artifacts.generate_artifacts(
        model, TRAINED, STATISTICS, LOSS.CrossEntropyLoss, OPTIMIZER.AdamW, folder, additional_output_names=list(extra)
    )
    state = CheckpointState.load_checkpoint(folder / "checkpoint")
    module = Module(folder / "training_model.onnx", state, folder / "eval_model.onnx", backend=backend)
    return state, module, Optimizer(folder / "optimizer_model.onnx", module)


@pytest.mark.parametrize("backend", ["onnxruntime", "jax"])
def test_dropout_s_gradient_has_the_mask_of_the_forward(backend, tmp_path):
    state, module, _ = start(tmp_path, backend=backend)
    x, labels = images(8)
    _, hidden, dropped, output = module(x, labels)
    kept = dropped[hidden > 0] != 0
    assert 0.6 < kept.mean() < 0.9
    np.testing.assert_allclose(dropped[hidden > 0][kept], hidden[hidden > 0][kept] / 0.75, rtol=1e-5)
    p = np.exp(output) / np.exp(output).sum(1, keepdims=True) - np.eye(5)[labels]
    np.testing.assert_allclose(state.parameters["fc.weight"].grad, p.T @ dropped / 8, atol=1e-5)


def test_evaluation_has_running_statistics_and_no_dropout(tmp_path):
    state, module, optimizer = start(tmp_path)
    x, labels = images(8)
    before = state.parameters["bn.running_mean"].data.copy()
    module(x, labels)
    optimizer.step()
    assert not np.allclose(state.parameters["bn.running_mean"].data, before), "the statistics move"
    module.eval()
    (_, hidden, dropped, output), again = module(x, labels), module(x, labels)
    np.testing.assert_array_equal(output, again[3])
    np.testing.assert_array_equal(hidden, dropped)
    np.testing.assert_allclose(output[:3], module(x[:3], labels[:3])[3], rtol=1e-4, atol=1e-5)
    nodes = {n.op_type: n for n in onnx.load(tmp_path / "eval_model.onnx").graph.node}
    assert len(nodes["BatchNormalization"].output) == 1
    # The place of training_mode is there, as in ORT's own evaluation models, and empty: it infers.
    assert list(nodes["Dropout"].input)[2:] == [""]


@pytest.mark.parametrize("rows", [2, 64])
def test_batch_statistics_against_differences(rows, tmp_path):
    """Plain onnxruntime computes BatchNormalization with training_mode=1 wrong; the artifacts do not use it."""
    model = onnx.load(FILE)
    dropout = next(n for n in model.graph.node if n.op_type == "Dropout")
    del dropout.input[2:]  # at rest
    state, module, _ = start(tmp_path, model)
    assert "training_mode" not in {
        a.name for n in onnx.load(tmp_path / "training_model.onnx").graph.node for a in n.attribute
    }
    draw = np.random.default_rng(1)
    x, labels = images(rows)
    for name in ("bn.weight", "fc.weight"):
        direction, h = draw.normal(size=state.parameters[name].data.shape).astype("f4"), 1e-2
        module.lazy_reset_grad()
        module(x, labels)
        slope = float((state.parameters[name].grad * direction).sum())
        data = state.parameters[name].data.copy()
        losses = []
        for sign in (1, -1):
            state.parameters[name].data = data + sign * np.float32(h) * direction
            losses.append(first(module(x, labels)))
        state.parameters[name].data = data
        assert slope == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=2e-2, abs=2e-3)


@pytest.mark.peer
def test_against_torch_itself(tmp_path):
    """A fresh export is the file that is kept here, and losses, gradients and statistics are torch's."""
    torch = pytest.importorskip("torch")
    model = network()
    export(model, tmp_path / "fresh.onnx")
    fresh, kept = onnx.load(tmp_path / "fresh.onnx"), onnx.load(FILE)
    assert [(n.op_type, *n.input) for n in fresh.graph.node] == [(n.op_type, *n.input) for n in kept.graph.node]

    state, module, _ = start(tmp_path, tmp_path / "fresh.onnx")
    x, labels = images(8)
    loss, hidden, dropped, output = module(x, labels)
    mask = np.where(hidden != 0, dropped / np.where(hidden == 0, 1, hidden), 0)
    scores = model(torch.tensor(x), torch.tensor(mask))
    theirs = torch.nn.functional.cross_entropy(scores, torch.tensor(labels))
    theirs.backward()
    assert float(loss) == pytest.approx(theirs.item(), rel=1e-5)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(state.parameters[name].grad, p.grad.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(state.parameters["bn.running_mean"].data, model.bn.running_mean.numpy(), atol=1e-6)
    model.eval()
    module.eval()
    for name in STATISTICS:  # torch's variance is that of a sample
        state.parameters[name].data = model.state_dict()[name].numpy()
    np.testing.assert_allclose(module(x, labels)[3], model(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
