"""Models as users have them: torch's training export, custom domains, older opsets, a path, ORT's own format."""

import numpy as np
import onnx
import pytest

from aidgejax.frontends.onnxruntime.training import artifacts
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module

from ._golden import Case, first

ort = pytest.importorskip("onnxruntime")
LOSS, OPTIMIZER = artifacts.LossType, artifacts.OptimType


def filled(text, seed=0):
    """The model, its floating initializers drawn at random (those called *var are 1)."""
    model, draw = onnx.parser.parse_model(text), np.random.default_rng(seed)
    for t in model.graph.initializer:
        if t.data_type == onnx.TensorProto.FLOAT:
            data = np.ones(t.dims) if t.name.endswith("var") else draw.normal(size=t.dims)
            t.CopyFrom(onnx.numpy_helper.from_array(data.astype("f4"), t.name))
    return model


def torch_export():
    """What torch.onnx.export(training=TRAINING, do_constant_folding=False) makes of Conv2d, BatchNorm2d, ReLU, Dropout
    and Linear."""
    f, h = np.float32, onnx.helper
    draw = np.random.default_rng(0)
    arrays = {"conv.weight": draw.normal(size=(4, 3, 3, 3)) / 3, "conv.bias": draw.normal(size=4),
              "bn.weight": np.ones(4), "bn.bias": np.zeros(4), "bn.running_mean": np.zeros(4),
              "bn.running_var": np.ones(4), "fc.weight": draw.normal(size=(5, 64)) / 8, "fc.bias": np.zeros(5)}
    constant = lambda name, a: h.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(a))  # noqa: E731
    nodes = [
        h.make_node("Conv", ["input", "conv.weight", "conv.bias"], ["c"], "/conv/Conv", dilations=[1, 1], group=1,
                    kernel_shape=[3, 3], pads=[0, 0, 0, 0], strides=[1, 1]),
        h.make_node("BatchNormalization", ["c", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"],
                    ["b", "rm", "rv"], "/bn/BatchNormalization", epsilon=1e-5, momentum=0.9, training_mode=1),
        h.make_node("Relu", ["b"], ["r"], "/relu/Relu"),
        constant("ratio", f(0.25)), constant("on", np.array(True)),
        h.make_node("Dropout", ["r", "ratio", "on"], ["d", "mask"], "/drop/Dropout"),
        h.make_node("Flatten", ["d"], ["f"], "/Flatten", axis=1),
        h.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["output"], "/fc/Gemm", alpha=1.0, beta=1.0, transB=1)]
    graph = h.make_graph(
        nodes, "main_graph", [h.make_tensor_value_info("input", 1, ["batch", 3, 6, 6])],
        [h.make_tensor_value_info("output", 1, ["batch", 5])],
        [onnx.numpy_helper.from_array(a.astype(f), n) for n, a in arrays.items()])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8, producer_name="pytorch")


STATISTICS = ["bn.running_mean", "bn.running_var"]
TRAINED = ["conv.weight", "conv.bias", "bn.weight", "bn.bias", "fc.weight", "fc.bias"]


def test_a_training_export_of_torch(tmp_path):
    artifacts.generate_artifacts(torch_export(), TRAINED, STATISTICS, LOSS.CrossEntropyLoss, OPTIMIZER.AdamW, tmp_path,
                                 additional_output_names=["d", "r", "output"])
    state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
    module = Module(tmp_path / "training_model.onnx", state, tmp_path / "eval_model.onnx", backend="onnxruntime")
    draw = np.random.default_rng(1)
    x, labels = draw.normal(size=(6, 3, 6, 6)).astype("f4"), np.arange(6) % 5
    _, d, r, output = module(x, labels)
    kept = d[r > 0] != 0
    assert 0.5 < kept.mean() < 0.95
    np.testing.assert_allclose(d[r > 0][kept], r[r > 0][kept] / 0.75, rtol=1e-5)
    p = np.exp(output) / np.exp(output).sum(1, keepdims=True) - np.eye(5)[labels]
    np.testing.assert_allclose(state.parameters["fc.weight"].grad, p.T @ d.reshape(6, 64) / 6, atol=1e-5)
    assert state.parameters["bn.running_mean"].data.any(), "the statistics move"
    module.eval()
    once, again = module(x, labels), module(x, labels)
    np.testing.assert_array_equal(once[3], again[3])
    np.testing.assert_array_equal(once[1], once[2])
    nodes = {n.op_type: n for n in onnx.load(tmp_path / "eval_model.onnx").graph.node}
    assert len(nodes["BatchNormalization"].output) == 1 and len(nodes["Dropout"].input) < 3


@pytest.mark.parametrize("rows", [2, 64])
def test_batch_statistics_against_differences(rows, tmp_path):
    """Plain onnxruntime computes BatchNormalization with training_mode=1 wrong; the artifacts do not use it."""
    model = torch_export()
    del model.graph.node[5].input[2:]  # Dropout at rest
    artifacts.generate_artifacts(model, TRAINED, STATISTICS, LOSS.CrossEntropyLoss, artifact_directory=tmp_path)
    assert "training_mode" not in {a.name for n in onnx.load(tmp_path / "training_model.onnx").graph.node
                                   for a in n.attribute}
    state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
    module = Module(tmp_path / "training_model.onnx", state, backend="onnxruntime")
    draw = np.random.default_rng(1)
    x, labels = draw.normal(size=(rows, 3, 6, 6)).astype("f4"), np.arange(rows) % 5
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


# ---- custom domains -----------------------------------------------------------------------------------


