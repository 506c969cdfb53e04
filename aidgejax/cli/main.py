"""python -m aidgejax COMMAND     (see --help of each)

A command is a module of aidgejax/cli/commands: HELP, EXAMPLES, add_arguments(parser) and run(args) -> exit code, None
for 0.  Its name is the file's, with - for _.  It is found by being there.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import metadata

from ..errors import AidgeJaxError
from ..training.processes import leave, leaving_when_peers_are_gone
from . import commands
from .command_parser import CommandParser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.  Returns 0, 1 for what the user can mend (one line on stderr), 130 or 143 after a signal,
    75 where the other processes of a launch are gone.

    Bad arguments leave with SystemExit(2), as argparse does.
    """
    args = parser().parse_args(argv)
    with leaving_when_peers_are_gone(f"aidgejax {args.command}"):
        return leave(_code(args))


def _code(args: argparse.Namespace) -> int:
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
        return code
    except AidgeJaxError as e:
        text = " ".join(str(e).split())
        print(f"aidgejax {args.command}: {text} (more: aidgejax explain {e.topic})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"aidgejax {args.command}: interrupted", file=sys.stderr)
        return 130
    except OSError as e:
        try:
            sys.stdout.flush()
        except OSError:  # nobody takes it: nor would they at the interpreter's end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(e, BrokenPipeError):
            return 0
        with contextlib.suppress(OSError):
            print(f"aidgejax {args.command}: {e}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    top = CommandParser(
        prog="python -m aidgejax",
        description="Train explicit graphs for hardware: ONNX in, hand-written gradients, ONNX out.",
        examples=(
            "train",
            "train --model m.onnx --data d.npz --out run",
            "quantize --help",
        ),
    )
    top.add_argument("--version", action="version", version=f"aidgejax {_version()}")
    listed = top.add_subparsers(dest="command", required=True, metavar="command")
    for name in sorted(m.name for m in pkgutil.iter_modules(commands.__path__)):
        command = importlib.import_module(f"{commands.__name__}.{name}")
        options = listed.add_parser(
            name.replace("_", "-"),
            help=command.HELP,
            description=f"{command.HELP[0].upper()}{command.HELP[1:]}.",
            examples=command.EXAMPLES,
            prog=f"{top.prog} {name.replace('_', '-')}",
        )
        command.add_arguments(options)
        options.set_defaults(run=command.run)
    top.commands = tuple(listed.choices)
    return top


def _version() -> str:
    try:
        return metadata.version("aidgejax")
    except metadata.PackageNotFoundError:
        return "(not installed: run from its source)"
