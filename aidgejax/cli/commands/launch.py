"""Runs `train`, or a script, in several processes that train together; restarts them when one dies."""

from __future__ import annotations

import argparse
import os
import sys

from ...errors import SettingError
from ...training.parallel import nearest
from ...training.processes import host_and_port
from .. import run_folder
from ..arguments import count
from ..launcher import Launcher
from ..settings import RESUMABLE
from . import train

HELP = "train in several processes, on one machine or on several"
EXAMPLES = (
    "launch -n 2 train --model m.onnx --data d.npz --out run",
    "launch -n 2 script.py",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--processes", type=count(1), required=True, metavar="N", help="processes in all")
    parser.add_argument(
        "--coordinator", metavar="HOST:PORT", help="where the processes meet: a free port of the machine of process 0"
    )
    parser.add_argument(
        "--rank", type=count(0), metavar="R", help="start process R alone, the others being started on other machines"
    )
    parser.add_argument("--restarts", type=count(0), default=3, help="how often all are started anew (default: 3)")
    parser.add_argument(
        "--stuck-after", type=count(1), default=300, metavar="S",
        help="seconds without an answer from a process that count as an error; longer than the longest pause, such as "
        "a compilation (default: 300)",
    )  # fmt: skip
    parser.add_argument(
        "command_line", nargs=argparse.REMAINDER, metavar="train ... | script.py ...", help="what each of them runs"
    )


def run(args: argparse.Namespace) -> int:
    """Exit code of the processes; 75 where they died more often than there are restarts."""
    what = args.command_line
    if not what or not (what[0] == "train" or what[0].endswith(".py")):
        raise SettingError("launch runs `train ...` or a script: python -m aidgejax launch -n 2 train --out run")
    if (args.rank is None) != (args.coordinator is None):
        raise SettingError("--coordinator and --rank belong together: with them each machine starts one process")
    if args.coordinator is not None:
        host_and_port(args.coordinator)
    if what[0] != "train" and not os.path.isfile(what[0]):
        raise SettingError(f"launch: there is no script {what[0]!r}")
    if args.rank is not None and args.rank >= args.processes:
        raise SettingError(f"--rank {args.rank} with {args.processes} processes: expected 0 to {args.processes - 1}")
    ranks = range(args.processes) if args.rank is None else [args.rank]
    launcher = Launcher(args.processes, ranks, args.coordinator, args.restarts, args.stuck_after)
    if what[0] != "train":
        return launcher.run(lambda again: [sys.executable, *what])
    parser = argparse.ArgumentParser(prog="python -m aidgejax launch ... train")
    train.add_arguments(parser)
    given = parser.parse_args(what[1:])
    if given.devices and given.devices % args.processes:
        raise SettingError(
            f"--devices {given.devices} are those of all {args.processes} processes, which do not divide them: take "
            f"{nearest(given.devices, args.processes)}"
        )
    if not given.resume and not given.out:
        if args.rank is not None:
            raise SettingError("training on several machines needs --out, a folder that all of them see")
        given.out = run_folder.claim(None, False)
        what = [*what, "--out", given.out]
    started = [sys.executable, "-m", "aidgejax", *what]

    def command(again: bool) -> list[str]:
        folder = given.resume or given.out
        if not again or not os.path.exists(os.path.join(folder, run_folder.LAST)):
            return started if not again or given.resume else [*started, "--force"]
        kept = [(k, getattr(given, k)) for k in RESUMABLE]
        more = [part for k, v in kept if v not in (None, False) for part in _option(k, v)]
        return [sys.executable, "-m", "aidgejax", "train", "--resume", folder, *more]

    return launcher.run(command)


def _option(name: str, value: object) -> list[str]:
    option = "--" + name.replace("_", "-")
    return [option] if value is True else [option, str(value)]