def with_custom(where):
    """Custom, on the input ("front") or between two layers ("middle")."""
    body = {"front": "p = my.Prepare(x) h = MatMul(p, w) y = MatMul(h, v)",
            "middle": "h = MatMul(x, w) p = my.Prepare(h) y = MatMul(p, v)"}[where]
    model = filled('<ir_version: 8, opset_import: ["": 17, "my": 1]> g (float[N,4] x) => (float[N,4] y) '
                   "<float[4,4] w = {%s}, float[4,4] v = {%s}, float[N,4] p> { %s }"
                   .replace("%s", ", ".join(["0"] * 16), 2).replace("%s", body))
    return model


def test_nodes_of_a_custom_domain_are_kept(tmp_path):
    library = tmp_path / "library.so"
    library.write_bytes(b"")
    artifacts.generate_artifacts(with_custom("front"), ["w", "v"], loss=LOSS.MSELoss, optimizer=OPTIMIZER.SGD,
                                 artifact_directory=tmp_path, custom_op_library=library)
    for name in ("training_model", "eval_model"):
        model = onnx.load(tmp_path / f"{name}.onnx")
        assert [n.op_type for n in model.graph.node if n.domain == "my"] == ["Prepare"]
        assert model.graph.input[0].name == "x" and {i.domain for i in model.opset_import} == {"", "my"}
        onnx.checker.check_model(model)


def test_no_gradient_passes_a_custom_node(tmp_path):
    with pytest.raises(RuntimeError, match="'Prepare' of domain 'my'.*input 'h'"):
        artifacts.generate_artifacts(with_custom("middle"), ["w"], loss=LOSS.MSELoss, artifact_directory=tmp_path)
    artifacts.generate_artifacts(with_custom("middle"), ["v"], loss=LOSS.MSELoss, artifact_directory=tmp_path)
    model = onnx.load(tmp_path / "training_model.onnx")
    assert [n.op_type for n in model.graph.node][:2] == ["MatMul", "Prepare"]
    assert not any(o.name == "h" for o in model.graph.output)


# ---- opsets and files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name, opset", [("mlp_bce", 13), ("mlp_mse", 14), ("mlp_ce", 15), ("cnn_ce", 16),
                                         ("cnn_group", 13), ("cnn_ce", 20), ("cnn_ce", 21)])
def test_the_base_s_opset_is_kept(name, opset, tmp_path):
    model = Case(name).model
    model.opset_import[0].version = opset
    model.ir_version = 10 if opset > 20 else 8
    artifacts.generate_artifacts(model, Case(name).requires_grad, loss=LOSS.MSELoss,
                                 optimizer=OPTIMIZER.AdamW, artifact_directory=tmp_path)
    for file in ("training_model", "eval_model", "optimizer_model"):
        written = onnx.load(tmp_path / f"{file}.onnx")
        assert [(i.domain, i.version) for i in written.opset_import] == [("", opset)]
        ort.InferenceSession(tmp_path / f"{file}.onnx")


def test_the_gradient_of_a_pool_needs_a_later_opset_and_says_so(tmp_path):
    model = Case("cnn_ce").model
    model.opset_import[0].version = 14
    with pytest.warns(UserWarning, match="opset is 14, and its artifacts are written in opset 16, the lowest"):
        artifacts.generate_artifacts(model, Case("cnn_ce").requires_grad, loss=LOSS.CrossEntropyLoss,
                                     artifact_directory=tmp_path)


def test_an_opset_that_is_too_old_is_said(tmp_path):
    model = Case("mlp_ce").model
    model.opset_import[0].version = 11
    with pytest.warns(UserWarning, match="opset is 11; its artifacts are written in opset 1[3-8]"):
        artifacts.generate_artifacts(model, ["fc1.weight"], loss=LOSS.CrossEntropyLoss, artifact_directory=tmp_path)
    ort.InferenceSession(tmp_path / "training_model.onnx")


def test_onnxruntime_s_own_format(tmp_path):
    artifacts.generate_artifacts(Case("mlp_ce").model, ["fc1.weight"], loss=LOSS.CrossEntropyLoss,
                                 artifact_directory=tmp_path, ort_format=True)
    assert {"training_model.ort", "eval_model.ort", "training_model.required_operators.config"} <= {
        p.name for p in tmp_path.iterdir()}
    ort.InferenceSession(tmp_path / "training_model.ort")


def test_a_model_with_its_data_in_another_file(tmp_path):
    model = Case("mlp_ce").model
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    artifacts.generate_artifacts(str(tmp_path / "m.onnx"), ["fc1.weight"], ["fc2.weight"], LOSS.CrossEntropyLoss,
                                 artifact_directory=tmp_path)
    state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
    np.testing.assert_array_equal(state.parameters["fc2.weight"].data, Case("mlp_ce").initial["fc2.weight"])


def test_constants_that_are_listed_as_frozen(tmp_path):
    """frozen_params = everything that is not trained: the common idiom, shapes of Reshape included."""
    case = Case("embed_lm")
    frozen = [t.name for t in case.model.graph.initializer if t.name not in case.requires_grad]
    artifacts.generate_artifacts(case.model, case.requires_grad, frozen, LOSS.CrossEntropyLoss,
                                 artifact_directory=tmp_path)
    for backend in ("jax", "onnxruntime"):
        state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
        module = Module(tmp_path / "training_model.onnx", state, backend=backend)
        np.testing.assert_allclose(first(module(*case.batch(0))), case.data["step0/loss"], rtol=1e-5)
