"""QONNX's Quant."""

import numpy as np

from .._case import Case, f

ELSEWHERE = {
    "onnx_reference": "onnx has no Quant",
    "differences": "the rule passes through a rounding",
    "jax_agrees": "JAX finds no slope in a rounding",
}
STEP, ZERO, FOUR = (np.array(v, np.float32) for v in (0.3, 0.0, 4.0))

CASES = [
    Case("Quant", (f(3, 4), STEP, ZERO, FOUR), wrt=(0,), skip=ELSEWHERE),
    Case("Quant", (f(3, 4), STEP, np.array(2.0, np.float32), FOUR), signed=0, narrow=1, wrt=(0,), skip=ELSEWHERE),
    Case("Quant", (f(2, 2), np.array(2.0**-20, np.float32), ZERO, np.array(30.0, np.float32)), wrt=(0,),
         why="steps too small to see", skip=ELSEWHERE),
]  # fmt: skip
