"""What generate_artifacts refuses, by which exception, naming whom; nothing stays on disk."""

import numpy as np
import onnx
import pytest

from aidgejax import AidgeJaxError
from aidgejax.frontends.onnxruntime.training import artifacts

from ._golden import Case

ALL = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
LOSS, OPTIMIZER = artifacts.LossType, artifacts.OptimType

REFUSED = [
    ({"loss": "MSELoss"}, RuntimeError, "Unknown loss provided <class 'str'>: 'MSELoss'"),
    ({"loss": LOSS}, RuntimeError, "Unknown loss provided"),
    ({"optimizer": "AdamW"}, (RuntimeError, TypeError), "Unknown optimizer provided <class 'str'>: 'AdamW'"),
    ({"frozen_params": ["fc1.bias"]}, RuntimeError, "cannot be frozen and require gradient .* {'fc1.bias'}"),
    ({"requires_grad": ["zzz"]}, RuntimeError, "Node arg zzz is not found in the graph"),
    ({"requires_grad": "fc1.weight"}, RuntimeError, r"the string 'fc1.weight'; expected a list"),
    ({"requires_grad": ALL[:1], "frozen_params": ["zzz"]}, RuntimeError, "Node arg zzz .* frozen_params"),
    ({"requires_grad": []}, (RuntimeError, IndexError), "requires_grad names no parameter"),
    ({"requires_grad": None}, (RuntimeError, IndexError), "requires_grad names no parameter"),
    ({"additional_output_names": "logits"}, RuntimeError, "Unknown type provided for additional output names"),
    ({"additional_output_names": ["zzz"]}, LookupError, "The provided name zzz is not a graph value info"),
    ({"loss_input_names": ["zzz"]}, LookupError, "Could not find input or output with name zzz"),
    ({"custom_op_library": "nope.so"}, RuntimeError, "Custom op library path nope.so does not exist."),
    ({"loss": None}, RuntimeError, r"'logits' has the shape \['N', 4\]: expected a single number"),
    ({"runtime": "web"}, RuntimeError, "runtime is 'web'"),
]


@pytest.mark.parametrize("change, kinds, message", REFUSED, ids=[str(r[0])[:40] for r in REFUSED])
def test_refused(change, kinds, message, tmp_path):
    arguments = {
        "requires_grad": ALL,
        "loss": LOSS.CrossEntropyLoss,
        "optimizer": OPTIMIZER.AdamW,
        "artifact_directory": tmp_path,
    } | change
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        with pytest.raises(kind, match=message) as caught:
            artifacts.generate_artifacts(Case("mlp_ce").model, **arguments)
    assert isinstance(caught.value, AidgeJaxError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", [3, b"x", None])
def test_not_a_model(model, tmp_path):
    with pytest.raises(RuntimeError, match="pass in either a string or an ONNX ModelProto"):
        artifacts.generate_artifacts(model, ["w"], artifact_directory=tmp_path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nope.onnx"):
        artifacts.generate_artifacts("nope.onnx", ["w"], artifact_directory=tmp_path)
    with pytest.raises(FileNotFoundError, match="nope"):
        artifacts.generate_artifacts(
            Case("mlp_ce").model, ALL, loss=LOSS.CrossEntropyLoss, artifact_directory=tmp_path / "nope"
        )


def test_a_parameter_without_a_reader_and_one_without_a_gradient(tmp_path):
    model = Case("cnn_bn").model
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3, np.float32), "u"))
    for name, message in (("u", "u couldn't find the consumer node"), ("bn1.running_mean", "'bn1.running_mean'")):
        with pytest.raises(RuntimeError, match=message):
            artifacts.generate_artifacts(
                model, ["fc.weight", name], loss=LOSS.CrossEntropyLoss, artifact_directory=tmp_path
            )
    assert list(tmp_path.iterdir()) == []


def test_a_second_output_is_not_taken_for_the_target(tmp_path):
    model = Case("two_output").model
    with pytest.raises(TypeError, match="given 2: 'output1', 'output2'.*loss_input_names"):
        artifacts.generate_artifacts(model, ["head1.weight"], loss=LOSS.MSELoss, artifact_directory=tmp_path)
    artifacts.generate_artifacts(
        model, ["head1.weight"], loss=LOSS.MSELoss, artifact_directory=tmp_path, loss_input_names=["output1"]
    )
    assert "target" in [i.name for i in onnx.load(tmp_path / "training_model.onnx").graph.input]


def test_an_error_while_writing_leaves_what_was_there(tmp_path):
    (tmp_path / "training_model.onnx").write_text("old")
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(RuntimeError, match="it is a folder"):
        artifacts.generate_artifacts(Case("mlp_ce").model, ALL, loss=LOSS.CrossEntropyLoss, artifact_directory=tmp_path)
    assert (tmp_path / "training_model.onnx").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint", "training_model.onnx"]
