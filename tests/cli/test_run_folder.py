"""Runs that go on: resume, signals, folders, numbers that are not finite."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.cli import run_folder
from aidgejax.cli.commands import train as train_command
from aidgejax.cli.compile_cache import compile_cache
from aidgejax.cli.main import main
from aidgejax.training import fit as fit_module

SAME = ("model.onnx", "history.csv", "best.onnx")


@pytest.fixture(autouse=True, scope="module")
def compiled_programs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small model and its data."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 3, 60)
    np.savez(folder / "d.npz", x=x, target=y)
    x[33, 4] = np.nan
    np.savez(folder / "nan.npz", x=x, target=y, test_x=x[:5], test_target=y[:5])
    aj.onnxio.write(aj.zoo.mlp(sizes=(5, 8, 3)), None, folder / "m.onnx")
    return folder


def train(files, out, *more, data="d.npz"):
    return main([
        "train", "--model", str(files / "m.onnx"), "--data", str(files / data), "--batch-size", "8", "--out", str(out),
        *more,
    ])  # fmt: skip


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(files, tmp_path, monkeypatch, capsys):
    """A kill between any two files is a folder whose files are of two moments."""
    options = ("--epochs", "6", "--optimizer", "adamw", "--accumulate", "2", "--seed", "4")
    monkeypatch.setattr(run_folder, "SECONDS", 0.0)
    assert train(files, tmp_path / "whole", *options) == 0
    for at in (5, 12):  # writes that are made before the process "dies"
        out = tmp_path / f"killed-{at}"
        count = 0
        real = run_folder.write_atomically, run_folder.checkpoint.save

        def dying(k, *args, real=real, at=at):
            nonlocal count
            count += 1
            if count > at:
                raise KeyboardInterrupt
            return real[k](*args)

        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "write_atomically", lambda *a: dying(0, *a))
            patch.setattr(run_folder.checkpoint, "save", lambda *a: dying(1, *a))
            assert train(files, out, *options) == 130
        if not (out / "settings.json").exists():
            continue
        assert main(["train", "--resume", str(out)]) == 0
        for name in SAME:
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (at, name)
    capsys.readouterr()
    assert main(["train", "--resume", str(out)]) == 0
    assert "finished already, after 6 epochs; --epochs N sets a new total" in capsys.readouterr().out
    assert main(["train", "--resume", str(out), "--epochs", "7"]) == 0
    assert len((out / "history.csv").read_text().splitlines()) == 1 + 7 * 3
    assert json.loads((out / "settings.json").read_text())["epochs"] == 7
    assert main(["train", "--resume", str(out), "--lr", "1"]) == 1
    assert "but --lr was given too" in capsys.readouterr().err


def test_settings_repeat_a_run(files, tmp_path, capsys):
    assert train(files, tmp_path / "a", "--epochs", "2", "--lr", "0.01", "--seed", "7", "--clip-norm", "0.5") == 0
    assert main(["train", "--config", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    for name in SAME:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    report = (tmp_path / "a" / "report.html").read_text()
    for shown in ("<h2>History</h2>", "<h2>Confusion of the test rows</h2>", ">clip_norm<", ">test<", "fc1.weight"):
        assert shown in report
    os.remove(tmp_path / "a" / "last.ckpt")  # settings alone: from the beginning
    assert main(["train", "--resume", str(tmp_path / "a")]) == 0
    assert (tmp_path / "a/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()
    capsys.readouterr()
    (tmp_path / "a/settings.json").write_text('{"lr": "fast"}')
    assert main(["train", "--config", str(tmp_path / "a")]) == 1
    assert "setting 'lr' is 'fast'; expected a float" in capsys.readouterr().err


def test_the_precision_is_printed_once_and_survives_resume(files, tmp_path, capsys):
    options = ("--schedule", "constant", "--precision", "float16")
    for out, epochs in (("whole", "2"), ("half", "1")):
        assert train(files, tmp_path / out, *options, "--epochs", epochs) == 0
    line = "precision: computes in float16, the loss scaled; parameters, norms, softmax, losses and sums in float32"
    assert capsys.readouterr().out.count(line) == 2  # one of each run
    assert main(["train", "--resume", str(tmp_path / "half"), "--epochs", "2"]) == 0
    assert capsys.readouterr().out.count(line) == 1
    assert json.loads((tmp_path / "half" / "settings.json").read_text())["precision"] == "float16"
    assert (tmp_path / "half" / "history.csv").read_text().splitlines()[-1].endswith(",32768")  # the loss scale
    for name in SAME:
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert main(["train", "--resume", str(tmp_path / "half"), "--precision", "float32"]) == 1
    assert "but --precision was given too" in capsys.readouterr().err


def test_folders(files, tmp_path, capsys, monkeypatch):
    (tmp_path / "a").mkdir()
    assert train(files, tmp_path / "a", "--epochs", "1") == 0  # an empty folder is taken
    first = (tmp_path / "a/settings.json").read_bytes()
    assert train(files, tmp_path / "a", "--epochs", "1", "--seed", "1") == 1
    assert "holds best.ckpt, best.onnx, history.csv" in capsys.readouterr().err
    assert (tmp_path / "a/settings.json").read_bytes() == first
    assert train(files, tmp_path / "a", "--epochs", "1", "--seed", "1", "--force") == 0
    assert json.loads((tmp_path / "a/settings.json").read_text())["seed"] == 1
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder.time, "strftime", lambda *a: "20261126-000000")
    assert [run_folder.claim(None, False) for _ in range(2)] == ["runs/20261126-000000", "runs/20261126-000000-2"]


def test_the_same_finished_run_is_not_made_again(files, tmp_path, capsys):
    """Nothing in its folder is touched; what differs, or is not finished, is refused as any other folder."""
    assert train(files, tmp_path / "a", "--epochs", "1") == 0
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "a").iterdir()}
    capsys.readouterr()
    assert train(files, tmp_path / "a", "--epochs", "1", "--loss", "cross_entropy") == 0  # what was chosen before
    assert "finished already, after 1 epochs" in capsys.readouterr().out
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "a").iterdir()} == before
    assert train(files, tmp_path / "a", "--epochs", "2") == 1
    assert "give another --out" in capsys.readouterr().err


def test_numbers_that_are_not_finite_are_named_and_never_saved(files, tmp_path, capsys):
    assert train(files, tmp_path / "nan", "--epochs", "2", data="nan.npz") == 1
    printed = capsys.readouterr().err
    assert f"column 'x', row 33 of {str(files / 'nan.npz')!r} holds nan" in printed and "Traceback" not in printed
    trained = aj.onnxio.read(tmp_path / "nan/model.onnx")
    assert all(np.isfinite(a).all() for a in trained.params.values())
    assert train(files, tmp_path / "inf", "--epochs", "3", "--optimizer", "sgd", "--lr", "1e30") == 1
    assert "is not finite" in capsys.readouterr().err
    assert train(files, tmp_path / "skip", "--epochs", "2", "--on-nonfinite", "skip", data="nan.npz") == 0


def test_a_folder_that_fails_costs_no_weights(files, tmp_path, capsys, monkeypatch):
    """As on a full disk: the second save fails, and all after it."""
    saves, real = [], run_folder.checkpoint.save

    def full(path, *rest):
        saves.append(path)
        if str(path).startswith(str(tmp_path / "run")) and len(saves) > 1:
            raise OSError(28, "No space left on device")
        return real(path, *rest)

    monkeypatch.setattr(run_folder.checkpoint, "save", full)
    rescue = tmp_path / "elsewhere"
    assert train(files, tmp_path / "run", "--epochs", "3", "--rescue", str(rescue)) == 1
    out, err = capsys.readouterr()
    assert "No space left on device; the last good files stay as they are" in err and "Traceback" not in err
    assert f"saved to {str(rescue)!r} instead" in out
    monkeypatch.setattr(run_folder.checkpoint, "save", real)
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0  # from the first state, which is whole
    assert (rescue / "model.onnx").read_bytes() == (tmp_path / "run/model.onnx").read_bytes()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_piece_and_saves(files, tmp_path, capsys, monkeypatch, number, code):
    real = fit_module.make_watched_epoch

    def slow(*args, **kwargs):
        epoch, calls = real(*args, **kwargs), []

        def call(*a):
            calls.append(1)
            if len(calls) == 3:
                signal.raise_signal(number)
            return epoch(*a)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "make_watched_epoch", slow)
        assert train(files, tmp_path / "run", "--epochs", "9") == code
    printed = capsys.readouterr().out
    assert f"stopped after 18 updates; go on with: aidgejax train --resume {tmp_path / 'run'}" in printed
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert train(files, tmp_path / "whole", "--epochs", "9") == 0
    for name in SAME:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_signal_is_not_lost_while_the_processes_agree(files, tmp_path, monkeypatch):
    """It comes after this process has printed that it has none."""
    asked = []

    def agree(number):
        asked.append(number)
        if len(asked) == 2:
            signal.raise_signal(signal.SIGTERM)
        return number

    monkeypatch.setattr(train_command, "largest", agree)
    assert train(files, tmp_path / "run", "--epochs", "9") == 143
    assert asked[:3] == [0, 0, 143]


@pytest.mark.slow
def test_kills_at_any_moment(tmp_path):
    """SIGKILL at 12 moments of a run of the digits; the end is that of a run that was left alone."""
    command = [sys.executable, "-m", "aidgejax", "train"]
    options = ["--epochs", "300", "--optimizer", "adamw"]
    subprocess.run([*command, *options, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    rng, now = np.random.default_rng(0), [*options, "--out", str(tmp_path / "run"), "--force"]
    for _ in range(12):
        process = subprocess.Popen([*command, *now], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(3, 9))
        process.kill()
        process.wait()
        if (tmp_path / "run/settings.json").exists():
            now = ["--resume", str(tmp_path / "run")]
    subprocess.run([*command, *now], check=True, capture_output=True)
    for name in SAME:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_cache_changes_no_bits_and_is_not_trusted_after_a_crash(files, tmp_path):
    cache = tmp_path / "cache"
    for name in ("cold", "warm"):
        assert train(files, tmp_path / name, "--epochs", "2", "--cache", str(cache)) == 0
    assert train(files, tmp_path / "off", "--epochs", "2", "--cache", "off") == 0
    for name in SAME:
        assert len({(tmp_path / run / name).read_bytes() for run in ("cold", "warm", "off")}) == 1
    assert not list(cache.glob(".in-use-*"))
    (cache / "jit_epoch-00-cache").write_bytes(b"what a crash left")
    (cache / f".in-use-{2**22 + 1}").touch()  # above every process id of Linux
    with compile_cache(str(cache)):
        assert not (cache / "jit_epoch-00-cache").exists()
