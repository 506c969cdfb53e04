"""Ctrl-C and SIGTERM: the first ends the training after the running piece, the second at once.

The handlers only take note, so that nothing is torn down while a compiled program runs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def leave_at_once() -> None:
    """For `python -m aidgejax` and `aidgejax`, until a command catches signals: Ctrl-C leaves without a traceback.

    A KeyboardInterrupt is lost where it is raised inside a callback of the garbage collector, and becomes an
    ImportError inside an extension that is being loaded.
    """
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    started = name == "-m" and "aidgejax" in sys.orig_argv or name in ("aidgejax", "aidgejax.exe")
    if started and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"\naidgejax: interrupted\n")
    os._exit(EXIT_CODES[signal.SIGINT])


class Caught:
    """`with Caught() as caught`: caught.code is the exit code that a signal asks for, None before there is one.

    Where the main thread is inside a compiled program it runs no Python; a second Ctrl-C is therefore seen by a thread,
    which leaves without taking the interpreter down.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Caught:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in EXIT_CODES:
            self._before[number] = signal.signal(number, self._note)
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True, name="aidgejax-signals").start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._before:
            return
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._write)  # ends the thread

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.code = self.code or EXIT_CODES[signal.Signals(number)]

    def _watch(self) -> None:
        interrupts = 0
        while received := os.read(self._read, 64):
            interrupts += received.count(signal.SIGINT)
            if interrupts > 1:
                os.write(2, b"\naidgejax: interrupted twice, leaving at once\n")
                os._exit(EXIT_CODES[signal.SIGINT])
        os.close(self._read)
