"""Aidge's quantizers."""

import numpy as np

from .._case import Case, f

ROUNDS = {"differences": "the rule passes through a rounding", "jax_agrees": "JAX finds no slope in a rounding"}
CONSTANT = {"differences": "the scale is taken as a constant", "jax_agrees": "the scale is taken as a constant"}
BETWEEN = np.array([[-3.2, -1.03, -0.26, 0.14], [0.77, 1.21, 2.42, 9.0]], np.float32)  # no halves
LARGE = np.array([[40.0, -41.0], [50.3, -44.0]], np.float32)
STEP = np.array([0.3], np.float32)

CASES = [
    Case("LSQ", (BETWEEN, STEP), range=(-8, 7), batch=(), skip=ROUNDS),
    Case("LSQ", (BETWEEN, STEP), range=(0, 15), why="unsigned", batch=(), skip=ROUNDS),
    Case("LSQ", (np.array([40.0], np.float32), STEP), range=(-1, 1), why="cut off", wrt=(1,), batch=()),
    Case("DoReFa", (f(3, 4, lo=-1, hi=1),), range=15, skip=ROUNDS),
    Case("DoReFa", (f(3, 4, lo=-1, hi=1),), range=15, mode="Symmetric", skip=ROUNDS),
    Case("CGPACT", (BETWEEN, np.array([1.7], np.float32)), range=15, batch=(), skip=ROUNDS),
    Case("CGPACT", (LARGE, np.array([0.6], np.float32)), range=255, why="all cut off", wrt=(1,), batch=()),
    Case("TanhClamp", (f(3, 2, 2),), outputs=2, batch=(), skip=CONSTANT),
    Case("ScaleAdjust", (f(3, 2, 2),), outputs=2, batch=(), skip=CONSTANT),
    Case("FixedQ", (BETWEEN,), nb_bits=4, span=2.0, skip=ROUNDS),
    Case("FixedQ", (BETWEEN,), nb_bits=8, span=4.0, is_output_unsigned=True, skip=ROUNDS),
]
