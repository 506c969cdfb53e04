"""A full disk: a limit on the size of files, and /dev/full, stand for it.  Nothing that was written before is lost."""

import contextlib
import os
import resource
import stat
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.cli import run_folder
from aidgejax.cli.compile_cache import compile_cache
from aidgejax.cli.main import main
from aidgejax.errors import AidgeJaxError, CheckpointError
from aidgejax.files import write_atomically
from aidgejax.onnxio.artifacts.ort_checkpoint import OrtCheckpoint, write_checkpoint
from aidgejax.training import optim
from aidgejax.training.callbacks import checkpoints, csv_log, json_lines

FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")


@contextlib.contextmanager
def room_for(nbytes):
    """No file may grow beyond so many bytes; the rest of the test's process included."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.normal(size=(60, 5)).astype(np.float32), target=rng.integers(0, 3, 60))
    aj.onnxio.write(aj.zoo.mlp(sizes=(5, 8, 3)), None, folder / "m.onnx")
    return folder


def train(files, out, *more):
    return main([
        "train", "--model", str(files / "m.onnx"), "--data", str(files / "d.npz"), "--out", str(out),
        "--batch-size", "8", "--epochs", "6", "--backend", "numpy", "--cache", "off", *more,
    ])  # fmt: skip


@pytest.mark.parametrize("left", [0, 1500])  # too little for any file, for the checkpoints
def test_a_disk_that_fills_up_costs_no_trained_weight(files, tmp_path, monkeypatch, capsys, left):
    monkeypatch.setattr(run_folder, "SECONDS", 0.0)
    full, ended, claim = contextlib.ExitStack(), run_folder.RunFolder.epoch, run_folder.claim
    kept = {}

    def epoch(folder, record, state):
        if record["epoch"] == 3:
            kept.update({p.name: p.read_bytes() for p in Path(folder.path).iterdir()})
            full.enter_context(room_for(left))
        ended(folder, record, state)

    def another_disk(where, force):
        full.close()  # of the limit, if it holds by now
        return claim(where, force)

    with monkeypatch.context() as patch, full:
        patch.setattr(run_folder.RunFolder, "epoch", epoch)
        patch.setattr(run_folder, "claim", another_disk)
        assert train(files, tmp_path / "run", "--rescue", str(tmp_path / "other")) == 1
    out, err = capsys.readouterr()
    assert [line for line in err.splitlines() if "the last good files stay as they are" in line] == err.splitlines()[:1]
    assert "Traceback" not in err and "File too large" in err and f"saved to {str(tmp_path / 'other')!r} instead" in out
    for name in ("last.ckpt", "model.onnx"):
        assert (tmp_path / "run" / name).read_bytes() == kept[name]
    assert not list((tmp_path / "run").glob(".*"))
    assert main(["train", "--resume", str(tmp_path / "run"), "--cache", "off"]) == 0
    for name in ("model.onnx", "history.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_without_room_for_the_first_state_nothing_is_trained(files, tmp_path, capsys):
    with room_for(1500):
        assert train(files, tmp_path / "run") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 2 and "File too large" in err and "nothing was trained: free some space" in err
    assert not list((tmp_path / "run").glob(".*"))
    assert main(["train", "--resume", str(tmp_path / "run"), "--cache", "off"]) == 0


def writers():
    graph = aj.zoo.mlp(sizes=(50, 8, 3))
    arrays = {"w": np.ones(2000, np.float32)}
    return {
        "checkpoint": lambda path: aj.save(path, arrays),
        "model": lambda path: aj.onnxio.write(graph, None, path),
        "ORT checkpoint": lambda path: write_checkpoint(OrtCheckpoint(arrays, {}), str(path)),
        "step": lambda path: aj.onnxio.write_step(graph, None, path, optimizer=optim.sgd(), loss="cross_entropy"),
        "bytes": lambda path: write_atomically(b"1" * 8000, path),
    }


@FULL
@pytest.mark.parametrize("name", writers())
def test_every_writer_leaves_the_old_file_and_says_so(name, tmp_path):
    write, path = writers()[name], tmp_path / "file"
    path.write_bytes(b"old")
    with room_for(1000), pytest.raises((AidgeJaxError, OSError), match="File too large") as e:
        write(path)
    assert str(path) in str(e.value)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    with pytest.raises((AidgeJaxError, OSError), match="No space left on device"):
        write("/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)  # a device is written to, not replaced


@FULL
def test_a_log_that_cannot_be_written_ends_no_training(tmp_path):
    record = {"step": 1, "loss": 0.5}
    for make in (csv_log, json_lines):
        write = make("/dev/full")
        with pytest.warns(UserWarning, match="No space left on device.*the training goes on"):
            write(record, None)
        write, path = make(tmp_path / make.__name__), tmp_path / make.__name__
        write(record, None)
        with room_for(path.stat().st_size + 2), pytest.warns(UserWarning, match="File too large"):
            write(record, None)
        write(record, None)
        rows = path.read_text().splitlines()
        assert len(rows) == 3 + (make is csv_log) and rows[-1] == rows[-2] == rows[-3]  # what had to wait is there
    write = checkpoints(tmp_path / "kept")
    with room_for(100), pytest.warns(UserWarning, match="the training goes on"):
        write(record, {"w": np.ones(2000)})
    write(record | {"step": 2}, {"w": np.ones(2000)})
    assert os.listdir(tmp_path / "kept") == ["step-2.ckpt"]
    with pytest.raises(CheckpointError):
        aj.load(tmp_path / "kept" / "step-1.ckpt")


@FULL
def test_standard_output_on_a_full_disk_is_one_line(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["ops"]) == 1
    assert capsys.readouterr().err == "aidgejax ops: [Errno 28] No space left on device\n"


def test_a_cache_that_a_full_disk_cut_short_is_emptied(tmp_path, capsys):
    torn = tmp_path / "jit_epoch-00-cache"
    torn.write_bytes(b"half")
    with compile_cache(str(tmp_path)):
        for _ in range(2):
            warnings.warn("Error writing persistent compilation cache entry for 'jit_epoch': no room", stacklevel=1)
    assert not torn.exists()
    assert capsys.readouterr().err.count("compiled programs are not kept") == 1
