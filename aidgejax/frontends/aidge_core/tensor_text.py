"""How a tensor is written: as Aidge prints it, and as C writes an array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

DIGITS = 5  # behind the point


def printed(array: np.ndarray, indent: int = 0) -> str:
    """[[ 1.50000, -2.00000], ...]: columns as wide as the longest element; lines behind the first are indented."""
    if array.dtype == bool:
        return _rows(array, lambda x: str(bool(x)).lower(), "[]", indent)
    if array.dtype.kind in "iu":
        return _rows(array, lambda x: str(int(x)), "[]", indent)
    if array.dtype.kind == "c":
        return _rows(array, str, "[]", indent)
    return _rows(array, lambda x: f"{float(x):.{DIGITS}f}", "[]", indent)


def c_array(array: np.ndarray) -> str:
    """{{ 1.5f, 2.f}, ...}: an initializer of a C array."""
    if array.dtype == bool:
        return _rows(array, lambda x: str(bool(x)).lower(), "{}", 0)
    if array.dtype.kind != "f":
        return _rows(array, lambda x: str(int(x)), "{}", 0)
    end = "" if array.dtype == np.float64 else "f"
    return _rows(array, lambda x: _with_point(array.dtype.type(x)) + end, "{}", 0)


def _with_point(number: Any) -> str:
    text = str(number)
    mantissa, mark, exponent = text.partition("e")
    if "." not in mantissa:
        mantissa += "."
    return mantissa.removesuffix("0") + mark + exponent if mantissa.endswith(".0") else mantissa + mark + exponent


def _rows(array: np.ndarray, write: Callable[[Any], str], brackets: str, indent: int) -> str:
    if array.ndim == 0:
        return write(array[()])
    if not array.size:
        return brackets
    items = [write(x) for x in array.ravel()]
    width = max(map(len, items)) + 1
    cells = np.array([item.rjust(width) for item in items], object).reshape(array.shape)
    return _block(cells, brackets, indent + 1)


def _block(cells: np.ndarray, brackets: str, indent: int) -> str:
    if cells.ndim == 1:
        return brackets[0] + ",".join(cells) + brackets[1]
    between = "," + "\n" * (cells.ndim - 1) + " " * indent
    return brackets[0] + between.join(_block(c, brackets, indent + 1) for c in cells) + brackets[1]
