"""Quantization.  No row has a half to round: its result in float64 is that in float32."""

import ml_dtypes
import numpy as np

from .._case import Case, f, i

X = np.array([[-3.1, -0.26, 0.14, 0.77], [1.21, 2.42, 9.3, -40.0], [0.0, 0.61, -0.9, 30.7]], np.float32)
STEP, STEPS = np.array(0.3, np.float32), np.array([0.3, 0.2, 0.5, 0.4], np.float32)
BLOCKS = np.array([[0.3, 0.2], [0.5, 0.4], [0.7, 0.6]], np.float32)
Z8, ZU8 = np.array(3, np.int8), np.array(100, np.uint8)
ZEROS8 = np.array([3, -5, 0, 7], np.int8)
NARROW = ml_dtypes.int4


def q(*shape, dtype=np.int8, lo=-100, hi=100):
    return i(*shape, lo=lo, hi=hi, dtype=dtype)


CASES = [
    Case("QuantizeLinear", (X, STEP, Z8), wrt=(), why="int8, one scale"),
    Case("QuantizeLinear", (X, STEPS), wrt=(), why="uint8, a scale per column, no zero point"),
    Case(
        "QuantizeLinear",
        (X, np.array([0.3, 0.2, 0.5], np.float32), np.array([1, 2, 3], np.uint16)),
        axis=-2,
        wrt=(),
        batch=(),
        why="uint16, a scale per row",
    ),
    Case(
        "QuantizeLinear",
        (X, BLOCKS, np.arange(6).reshape(3, 2).astype(NARROW)),
        axis=1,
        block_size=2,
        wrt=(),
        batch=(),
        why="int4, blocks",
    ),
    Case("QuantizeLinear", (X, STEP), output_dtype=5, wrt=(), why="int16 asked for"),
    Case("DequantizeLinear", (q(3, 4), STEP, Z8), why="int8, one scale"),
    Case("DequantizeLinear", (q(3, 4, dtype=np.uint8, lo=0), STEPS), why="uint8, a scale per column, no zero point"),
    Case(
        "DequantizeLinear",
        (q(3, 4, dtype=np.int16), f(3, 2), np.arange(6).reshape(3, 2).astype(np.int16)),
        axis=-1,
        block_size=2,
        batch=(),
        why="int16, blocks",
    ),
    Case("DequantizeLinear", (q(2, 3, dtype=np.int32), STEP), why="int32"),
    Case("DynamicQuantizeLinear", (X,), outputs=3, wrt=(), batch=(), why="both signs"),
    Case("DynamicQuantizeLinear", (f(3, 4, lo=1),), outputs=3, wrt=(), batch=(), why="0 is part of the range"),
    Case(
        "MatMulInteger",
        (q(2, 3), q(3, 2, dtype=np.uint8, lo=0), Z8, np.array([1, 250], np.uint8)),
        why="a zero point, and one per column",
    ),
    Case(
        "ConvInteger",
        (q(1, 2, 4, 4, dtype=np.uint8, lo=0), q(3, 2, 3, 3), np.array(9, np.uint8), np.array([1, 2, 3], np.int8)),
        pads=(1, 1, 0, 0),
        strides=(2, 1),
    ),
    Case(
        "QLinearMatMul",
        (
            q(2, 3),
            STEP,
            Z8,
            q(3, 2),
            np.array([0.02], np.float32),
            np.array([1], np.int8),
            np.array(1.7, np.float32),
            Z8,
        ),
        wrt=(),
    ),
    Case(
        "QLinearConv",
        (
            q(1, 2, 4, 4, dtype=np.uint8, lo=0),
            np.array(0.11, np.float32),
            ZU8,
            q(4, 1, 2, 2),
            STEPS,
            ZEROS8,
            np.array(9.7, np.float32),
            ZU8,
            q(4, dtype=np.int32),
        ),
        group=2,
        wrt=(),
        why="a scale per channel, a bias",
    ),
]
