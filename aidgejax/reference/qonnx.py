"""QONNX's Quant in NumPy, from its specification."""

import numpy as np

from ._definition import define


@define("Quant")
def quant(x, scale, zeropt, bitwidth, *, signed=1, narrow=0, rounding_mode="ROUND"):
    levels = 2 ** int(bitwidth)
    low, high = (-(levels // 2), levels // 2 - 1) if signed else (0, levels - 1)
    low, high = (low + narrow, high) if signed else (low, high - narrow)
    q = np.minimum(np.maximum(np.rint(x / scale + zeropt), low), high)
    return ((q - zeropt) * scale).astype(x.dtype)
