"""Starts processes that train together, watches them, ends all when one dies, and starts them anew."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from ..training.processes import COORDINATOR, COUNT, LOST, RANK, STUCK_AFTER, WATCHED

GRACE = 8.0  # seconds that the others have, when one has ended, before they are killed
FINAL = (1, 2, 130, 143)  # exit codes after which nothing is started anew: the user's to mend, or asked for
SILENCE = re.compile(r"heartbeat|distributed service", re.I)  # JAX aborts a process whose peers give no sign of life
NOISE = re.compile(r"^[IWEF]\d{4} |^\*\*\* |^\s*@ +0x|^$")  # what the runtime logs about connections that end


@dataclass
class Launcher:
    """Runs commands in `count` processes.

    ranks: which of them this machine runs; coordinator: "host:port" where they meet, None: a free port of this machine.
    restarts: how often all are started anew.  stuck_after: seconds without an answer from a peer that are an error.
    """

    count: int
    ranks: Sequence[int]
    coordinator: str | None
    restarts: int
    stuck_after: int
    running: list[subprocess.Popen] = field(default_factory=list)
    asked: int | None = None

    def run(self, command: Callable[[bool], list[str]]) -> int:
        """The exit code of all: 0, that of the first that failed for good, LOST after the last restart.

        command(again): the arguments of a process, at first and after a restart.
        """
        before = {s: signal.signal(s, self._pass_on) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for attempt in range(self.restarts + 1):
                code, why = self._once(command(attempt > 0))
                if code == 0 or code in FINAL or self.asked:
                    return code
                left = self.restarts - attempt
                then = f"starting again ({left} left)" if left else "no restart is left"
                print(f"aidgejax launch: {why}; all processes were ended, {then}", file=sys.stderr, flush=True)
            return LOST
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)

    def _once(self, command: list[str]) -> tuple[int, str]:
        """(exit code, why it is not 0) of one start of all processes."""
        coordinator = self.coordinator or f"127.0.0.1:{_free_port()}"
        reading, writing = os.pipe()  # closes when this process dies, whatever of
        with tempfile.TemporaryDirectory(prefix="aidgejax-launch-") as folder:
            logs = [Path(folder, str(r)) for r in self.ranks]
            self.running = []
            try:
                for r, log in zip(self.ranks, logs, strict=True):
                    self.running.append(self._start(command, r, coordinator, reading, log))
                    print(f"process {r} of {self.count}: pid {self.running[-1].pid}", file=sys.stderr, flush=True)
                ended = self._watch()
            finally:
                self._end_all()
                os.close(reading)
                os.close(writing)
            return self._verdict(ended, logs)

    def _start(self, command: list[str], rank: int, coordinator: str, pipe: int, log: Path) -> subprocess.Popen:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_collective_timeout_seconds={self.stuck_after}"
        environment = os.environ | {
            COORDINATOR: coordinator,
            COUNT: str(self.count),
            RANK: str(rank),
            WATCHED: str(pipe),
            STUCK_AFTER: str(self.stuck_after),
            "XLA_FLAGS": flags.strip(),
        }
        with open(log, "wb") as errors:
            return subprocess.Popen(
                command,
                env=environment,
                stdout=None if rank == 0 else subprocess.DEVNULL,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                pass_fds=(pipe,),
                start_new_session=True,  # so that Ctrl-C reaches them once, through this process
            )

    def _watch(self) -> int | None:
        """The number, among those started here, of the process that failed first; None when none did."""
        failed, since = None, 0.0
        while any(p.poll() is None for p in self.running):
            if failed is None:
                failed = next((k for k, p in enumerate(self.running) if p.poll() not in (None, 0)), None)
                since = time.monotonic()
            elif time.monotonic() - since > GRACE:
                self._end_all()
            time.sleep(0.05)
        codes = [p.returncode for p in self.running]
        return failed if failed is not None else next((k for k, c in enumerate(codes) if c), None)

    def _verdict(self, failed: int | None, logs: list[Path]) -> tuple[int, str]:
        if failed is None:
            self._show(logs[0])
            return 0, ""
        codes = [p.returncode for p in self.running]
        final = next((c for c in codes if c in FINAL), None)
        code, rank = codes[failed], self.ranks[failed]
        if final is not None and code not in (LOST,) and code > 0:
            self._show(logs[codes.index(final)])
            return final, f"process {rank} left with code {final}"
        if code == LOST:
            lines = [line for line in _lines(logs[failed]) if "lost the others" in line]
            return LOST, lines[-1].split(": ", 1)[-1] if lines else f"process {rank} lost the others"
        if code == -signal.SIGABRT and any(SILENCE.search(line) for line in _lines(logs[failed])):
            return LOST, f"process {rank} of {self.count} lost the others, which are gone or do not answer"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with code {code}"
        if code > 0:
            self._show(logs[failed])
        return LOST, f"process {rank} of {self.count} {how}"

    def _show(self, log: Path) -> None:
        for line in _lines(log):
            if not NOISE.match(line):
                print(line, file=sys.stderr, flush=True)

    def _end_all(self) -> None:
        for p in self.running:
            if p.poll() is None:
                p.kill()
        for p in self.running:
            p.wait()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        for p in self.running:
            if p.poll() is None:
                p.send_signal(number)


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
