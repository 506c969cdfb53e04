"""What argparse is to make of an argument's text."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..errors import SettingError


def count(least: int) -> Callable[[str], int]:
    """A whole number, `least` or more."""

    def parse(text: str) -> int:
        try:
            n = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if n < least:
            raise argparse.ArgumentTypeError(f"{n} is below {least}")
        return n

    return parse


def number(least: float) -> Callable[[str], float]:
    """A number above `least`."""

    def parse(text: str) -> float:
        try:
            x = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not x > least:
            raise argparse.ArgumentTypeError(f"{text} is not above {least:g}")
        return x

    return parse


def class_weights(words: list[str]) -> Any:
    """ "balanced", or numbers.  Raises SettingError."""
    if words == ["balanced"]:
        return words[0]
    try:
        return [float(w) for word in words for w in word.split(",")]
    except ValueError:
        raise SettingError(
            f"--class-weights {' '.join(words)}: expected balanced, or a number for each class"
        ) from None


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of each argument that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool):
            return action.help
        return super()._get_help_string(action)
