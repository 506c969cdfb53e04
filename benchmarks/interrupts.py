"""SIGINT at random moments of `train`: exit code 130 and a message each time, never a crash, and what was saved loads.

    python benchmarks/interrupts.py --tries 50

Phases in turn: importing (0.1 s after the start up to the first line), compiling (up to 3 s after that line, without a
cache), running (after the first epoch) and saving (while a file is being written).  Prints a line for each phase; exits
with 1 where one try failed.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from aidgejax.training.checkpoint import load

STARTED = "epochs on"  # in the line that is printed before compiling
PHASES = ("importing", "compiling", "running", "saving")


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not condition():
        time.sleep(0.002)


def interrupted(phase, folder, draw, imports):
    """(exit code, whether it was said, what is wrong or "") of one run."""
    log, run = folder / "log", folder / "run"
    command = [
        "-X",
        "faulthandler",
        "-u",
        "-m",
        "aidgejax",
        "train",
        "--epochs",
        "100000",
        "--out",
        run,
        "--cache",
        "off",
    ]
    with open(log, "w") as out:
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=out, stderr=out)
    if phase == "importing":
        time.sleep(draw.uniform(0.1, imports))
    else:
        wait_for(lambda: STARTED in log.read_text(), process)
    if phase == "compiling":
        time.sleep(draw.uniform(0, 3))
    if phase in ("running", "saving"):
        times = run / "times.csv"
        wait_for(lambda: times.exists() and times.read_text().count("\n") > 1, process)
        if phase == "running":
            time.sleep(draw.uniform(0, 3))
        else:
            wait_for(lambda: any(run.glob(".*.tmp-*")), process)
    process.send_signal(signal.SIGINT)
    try:
        code = process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "hangs", False, "it did not end within 60 s"
    text = log.read_text()
    said = "interrupted" in text or "go on with: aidgejax train --resume" in text
    if "Fatal Python error" in text or "Traceback" in text:
        return code, said, text[-600:]
    if code != 130 or not said:
        return code, said, f"{phase}: exit code {code}, {text[-300:]!r}"
    if (run / "last.ckpt").exists():
        load(run / "last.ckpt")
    return code, said, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "aidgejax", "train", "--help"], check=True, capture_output=True)
    imports = time.monotonic() - began
    codes = {phase: Counter() for phase in PHASES}
    bad = []
    for k in range(args.tries):
        phase = PHASES[k % len(PHASES)]
        with tempfile.TemporaryDirectory() as folder:
            code, said, wrong = interrupted(phase, Path(folder), draw, imports)
        codes[phase][code] += 1
        print(f"{k + 1}: {phase}, exit code {code}", flush=True)
        if wrong:
            bad.append(wrong)
            print(wrong, flush=True)
    for phase, found in codes.items():
        print(f"{phase}: exit codes {dict(found)}")
    print(f"{args.tries} interrupts, {len(bad)} that did not end with 130 and a message")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
