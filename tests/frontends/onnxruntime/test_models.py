"""Models as users have them: custom domains, older opsets, a path, ORT's own format."""

import numpy as np
import onnx
import pytest

from aidgejax.frontends.onnxruntime.training import artifacts
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module
from aidgejax.onnxio.artifacts import forward_model, ort_checkpoint

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


# ---- custom domains -----------------------------------------------------------------------------------


def with_custom(where):
    """Custom, on the input ("front") or between two layers ("middle")."""
    body = {
        "front": "p = my.Prepare(x) h = MatMul(p, w) y = MatMul(h, v)",
        "middle": "h = MatMul(x, w) p = my.Prepare(h) y = MatMul(p, v)",
    }[where]
    model = filled(
        '<ir_version: 8, opset_import: ["": 17, "my": 1]> g (float[N,4] x) => (float[N,4] y) '
        "<float[4,4] w = {%s}, float[4,4] v = {%s}, float[N,4] p> { %s }".replace(
            "%s", ", ".join(["0"] * 16), 2
        ).replace("%s", body)
    )
    return model


def test_nodes_of_a_custom_domain_are_kept(tmp_path):
    library = tmp_path / "library.so"
    library.write_bytes(b"")
    artifacts.generate_artifacts(
        with_custom("front"),
        ["w", "v"],
        loss=LOSS.MSELoss,
        optimizer=OPTIMIZER.SGD,
        artifact_directory=tmp_path,
        custom_op_library=library,
    )
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


@pytest.mark.parametrize(
    "name, opset",
    [
        ("mlp_bce", 13),
        ("mlp_mse", 14),
        ("mlp_ce", 15),
        ("cnn_ce", 16),
        ("cnn_group", 13),
        ("cnn_ce", 20),
        ("cnn_ce", 21),
    ],
)
def test_the_base_s_opset_is_kept(name, opset, tmp_path):
    model = Case(name).model
    model.opset_import[0].version = opset
    model.ir_version = 10 if opset > 20 else 8
    artifacts.generate_artifacts(
        model, Case(name).requires_grad, loss=LOSS.MSELoss, optimizer=OPTIMIZER.AdamW, artifact_directory=tmp_path
    )
    for file in ("training_model", "eval_model", "optimizer_model"):
        written = onnx.load(tmp_path / f"{file}.onnx")
        assert [(i.domain, i.version) for i in written.opset_import] == [("", opset)]
        ort.InferenceSession(tmp_path / f"{file}.onnx")


def test_the_gradient_of_a_pool_needs_a_later_opset_and_says_so(tmp_path):
    model = Case("cnn_ce").model
    model.opset_import[0].version = 14
    with pytest.warns(UserWarning, match="opset is 14; its training model is written in opset 16, the lowest") as found:
        artifacts.generate_artifacts(
            model, Case("cnn_ce").requires_grad, loss=LOSS.CrossEntropyLoss, artifact_directory=tmp_path
        )
    assert len(found) == 1 and found[0].filename == __file__


def test_an_opset_that_is_too_old_is_said(tmp_path):
    model = Case("mlp_ce").model
    model.opset_import[0].version = 11
    with pytest.warns(UserWarning, match="opset is 11; its training model is written in opset 1[3-8]"):
        artifacts.generate_artifacts(model, ["fc1.weight"], loss=LOSS.CrossEntropyLoss, artifact_directory=tmp_path)
    ort.InferenceSession(tmp_path / "training_model.onnx")


def test_onnxruntime_s_own_format(tmp_path):
    artifacts.generate_artifacts(
        Case("mlp_ce").model, ["fc1.weight"], loss=LOSS.CrossEntropyLoss, artifact_directory=tmp_path, ort_format=True
    )
    assert {"training_model.ort", "eval_model.ort", "training_model.required_operators.config"} <= {
        p.name for p in tmp_path.iterdir()
    }
    ort.InferenceSession(tmp_path / "training_model.ort")


