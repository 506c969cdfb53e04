"""How far apart are two cores of this machine?  The time in which a number goes from one to the other and back.

A virtual machine's cores can share a cache (65 ns, or about 200 with Python's own share) or lie in two parts of the
processor (360 ns, or about 500), and its host moves them as it runs: a step on two threads then takes up to 1.7 times
as long, while what a core computes alone takes as long as before.  So figures by the clock belong beside this one.

    python benchmarks/core_distance.py
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time

ROUNDS, WARM_UP = 20_000, 2_000


def round_trip() -> float:
    """Nanoseconds, Python's own share included; NaN where there is one core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return float("nan")
    line = mmap.mmap(-1, mmap.PAGESIZE)
    child = os.fork()
    os.sched_setaffinity(0, {cores[0 if child else 1]})
    begun = 0.0
    for k in range(ROUNDS):
        if k == WARM_UP:
            begun = time.perf_counter()
        asked = 2 * (k % 100) + 1
        if child:
            line[0] = asked
        while line[0] != asked + bool(child):
            pass
        if not child:
            line[0] = asked + 1
    took = time.perf_counter() - begun
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    os.sched_setaffinity(0, cores)
    return took / (ROUNDS - WARM_UP) * 1e9


def of_this_machine() -> str:
    """In words, measured in a process of its own: JAX's threads do not survive a fork."""
    return subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    print(f"two cores apart: {round_trip():.0f} ns")
