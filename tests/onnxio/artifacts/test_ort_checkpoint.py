"""A checkpoint of ONNX Runtime's format that we wrote is read as it was written, or refused."""

import random

import numpy as np
import pytest

from aidgejax.errors import CheckpointError
from aidgejax.onnxio.artifacts import ort_checkpoint
from aidgejax.onnxio.artifacts.ort_checkpoint import (
    OptimizerState,
    OrtCheckpoint,
    from_bytes,
    read_checkpoint,
    to_bytes,
    write_checkpoint,
)

W = np.arange(12, dtype=np.float32).reshape(4, 3)


def example():
    return OrtCheckpoint({"w": W}, {"f": np.float32([7, 8])}, False, OptimizerState(5, 0.5, {"w": (W, -W)}), {"n": 3})


def facts(c):
    return {k: v.tolist() for k, v in {**c.trainable, **c.frozen}.items()}, c.properties, c.optimizer.step


@pytest.mark.parametrize("count", [100, pytest.param(1500, marks=pytest.mark.slow)])
def test_damage_is_refused_wherever_it_is(tmp_path, count):
    write_checkpoint(example(), tmp_path / "c")
    good, draw, refused = (tmp_path / "c").read_bytes(), random.Random(count), 0
    for _ in range(count):
        at = draw.randrange(len(good))
        bad = draw.choice(
            [
                good[:at] + bytes([good[at] ^ 1 << draw.randrange(8)]) + good[at + 1 :],
                good[:at],
                good[:at] + bytes(min(256, len(good) - at)) + good[at + 256 :],
                good[:at] + good[at + draw.randrange(1, 40) :],
                good[:at] + draw.randbytes(draw.randrange(1, 40)) + good[at:],
            ]
        )
        (tmp_path / "bad").write_bytes(bad)
        try:
            assert facts(read_checkpoint(tmp_path / "bad")) == facts(example())
        except CheckpointError:
            refused += 1
    assert refused > 0.95 * count


def test_the_second_file_is_under_the_checksum_and_a_stale_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(ort_checkpoint, "LARGEST", 64)
    monkeypatch.setattr(ort_checkpoint, "SMALL", 16)
    held = OrtCheckpoint({"w": W, "v": W + 1})
    write_checkpoint(held, tmp_path / "c")
    assert read_checkpoint(tmp_path / "c").trainable["v"].tolist() == (W + 1).tolist()
    data = bytearray((tmp_path / "c.data").read_bytes())
    data[5] ^= 1
    (tmp_path / "c.data").write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged: its checksum .* and of its .data file"):
        read_checkpoint(tmp_path / "c")
    monkeypatch.undo()
    write_checkpoint(held, tmp_path / "c")
    assert read_checkpoint(tmp_path / "c").trainable["w"].tolist() == W.tolist()


def test_a_file_without_a_checksum_is_read():
    assert facts(from_bytes(to_bytes(example()))) == facts(example())
