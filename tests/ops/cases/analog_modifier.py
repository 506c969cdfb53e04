"""The held weight modifiers of the explicit tile, and drift compensation."""

import numpy as np

from .._case import Case, f

RULE = {"differences": "passed straight through, as aihwkit does", "jax_agrees": "passed straight through"}
CLEAN, FIRST = np.array([3, 0], np.int32), np.array([3, 1], np.int32)


def held(modifier, draw=FIRST, shape=(5, 4), why="", skip=None, **attrs):
    attrs = {"training_mode": 1, **attrs}
    return Case(
        "HeldWeightModifier", (f(*shape), draw), wrt=(0,), batch=(), modifier=modifier, why=why or modifier.lower(),
        skip=RULE if skip is None else skip, **attrs,
    )  # fmt: skip


CASES = [
    held("DISCRETIZE", res=1 / 7),
    held("DISCRETIZE", res=1 / 7, copy_last_column=1, why="the last column kept"),
    held("DISCRETIZE", res=1 / 7, rel_to_actual_wmax=0, assumed_wmax=0.7, shape=(2, 3, 2, 2), why="of a convolution"),
    held("DOREFA", res=1 / 7),
    held("COPY", skip={}),
    held("ADD_NORMAL", draw=CLEAN, std_dev=0.1, skip={}, why="before the first step"),
    held("ADD_NORMAL", training_mode=0, std_dev=0.1, skip={}, why="outside training"),
    held("DISCRETIZE", training_mode=0, enable_during_test=1, res=1 / 7, why="outside training, enabled"),
    Case("DriftCompensation", (f(3, 5), f(5, lo=0.5)), wrt=(0,), batch=()),
    Case("DriftCompensation", (f(3, 5), f(1, lo=0.5)), wrt=(0,), batch=(), training_mode=1, why="in training"),
    Case("DriftCompensation", (f(2, 5, 3, 3), f(5, 1, 1, lo=0.5)), wrt=(0,), batch=(), why="of images"),
]
