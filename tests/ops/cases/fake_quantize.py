"""FakeQuantize, rounding to steps, powers of two."""

import numpy as np

from .._case import Case, f

ROUNDS = {"differences": "the rule passes through a rounding", "jax_agrees": "JAX finds no slope in a rounding"}
CUT = {"jax_agrees": "JAX finds no slope at an end of the range"}
BETWEEN = np.array([[-3.2, -1.03, -0.26, 0.14], [0.77, 1.21, 2.42, 9.0]], np.float32)  # no halves
SCALAR = np.array(0.3, np.float32)
ROWS, ZEROS = np.array([[0.3], [0.4]], np.float32), np.array([[1.2], [-2.7]], np.float32)
BLOCKS = np.array([[0.3, 0.2], [0.5, 0.4]], np.float32)
LOW, HIGH = np.array(-8, np.float32), np.array(7, np.float32)

CASES = [
    Case("RoundTo", (f(3, 4), 0.25), why="a number", skip=ROUNDS),
    Case("RoundTo", (f(3, 4), SCALAR), why="a tensor", wrt=(0,), skip=ROUNDS),
    Case("RoundTo", (np.array([0.5, 1.5, 2.5, -0.5], np.float32), 1.0), why="halves to even", skip=ROUNDS),
    Case("RoundTo", (f(2, 2), 2.0**-40), why="steps too small to see", skip={"jax_agrees": ROUNDS["jax_agrees"]}),
    Case("FakeQuantize", (BETWEEN, SCALAR), why="8 bits, one step", skip=ROUNDS),
    Case("FakeQuantize", (BETWEEN, SCALAR, None, 0, 15), why="unsigned, 4 bits", skip=ROUNDS),
    Case("FakeQuantize", (BETWEEN, ROWS, None, -8, 7), why="a step per row", batch=(), skip=ROUNDS),
    Case("FakeQuantize", (BETWEEN, ROWS, ZEROS, -8, 7), why="zero points per row", batch=(), skip=ROUNDS),
    Case("FakeQuantize", (BETWEEN, SCALAR, np.array(3.4, np.float32), 0, 255), why="a zero point", skip=ROUNDS),
    Case("FakeQuantize", (BETWEEN, BLOCKS, None, -8, 7), why="blocks of 2", batch=(), skip=ROUNDS),
    Case("FakeQuantize", (f(2, 5), f(2, 3, lo=0.1, hi=0.3), None, -8, 7), why="a short block", batch=(), skip=ROUNDS),
    Case("FakeQuantize", (BETWEEN, SCALAR, None, LOW, HIGH), why="levels that are tensors", wrt=(0, 1), skip=ROUNDS),
    Case("FakeQuantize", (BETWEEN, SCALAR, None, -32768, 32767), slope="plain", why="16 bits", skip=ROUNDS),
    Case(
        "FakeQuantize",
        (np.array([0.5, 1.5, 2.5, -0.5], np.float32), np.array(1.0, np.float32)),
        why="halves to even",
        skip=ROUNDS,
    ),
    Case(
        "FakeQuantize",
        (f(2, 2), np.array(2.0**-20, np.float32), None, -(2**30), 2**30),
        why="steps too small to see",
        wrt=(0,),
        skip=ROUNDS | {"differences": "steps of the size of the difference"},
    ),
    Case("FakeQuantize", (np.array([40.0], np.float32), SCALAR, None, -1, 1), why="cut off", wrt=(1,), batch=()),
    Case(
        "FakeQuantize",
        (np.array([[40.0, -41.0]], np.float32), SCALAR, None, -7, 7),
        slope="pact",
        why="the clipping range",
        wrt=(1,),
        batch=(),
    ),
    Case(
        "FakeQuantize",
        (np.array([[-40.0, -41.0]], np.float32), SCALAR, np.array(2.0, np.float32), -8, 7),
        slope="plain",
        why="zero point of what is cut off",
        wrt=(2,),
        batch=(),
        skip=ROUNDS,
    ),
    Case("FakeQuantizeGrad", (f(2, 4), BETWEEN, SCALAR, None, -8, 7), outputs=2, batch=()),
    Case("FakeQuantizeGrad", (f(2, 4), BETWEEN, ROWS, ZEROS, -8, 7), outputs=3, batch=(), why="per row"),
    Case("FakeQuantizeGrad", (f(2, 4), BETWEEN, BLOCKS, None, -8, 7), outputs=2, batch=(), slope="pact", why="blocks"),
    Case("PowerOfTwo", (np.array([0.3, 1.0, 1.41, 1.42, 96.5, 2.0**-20], np.float32),), skip=ROUNDS),
]
