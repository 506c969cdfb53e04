"""SIGKILL a run at random moments, many of them inside a save: is the end that of a run which was left alone?

    python benchmarks/kills.py --kills 100

Jobs of the command line (the digits, AdamW) are started, killed and resumed until they are finished; then model.onnx
and history.csv are compared byte for byte with those of a run without a kill.  Every second kill waits for a file that
is being written.  Prints what was killed where; exits with 1 where a byte differs or a run could not be resumed.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAME = ("model.onnx", "history.csv")
STARTED = "epochs on"  # in the line that is printed before compiling


def command(*options):
    return [sys.executable, "-u", "-m", "aidgejax", "train", *map(str, options)]


def unfinished(folder):
    """The files that somebody is writing, or was when it was killed."""
    return set(folder.glob(".*.tmp-*"))


def killed_inside(folder, process, seconds):
    """Kill as soon as a file is being written; whether one was when the process had died."""
    before, end = unfinished(folder), time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not unfinished(folder) - before:
        pass
    process.kill()
    process.wait()
    return bool(unfinished(folder) - before)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw, root = random.Random(args.seed), Path(tempfile.mkdtemp())
    options = ("--epochs", args.epochs, "--optimizer", "adamw", "--cache", root / "cache")
    subprocess.run(command(*options, "--out", root / "whole"), check=True, capture_output=True)
    wanted = {name: (root / "whole" / name).read_bytes() for name in SAME}
    kills = inside = early = finished = 0
    bad = []
    while kills < args.kills:
        run = root / f"run{finished}"
        now = (*options, "--out", run)
        while True:
            log = root / "log"
            with open(log, "w") as out:
                process = subprocess.Popen(command(*now), stdout=out, stderr=out)
            if kills >= args.kills:
                process.wait()
            elif kills % 10 == 9:  # while starting
                time.sleep(draw.uniform(0.5, 3))
            else:
                while process.poll() is None and STARTED not in log.read_text():
                    time.sleep(0.05)
                if kills % 2:
                    time.sleep(draw.uniform(0, 3))
            done = process.poll()
            if done is not None:
                if done:
                    bad.append(f"run {finished}: exit code {done}: {log.read_text()[-300:]}")
                break
            early += STARTED not in log.read_text()
            inside += killed_inside(run, process, 0 if kills % 2 else 8)
            kills += 1
            if (run / "settings.json").exists():
                now = ("--resume", run)
            else:
                now = (*options, "--out", run, "--force")
            print(f"{kills} kills, {early} while starting, {inside} inside a save, {finished} finished", flush=True)
        bad += [f"run {finished}: {n} differs" for n in SAME if (run / n).read_bytes() != wanted[n]]
        finished += 1
    print(
        f"{kills} kills, {early} while starting, {inside} inside a save; {finished} finished runs; differences: {bad}"
    )
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
