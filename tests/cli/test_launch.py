"""Several processes: started, watched, killed, stuck, stopped, started anew."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.cli.launcher import Launcher
from aidgejax.cli.main import main
from aidgejax.training import checkpoint
from aidgejax.training.processes import COUNT, RANK, several, unanswered

ROOT = str(Path(aj.__file__).parents[1])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    x, y = rng.normal(size=(64, 8)).astype(np.float32), rng.integers(0, 3, 64)
    np.savez(folder / "d.npz", x=x, target=y, test_x=x[:10], test_target=y[:10])
    aj.onnxio.write(aj.zoo.mlp(sizes=(8, 16, 3)), None, folder / "m.onnx")
    return folder


def arguments(files, out, epochs):
    return [
        "train", "--model", str(files / "m.onnx"), "--data", str(files / "d.npz"), "--batch-size", "8", "--epochs",
        str(epochs), "--optimizer", "sgd", "--lr", "0.01", "--out", str(out), "--cache", str(files / "cache"),
    ]  # fmt: skip


STARTED = []


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    """Processes leave with their launcher; a test that fails must not leave it training."""
    yield
    while STARTED:
        STARTED.pop().kill()


def launch(*command, processes=2, **more):
    STARTED.append(subprocess.Popen(
        [sys.executable, "-m", "aidgejax", "launch", "-n", str(processes), *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **{"env": {**os.environ, "PYTHONPATH": ROOT}} | more,
    ))  # fmt: skip
    return STARTED[-1]


def pids(launcher, number=2):
    found = []
    while len(found) < number:
        line = launcher.stderr.readline()
        assert line, "the launcher ended before it had started all"
        found += [int(m[1]) for m in [re.search(r"pid (\d+)", line)] if m]
    return found


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def rows(out):
    try:
        return len((out / "history.csv").read_text().splitlines())
    except FileNotFoundError:
        return 0


DYING = """
import os, signal
if os.environ.get("AIDGEJAX_PROCESS"):
    from aidgejax.cli import run_folder
    run_folder.SECONDS = 0.0
    marker = os.environ.get("DIES_ONCE", "")
    if marker:
        run_folder.LARGE = 0
    ended = run_folder.RunFolder.epoch
    def epoch(self, record, state):
        ended(self, record, state)
        if marker and os.environ["AIDGEJAX_PROCESS"] == "1" and record["epoch"] == 4 and not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    run_folder.RunFolder.epoch = epoch
