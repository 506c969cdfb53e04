"""Our artifacts in ONNX Runtime's training build, 1.19.2.

    AIDGEJAX_ORT_TRAINING=/path/to/python pytest -m peer tests/frontends/onnxruntime

names an interpreter that has onnxruntime-training; it needs another Python than onnxruntime, whose name it shares.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from aidgejax.frontends.onnxruntime.training import onnxblock
from aidgejax.onnxio.artifacts import ort_checkpoint

from ._golden import NAMES, Case

PYTHON = os.environ.get("AIDGEJAX_ORT_TRAINING")
pytestmark = [pytest.mark.peer, pytest.mark.skipif(not PYTHON, reason="AIDGEJAX_ORT_TRAINING names no interpreter")]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", NAMES)
def test_our_artifacts_train_there(name, optimizer, tmp_path):
    check_there(Case(name), optimizer, tmp_path)


def test_a_checkpoint_in_two_files_is_read_there(tmp_path, monkeypatch):
    monkeypatch.setattr(ort_checkpoint, "LARGEST", 1000)
    monkeypatch.setattr(ort_checkpoint, "SMALL", 16)
    check_there(Case("cnn_bn"), "adamw", tmp_path)
    assert (tmp_path / "checkpoint.data").exists()


class Classifier(onnxblock.TrainingBlock):
    def build(self, name):
        return onnxblock.loss.CrossEntropyLoss()(name)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_blocks_by_hand_train_there(optimizer, tmp_path):
    case, block = Case("mlp_ce"), Classifier()
    for name in case.requires_grad:
        block.requires_grad(name)
    with onnxblock.base(case.model, runtime="onnxruntime-training"):
        block(case.model.graph.output[0].name)
    made = {"adamw": onnxblock.optim.AdamW, "sgd": onnxblock.optim.SGD}[optimizer]()
    with onnxblock.empty_base(runtime="onnxruntime-training"):
        made(block.parameters())
    models = dict(zip(("training_model", "eval_model"), block.to_model_proto(), strict=True))
    for name, model in {**models, "optimizer_model": made.to_model_proto()}.items():
        onnx.save(model, tmp_path / f"{name}.onnx")
    onnxblock.save_checkpoint(block.parameters(), tmp_path / "checkpoint")
    there = trained_there(case, tmp_path)[0]
    assert there[-1] < there[0]
    if optimizer == "sgd":  # AdamW's settings are the block's defaults there
        np.testing.assert_allclose(there, case.data["sgd/loss"].ravel(), rtol=1e-5)


def check_there(case, optimizer, tmp_path):
    case.write(tmp_path, optimizer, runtime="onnxruntime-training")
    losses, frozen = trained_there(case, tmp_path)
    np.testing.assert_allclose(losses, case.data[f"{optimizer}/loss"].ravel(), rtol=1e-5)
    for name, data in frozen.items():  # running statistics
        np.testing.assert_allclose(data, case.data[f"{optimizer}/param_after_10/{name}"], atol=2e-6, err_msg=name)


def trained_there(case, tmp_path):
    printed = subprocess.run(
        [PYTHON, Path(__file__).with_name("_peer.py"), tmp_path, case.folder / "data.npz", str(case.learning_rate)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(printed.splitlines()[-1])
