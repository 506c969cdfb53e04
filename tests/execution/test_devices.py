"""Which devices there are, and why one is not."""

import jax
import pytest

from aidgejax.errors import BackendError
from aidgejax.execution import devices


class Place:
    platform, device_kind = "cuda", "NVIDIA H100 80GB HBM3"


def test_a_device_in_words():
    assert devices.found(Place) == "cuda (NVIDIA H100 80GB HBM3)"
    assert devices.found(jax.devices("cpu")[0]) == "cpu"
    assert devices.device("auto") == jax.devices()[0]


def test_a_machine_without_a_gpu_says_nothing(tmp_path):
    assert devices.unused_gpu(str(tmp_path)) is None


@pytest.mark.skipif("cuda" in devices.available_platforms(), reason="the GPU here is in use")
def test_a_gpu_that_jax_does_not_use_is_said_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM version: 580")
    assert "shows no device to this process" in devices.unused_gpu(str(tmp_path))
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    assert "nvidia0) that JAX does not use: JAX's plugin for CUDA is not installed: pip install" in devices.unused_gpu(
        str(tmp_path)
    )
    monkeypatch.setattr(devices, "find_spec", lambda name: name)
    assert "does not start" in devices.unused_gpu(str(tmp_path))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert devices.unused_gpu(str(tmp_path)).endswith("JAX_PLATFORMS=cpu keeps JAX from it")
    monkeypatch.setattr(devices, "unused_gpu", lambda: "a GPU, but no plugin")
    with pytest.raises(BackendError, match="no device 'cuda' here; there are cpu; a GPU, but no plugin"):
        devices.device("cuda")
