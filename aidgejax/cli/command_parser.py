"""How a command reads its arguments: a short usage, examples below the options, a mistake in one line with a cure."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from .arguments import DefaultsFormatter

# What other tools call an option; what only looks alike is found by its letters.
ELSEWHERE = {
    "--learning-rate": "--lr",
    "--rate": "--lr",
    "--dataset": "--data",
    "--train-data": "--data",
    "--batch": "--batch-size",
    "--steps": "--epochs",
    "--output": "--out",
    "--output-dir": "--out",
    "-o": "--out",
    "--checkpoint": "--resume",
    "--form": "--target",
    "--format": "--target",
    "--gpu": "--device",
    "--cuda": "--device",
    "--verbose": "--help",
    "-v": "--help",
}


class CommandParser(argparse.ArgumentParser):
    """Of one command, or of them all (`commands` then holds the names)."""

    def __init__(self, prog: str, description: str = "", examples: Sequence[str] = ()) -> None:
        self.commands: Sequence[str] = ()
        lines = ("examples:", *(f"  python -m aidgejax {e}" for e in examples)) if examples else ()
        super().__init__(
            prog=prog, description=description, formatter_class=DefaultsFormatter, epilog="\n".join(lines) or None
        )

    def format_usage(self) -> str:
        return f"usage: {self._arguments_in_short()}\n"

    def format_help(self) -> str:
        self.usage = self._arguments_in_short()
        return super().format_help()

    def _arguments_in_short(self) -> str:
        """Only what must be given, in an order that works."""
        words, last = [self.prog], []
        for a in self._actions:
            name = a.metavar if isinstance(a.metavar, str) else a.dest
            if a.option_strings:
                words += [f"{a.option_strings[0]} {name}"] if a.required else []
            elif a.nargs in (argparse.REMAINDER, argparse.PARSER):
                last.append("COMMAND ..." if a.nargs == argparse.PARSER else name)
            else:
                words.append(f"[{name}]" if a.nargs == "?" else name)
        return " ".join([*words, "[options]", *last])

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse has it; a command reports by itself what it does not know."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and not self.commands:
            named = next((u for u in unknown if u.startswith("-")), unknown[0]).split("=")[0]
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._meant(named)}")
        return found, unknown

    def _meant(self, name: str) -> str:
        there = {option.lstrip("-"): option for option in sorted(self._option_string_actions)}
        other = ELSEWHERE.get(name)
        if other in there.values():
            return f"; did you mean {other}?"
        close = difflib.get_close_matches(name.lstrip("-").replace("_", "-"), there, 1)  # of dashes all have two
        return f"; did you mean {there[close[0]]}?" if close else ""

    def error(self, message: str) -> NoReturn:
        """Exit code 2, after the usage and the mistake."""
        if self.commands and "invalid choice: " in message:
            name = message.split("invalid choice: ", 1)[1].split("'")[1]
            message += "".join(f"; did you mean {c}?" for c in difflib.get_close_matches(name, self.commands, 1))
        elif self.commands and "are required: command" in message:
            message += f", one of {', '.join(self.commands)}"
        self.exit(2, f"{self.format_usage()}{self.prog}: error: {message} (see {self.prog} --help)\n")
