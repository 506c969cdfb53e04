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
    """Shows the default of every option that takes a value, once: where its help does not say it already.

    A value without a name of its own is called VALUE.  Lines that begin with a blank, such as examples, stay whole.
    """

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return "VALUE"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(
            s if s.startswith(" ") else super(DefaultsFormatter, self)._fill_text(s, width, indent) for s in lines
        )

    def add_argument(self, action: argparse.Action) -> None:
        if action.help is None and action.option_strings:
            action.help = ""  # else argparse does not ask for what is shown
        super().add_argument(action)

    def _format_action(self, action: argparse.Action) -> str:
        if action.help == "":
            action.help = self._get_help_string(action) or ""
        return super()._format_action(action)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said = action.help or ""
        flag = action.nargs == 0 or not action.option_strings or action.required
        if flag or "default" in said or said == argparse.SUPPRESS:
            return action.help
        usual = action.default if action.default not in (None, [], "") else "none"
        return f"{said} (default: {usual})".strip()
