"""Requantize."""

import numpy as np

from .._case import Case, i

SUMS = np.array([[-7, -5, -3, -1], [1, 3, 5, 1000]], np.int32)


def n(*values):
    return np.array(values[0] if len(values) == 1 else values, np.int32)


CASES = [
    Case("Requantize", (SUMS, n(1), n(1), n(0)), low=-128, high=127, to=3, why="halves to even, a shift"),
    Case("Requantize", (SUMS, n(1), n(0), n(5)), low=0, high=15, to=2, why="no shift, 4 bits, a zero point"),
    Case(
        "Requantize",
        (i(2, 4, lo=-(2**20), hi=2**20, dtype=np.int32), n(2**30 + 12345, 3, 7, 2**29 + 1), n(40, 11, 13, 38), n(-3)),
        low=-32768,
        high=32767,
        to=5,
        batch=(),
        why="a multiplier per column",
    ),
]