"""


@pytest.mark.filterwarnings("ignore:checkpoint")  # read on another number of devices
def test_a_killed_process_ends_the_other_and_the_restart_reaches_the_same_bits(files, tmp_path, capsys):
    """Two processes of two devices, sharded, whose checkpoints are in parts where they die; and close to one device."""
    (tmp_path / "sitecustomize.py").write_text(DYING)
    path = os.pathsep.join([str(tmp_path), ROOT])
    more = ("--batch-size", "16", "--devices", "4", "--sharded")
    whole = launch(*arguments(files, tmp_path / "whole", 6), *more, env={**os.environ, "PYTHONPATH": path})
    out, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, err
    assert "4 devices (4 data), parameters split" in out

    marker = tmp_path / "died"
    environment = {**os.environ, "PYTHONPATH": path, "DIES_ONCE": str(marker)}
    killed = launch(*arguments(files, tmp_path / "killed", 6), *more, env=environment)
    first, _ = pids(killed)
    wait_for(marker.exists)
    began = time.monotonic()
    wait_for(lambda: not alive(first))
    assert time.monotonic() - began < 15
    out, err = killed.communicate(timeout=300)
    assert killed.returncode == 0, err
    messages = [line for line in err.splitlines() if line.startswith("aidgejax launch")]
    assert len(messages) == 1 and "starting again (3 left)" in messages[0]
    assert re.search(r"going on after (16|20) updates", out)
    for name in ("model.onnx", "history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert checkpoint.parts_of(tmp_path / "whole" / "last.ckpt") == []
    states = tmp_path / "killed" / "last.ckpt"
    parts = checkpoint.parts_of(states)
    assert [p.suffix for p in parts] == [".0", ".1"] and len({p.stem for p in parts}) == 1  # no older ones
    whole, killed = (checkpoint.load(tmp_path / name / "last.ckpt") for name in ("whole", "killed"))
    for a, b in zip(jax.tree.leaves(whole["opt"]), jax.tree.leaves(killed["opt"]), strict=True):
        np.testing.assert_array_equal(a, b)
    parts[1].rename(tmp_path / "elsewhere")
    with pytest.raises(aj.CheckpointError, match=r"its part 'last.ckpt.[0-9a-f]{16}.1' is not beside it"):
        checkpoint.load(states)

    assert main([*arguments(files, tmp_path / "one", 6), "--batch-size", "16"]) == 0
    capsys.readouterr()
    one, many = (checkpoint.load(tmp_path / name / "last.ckpt")["params"] for name in ("one", "whole"))
    for name, w in one.items():
        np.testing.assert_allclose(many[name], w, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_stuck_process_is_an_error_in_the_configured_time(files, tmp_path):
    stuck = launch("--restarts", "0", "--stuck-after", "8", *arguments(files, tmp_path / "run", 100_000))
    first, second = pids(stuck)
    wait_for(lambda: rows(tmp_path / "run") > 1)
    os.kill(second, signal.SIGSTOP)
    began = time.monotonic()
    _, err = stuck.communicate(timeout=300)
    assert stuck.returncode == 75
    assert 7 < time.monotonic() - began < 8 + 15, err
    assert not alive(first) and not alive(second)
    message = err.strip().splitlines()[-1]
    assert "do not answer" in message and "no restart is left" in message


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:checkpoint")  # read on another number of devices
@pytest.mark.parametrize("to", ["launcher", "first", "second"])
def test_sigterm_anywhere_saves_everywhere(files, tmp_path, to):
    run = launch(*arguments(files, tmp_path / "run", 100_000))
    first, second = pids(run)
    wait_for(lambda: rows(tmp_path / "run") > 1)
    os.kill({"launcher": run.pid, "first": first, "second": second}[to], signal.SIGTERM)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 143, err
    assert "go on with: aidgejax train --resume" in out
    state = checkpoint.load(tmp_path / "run" / "last.ckpt")
    assert rows(tmp_path / "run") == int(state["step"]["low"]) + 1


@pytest.mark.slow
def test_processes_leave_when_the_launcher_is_killed(files, tmp_path):
    run = launch(*arguments(files, tmp_path / "run", 100_000))
    both = pids(run)
    wait_for(lambda: rows(tmp_path / "run") > 1)
    run.kill()
    run.communicate(timeout=60)
    wait_for(lambda: not any(map(alive, both)), 15)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:checkpoint")  # read on another number of devices
def test_two_launch_commands_meet_at_the_coordinator(files, tmp_path):
    """As on two machines: each starts one process; the end is that of one launch of two."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    more = ("--batch-size", "16", "--devices", "4", "--sharded")
    both = [
        launch("--coordinator", f"127.0.0.1:{port}", "--rank", rank, *arguments(files, tmp_path / "apart", 4), *more)
        for rank in (1, 0)
    ]
    said = [p.communicate(timeout=300) for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert "process 1 of 2: pid" in said[0][1] and "process 0 of 2: pid" in said[1][1]
    assert "4 devices (4 data), parameters split" in said[1][0]
    together = launch(*arguments(files, tmp_path / "together", 4), *more)
    out, err = together.communicate(timeout=300)
    assert together.returncode == 0, err
    for name in ("model.onnx", "history.csv"):
        assert (tmp_path / "apart" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()


@pytest.mark.slow
def test_of_two_launch_commands_both_end_when_one_process_dies(files, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    here = ("--coordinator", f"127.0.0.1:{port}", "--restarts", "0", "--stuck-after", "10")
    first, second = (
        launch(*here, "--rank", rank, *arguments(files, tmp_path / "run", 100_000), "--force") for rank in (0, 1)
    )
    (pid,) = pids(second, 1)
    wait_for(lambda: rows(tmp_path / "run") > 1)
    os.kill(pid, signal.SIGKILL)
    for p in (first, second):
        _, err = p.communicate(timeout=60)
        assert p.returncode == 75, err
        assert "no restart is left" in err.strip().splitlines()[-1]


# ---- the launcher alone ------------------------------------------------------------------------------

SCRIPT = """
import os, sys, time
rank = int(os.environ["AIDGEJAX_PROCESS"])
sys.stderr.write(f"from {rank}\\n")
sys.stderr.flush()
code = int(sys.argv[1 + rank])
time.sleep(60 if code < 0 else 0)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "codes, expected, starts",
    [((0, 0), 0, 1), ((0, 1), 1, 1), ((2, -1), 2, 1), ((-1, 9), 75, 2), ((75, -1), 75, 2), ((143, 143), 143, 1)],
)
def test_codes(codes, expected, starts, capsys, monkeypatch):
    monkeypatch.setattr("aidgejax.cli.launcher.GRACE", 0.2)
    begun = []

    def command(again):
        begun.append(again)
        return [sys.executable, "-c", SCRIPT, *map(str, codes)]

    assert Launcher(2, range(2), None, 1, 60).run(command) == expected
    assert begun == [False, True][:starts]
    err = capsys.readouterr().err
    assert ("no restart is left" in err) == (expected == 75)


@pytest.mark.parametrize(
    "command, message",
    [
        (["-n", "2", "serve"], "launch runs `train ...` or a script"),
        (["-n", "2", "--rank", "1", "train"], "--coordinator and --rank belong together"),
        (["-n", "2", "--rank", "2", "--coordinator", "a:1", "train"], "expected 0 to 1"),
        (["-n", "2", "--rank", "1", "--coordinator", "a:1", "train"], "needs --out"),
        (["-n", "2", "--rank", "1", "--coordinator", "foo", "train"], "'foo': expected host:port"),
        (["-n", "2", "--rank", "1", "--coordinator", "a:99999", "train"], "'a:99999': expected host:port"),
        (["-n", "2", "missing.py"], "there is no script 'missing.py'"),
        (["-n", "2", "train", "--devices", "3"], "2 processes, which do not divide them: take 2 or 4"),
    ],
)
def test_what_launch_refuses(command, message, capsys):
    assert main(["launch", *command]) == 1
    assert message in capsys.readouterr().err


def test_a_coordinator_that_nobody_answers_for_is_named():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # and does not listen
        where = f"127.0.0.1:{s.getsockname()[1]}"
        assert unanswered(where, 0.05) == f"nobody answered at {where} for 0.05 s (Connection refused)"
        s.listen()
        assert unanswered(where, 5) is None


def test_a_script_that_has_not_met_the_others_is_warned(monkeypatch):
    assert not several()
    monkeypatch.setenv(COUNT, "2")
    monkeypatch.setenv(RANK, "1")
    with pytest.warns(UserWarning, match=r"process 1 of 2, .* trains alone: call aidgejax.training.processes.join\(\)"):
        assert not several()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--devices", "1000"], "1000 devices: a CPU is made into at most 64"),
        (["--devices", "2", "--backend", "numpy"], "--backend numpy runs without JAX"),
    ],
)
def test_devices_that_there_cannot_be_leave_no_folder(files, tmp_path, options, message, capsys):
    jax.devices()  # or there would be more of them from here on
    assert main([*arguments(files, tmp_path / "run", 1), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_more_devices_than_there_are(files, tmp_path, capsys):
    jax.devices()  # from here on JAX makes no more of them
    assert main([*arguments(files, tmp_path / "run", 1), "--devices", "4"]) == 1
    assert "--devices 4: JAX has 1 here (cpu)" in capsys.readouterr().err