def test_a_model_with_its_data_in_another_file(tmp_path):
    model = Case("mlp_ce").model
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    artifacts.generate_artifacts(
        str(tmp_path / "m.onnx"), ["fc1.weight"], ["fc2.weight"], LOSS.CrossEntropyLoss, artifact_directory=tmp_path
    )
    state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
    np.testing.assert_array_equal(state.parameters["fc2.weight"].data, Case("mlp_ce").initial["fc2.weight"])


def test_a_rectifier_s_gradient_is_a_product(tmp_path):
    """In onnxruntime it takes half the time of a Where; the accumulation keeps its Where, which stops NaN."""
    case = Case("cnn_ce")
    case.write(tmp_path)
    nodes = {n.name: n.op_type for n in onnx.load(tmp_path / "training_model.onnx").graph.node}
    assert {op for n, op in nodes.items() if n.endswith("_Grad/Where")} == {"Mul"}
    assert {op for n, op in nodes.items() if n.endswith(".accumulation.out/Where")} == {"Where"}


def test_constants_that_are_listed_as_frozen(tmp_path):
    """frozen_params = everything that is not trained: the common idiom, shapes of Reshape included."""
    case = Case("embed_lm")
    frozen = [t.name for t in case.model.graph.initializer if t.name not in case.requires_grad]
    artifacts.generate_artifacts(
        case.model, case.requires_grad, frozen, LOSS.CrossEntropyLoss, artifact_directory=tmp_path
    )
    for backend in ("jax", "onnxruntime"):
        state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
        module = Module(tmp_path / "training_model.onnx", state, backend=backend)
        np.testing.assert_allclose(first(module(*case.batch(0))), case.data["step0/loss"], rtol=1e-5)


# ---- more than 2 GiB, with a limit that is smaller ----------------------------------------------------


def limit(monkeypatch, size):
    monkeypatch.setattr(forward_model, "LARGEST_MODEL", size)
    monkeypatch.setattr(ort_checkpoint, "LARGEST", size)
    monkeypatch.setattr(ort_checkpoint, "SMALL", 16)


@pytest.mark.parametrize("name", ["cnn_bn", "transformer"])
def test_a_large_model_stays_in_its_files(name, tmp_path, monkeypatch):
    case, whole = Case(name), tmp_path / "whole"
    whole.mkdir()
    case.write(whole, nominal_checkpoint=True)
    limit(monkeypatch, 1000)
    large = tmp_path / "m.onnx"
    onnx.save(case.model, large, save_as_external_data=True, location="m.data", size_threshold=0)
    case.write(tmp_path, nominal_checkpoint=True, model=str(large))
    for file in ("training_model.onnx", "eval_model.onnx", "optimizer_model.onnx", "nominal_checkpoint"):
        assert (tmp_path / file).read_bytes() == (whole / file).read_bytes()
    assert (tmp_path / "checkpoint.data").stat().st_size > 1000
    state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
    for name, p in state.parameters:
        np.testing.assert_array_equal(p.data, case.initial[name])
    (tmp_path / "checkpoint.data").unlink()
    with pytest.raises(RuntimeError, match="keeps its data in another file.*checkpoint.data', which is not there"):
        CheckpointState.load_checkpoint(tmp_path / "checkpoint")


def test_a_large_model_without_its_second_file(tmp_path, monkeypatch):
    limit(monkeypatch, 100)
    case = Case("mlp_ce")
    onnx.save(case.model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "m.data").unlink()
    with pytest.raises(RuntimeError, match="initializer 'fc1.weight' cannot be read: 'm.data' is no file beside the"):
        case.write(tmp_path, model=str(tmp_path / "m.onnx"))
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_large_constants_have_to_be_listed(tmp_path, monkeypatch):
    limit(monkeypatch, 100)
    case = Case("mlp_ce")
    onnx.save(case.model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    with pytest.raises(RuntimeError, match="more than 2 GiB of constants.*frozen_params"):
        artifacts.generate_artifacts(
            str(tmp_path / "m.onnx"), ["fc2.bias"], [], LOSS.CrossEntropyLoss, artifact_directory=tmp_path
        )
