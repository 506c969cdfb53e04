"""Several processes that train one model together, each with devices of its own, on jax.distributed.

    python -m aidgejax launch -n 2 SCRIPT         # the script calls join() before it uses JAX

What `launch` sets in the environment is read here.  Every process runs the same program in the same order; only the
first one writes and prints.  A process whose peers are gone cannot go on: it leaves, and `launch` starts all anew.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from ..errors import SettingError

COORDINATOR, COUNT, RANK, WATCHED, STUCK_AFTER = (
    f"AIDGEJAX_{name}" for name in ("COORDINATOR", "PROCESSES", "PROCESS", "LAUNCHER", "STUCK_AFTER")
)
LOST = 75  # exit code of a process whose peers are gone or stuck: EX_TEMPFAIL, try again
JOINING = 120  # seconds until all processes have to be there
SILENT = 300  # seconds without a sign of life of a peer that are an error, where `launch` sets none


def launched() -> tuple[int, int]:
    """(this process's number, how many there are), as `launch` said: (0, 1) without it."""
    try:
        rank, count = int(os.environ.get(RANK, 0)), int(os.environ.get(COUNT, 1))
    except ValueError:
        raise SettingError(f"{RANK} and {COUNT} must be whole numbers; `launch` sets them") from None
    return rank, count


def join() -> bool:
    """Meet the other processes that `launch` started, before JAX is used; whether there are any.

    SIGTERM stays a signal like others: JAX's own notice of preemption would swallow it.
    Raises SettingError where they do not meet; where nobody answers, ends this process with LOST and one line.
    """
    rank, count = launched()
    if count == 1 or jax.distributed.is_initialized():
        return count > 1
    if rank == 0 and "in use" in (taken := _cannot_listen(os.environ.get(COORDINATOR, ""))):
        raise SettingError(f"process 0 of {count} cannot wait for the others at {os.environ[COORDINATOR]}: {taken}")
    if rank and (why := unanswered(os.environ.get(COORDINATOR, ""), JOINING)):
        text = f"aidgejax: process {rank} of {count} lost the others: {why}; is process 0 started there?"
        os.write(2, f"{text}\n".encode())
        os._exit(LOST)
    _end_with_the_launcher()
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        silent = int(os.environ.get(STUCK_AFTER, SILENT))
        jax.distributed.initialize(
            os.environ[COORDINATOR],
            count,
            rank,
            initialization_timeout=JOINING,
            heartbeat_timeout_seconds=silent,  # not every wait is a collective, which XLA bounds
            shutdown_timeout_seconds=60,
        )
    except (RuntimeError, KeyError) as e:
        where = os.environ.get(COORDINATOR)
        cure = f"; is {where} a free port of this machine?" if rank == 0 else ""
        raise SettingError(f"process {rank} of {count} did not meet the others at {where}: {_first(e)}{cure}") from None
    return True


def unanswered(coordinator: str, seconds: float) -> str | None:
    """Why nobody can be reached at "host:port", after trying for so long; None where somebody answers.

    JAX would abort the process without naming the place.  Raises SettingError for what is no such place.
    """
    host, port = host_and_port(coordinator)
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), max(0.1, until - time.monotonic())).close()
            return None
        except socket.gaierror as e:
            raise SettingError(f"the coordinator {coordinator!r}: there is no host {host!r} ({e.strerror})") from None
        except OSError as e:
            if time.monotonic() >= until:
                return f"nobody answered at {coordinator} for {seconds:g} s ({e.strerror or e})"
            time.sleep(min(0.2, seconds / 5))


def _cannot_listen(coordinator: str) -> str:
    """Why; JAX itself would share the port with another process 0, and both wait for the others."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("", host_and_port(coordinator)[1]))
        except OSError as e:
            return str(e.strerror or e)
    return ""


def host_and_port(coordinator: str) -> tuple[str, int]:
    """Of "host:port".  Raises SettingError."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise SettingError(f"the coordinator is {coordinator!r}: expected host:port, with a port from 1 to 65535")
    return host.strip("[]"), int(port)


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def several() -> bool:
    """Whether there are other processes.  Warns where `launch` started some and this one has not met them."""
    rank, count = launched()
    if count > 1 and not jax.distributed.is_initialized():
        warnings.warn(
            f"process {rank} of {count}, started by launch, trains alone: call aidgejax.training.processes.join() "
            f"before JAX is used, and it trains with the others",
            stacklevel=3,
        )
    return jax.process_count() > 1


def from_first(text: Callable[[], str]) -> str:
    """The text, of 64 bytes or fewer, that the first process makes; each has to call it at the same point."""
    if jax.process_count() == 1:
        return text()
    from jax.experimental import multihost_utils

    given = np.frombuffer(text().encode().ljust(64), np.uint8) if is_first() else np.zeros(64, np.uint8)
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(given))).decode().strip()


def largest(number: int) -> int:
    """The largest of the numbers that the processes give; each has to call it at the same point."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.int32(number)).max())


@contextmanager
def leaving_when_peers_are_gone(what: str) -> Iterator[None]:
    """A JAX error inside, where there are several processes, ends this one with LOST and one line on stderr."""
    try:
        yield
    except jax.errors.JaxRuntimeError as e:
        if jax.process_count() == 1:
            raise
        who = f"process {jax.process_index()} of {jax.process_count()}"
        text = f"{what}: {who} lost the others, which are gone or do not answer: {_first(e)}"
        os.write(2, f"{text[:400]}\n".encode())
        leave(LOST)


def leave(code: int) -> int:
    """The exit code; where there are several processes, all of them meet once more first, unless peers are LOST."""
    if not jax.distributed.is_initialized():
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    if code != LOST:
        try:
            jax.distributed.shutdown()
        except RuntimeError:
            pass  # a peer has left already
    os._exit(code)  # what is registered to run at exit would wait for the others


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _end_with_the_launcher() -> None:
    """Leave when the pipe from the launcher closes: it was killed, and nobody would end this process."""
    held = os.environ.get(WATCHED, "")
    if not held.isdigit():
        return

    def watch(*_: Any) -> None:
        try:
            os.read(int(held), 1)
        except OSError:
            return
        os._exit(LOST)

    threading.Thread(target=watch, daemon=True, name="aidgejax-launcher").start()
