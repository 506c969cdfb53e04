"""Our artifacts in ONNX Runtime's training build, 1.19.2.

    AIDGEJAX_ORT_TRAINING=/path/to/python pytest -m peer tests/frontends/onnxruntime

names an interpreter that has onnxruntime-training; it needs another Python than onnxruntime, whose name it shares.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

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


def check_there(case, optimizer, tmp_path):
    case.write(tmp_path, optimizer, runtime="onnxruntime-training")
    printed = subprocess.run(
        [PYTHON, Path(__file__).with_name("_peer.py"), tmp_path, case.folder / "data.npz", str(case.learning_rate)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    losses, frozen = json.loads(printed.splitlines()[-1])
    np.testing.assert_allclose(losses, case.data[f"{optimizer}/loss"].ravel(), rtol=1e-5)
    for name, data in frozen.items():  # running statistics
        np.testing.assert_allclose(data, case.data[f"{optimizer}/param_after_10/{name}"], atol=2e-6, err_msg=name)
