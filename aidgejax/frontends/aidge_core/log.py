"""aidge_core.Log and Level: messages to the console, and to a file."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Any

from .errors import TensorTypeError


class Level(enum.IntEnum):
    """How important a message is."""

    Debug = 0
    Info = 1
    Notice = 2
    Warn = 3
    Error = 4
    Fatal = 5

    def __str__(self) -> str:
        return f"Level.{self.name}"


COLORS = {Level.Debug: 32, Level.Info: 34, Level.Notice: 36, Level.Warn: 33, Level.Error: 31, Level.Fatal: 35}


class Log:
    """Log.info("...") and the like; Log.set_console_level(Level.Error) shows errors alone."""

    _console = Level.Info
    _file_level = Level.Debug
    _file: Path | None = None
    _color = False
    _precision = 5

    @classmethod
    def set_console_level(cls, level: Level) -> None:
        cls._console = _checked(level)

    @classmethod
    def get_console_level(cls) -> Level:
        return cls._console

    @classmethod
    def set_console_color(cls, enabled: bool) -> None:
        cls._color = bool(enabled)

    @classmethod
    def set_file_level(cls, level: Level) -> None:
        cls._file_level = _checked(level)

    @classmethod
    def set_file_name(cls, fileName: str) -> None:  # noqa: N803
        """Messages are appended to this file, too; "" for none."""
        cls._file = Path(fileName) if fileName else None

    @classmethod
    def set_precision(cls, precision: int) -> None:
        cls._precision = int(precision)

    @classmethod
    def write(cls, level: Level, message: Any) -> None:
        line = f"[{level.name.upper()}] - {message}"
        if level >= cls._console:
            sys.stdout.write(f"\033[{COLORS[level]}m{line}\033[0m\n" if cls._color else f"{line}\n")
        if cls._file is not None and level >= cls._file_level:
            with cls._file.open("a") as f:
                f.write(f"{line}\n")

    @classmethod
    def debug(cls, message: Any) -> None:
        cls.write(Level.Debug, message)

    @classmethod
    def info(cls, message: Any) -> None:
        cls.write(Level.Info, message)

    @classmethod
    def notice(cls, message: Any) -> None:
        cls.write(Level.Notice, message)

    @classmethod
    def warn(cls, message: Any) -> None:
        cls.write(Level.Warn, message)

    @classmethod
    def error(cls, message: Any) -> None:
        cls.write(Level.Error, message)

    @classmethod
    def fatal(cls, message: Any) -> None:
        cls.write(Level.Fatal, message)


def _checked(level: Any) -> Level:
    if not isinstance(level, Level):
        raise TensorTypeError(f"a log level is one of {', '.join(f'Level.{v.name}' for v in Level)}, got {level!r}")
    return level
