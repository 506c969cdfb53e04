"""QONNX's Quant in NumPy, from its specification."""

import numpy as np

from ._definition import backward, define


def ends(bitwidth, signed, narrow):
    levels = 2 ** int(bitwidth)
    return (narrow - levels // 2, levels // 2 - 1) if signed else (0, levels - 1 - narrow)


@define("Quant")
def quant(x, scale, zeropt, bitwidth, *, signed=1, narrow=0, rounding_mode="ROUND"):
    low, high = ends(bitwidth, signed, narrow)
    q = np.minimum(np.maximum(np.rint(x / scale + zeropt), low), high)
    return ((q - zeropt) * scale).astype(x.dtype)


@backward("Quant")
def quant_backward(x, scale, zeropt, bitwidth, y, dy, *, signed=1, narrow=0):
    low, high = ends(bitwidth, signed, narrow)
    r = np.rint(x / scale + zeropt)
    return np.where((r < low) | (r > high), 0, dy), None, None, None
