"""The rounding at the end of a loop nest: a multiplier and a shift, halves to even, cut to the levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import GraphError

Constant = Callable[[np.ndarray, str], str]


@dataclass
class Array:
    name: str
    type: str
    count: int
    born: int
    dies: int = 0
    offset: int = 0


class End:
    """The rounding at the end of a loop nest."""

    def __init__(self, constant: Constant, array: Array, step: float, zero: int, low: int, high: int) -> None:
        self.constant, self.array, self.step, self.zero, self.low, self.high = constant, array, step, zero, low, high

    def of(self, value: str, scale: np.ndarray, at: str = "0") -> str:
        """C for the level of `value` times `scale`; scale: one number, or one per `at`."""
        factor = np.asarray(scale, np.float64).reshape(-1) / self.step
        m, s = multipliers(factor)
        if np.all(factor == 1):
            scaled = f"({value})"
        elif factor.size == 1:
            scaled = f"scaled({value}, {m[0]}, {s[0]})"
        else:
            text = self.constant(m.astype(np.int32), "int32_t") + f"[{at}]" if len(set(m.tolist())) > 1 else str(m[0])
            shift = self.constant(s.astype(np.int8), "int8_t") + f"[{at}]" if len(set(s.tolist())) > 1 else str(s[0])
            scaled = f"scaled({value}, {text}, {shift})"
        return f"({self.array.type})cut({scaled} + ({self.zero}), {self.low}, {self.high})"


def multipliers(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m, s) with m / 2^s nearest to each factor: m of 31 bits, or a power of two with the least shift."""
    fraction, exponent = np.frexp(factor)
    m = np.rint(fraction * 2.0**31).astype(np.int64)
    m, exponent = np.where(m == 2**31, 2**30, m), np.where(m == 2**31, exponent + 1, exponent)
    s = 31 - exponent
    while np.all(m % 2 == 0) and np.all(s > 0):
        m, s = m // 2, s - 1
    exact = fraction == 0.5
    if np.all(exact):  # 2^k: a shift to the right, or a small factor
        k = exponent - 1
        m, s = np.where(k > 0, 2.0 ** np.maximum(k, 0), 1).astype(np.int64), np.maximum(-k, 0)
    if np.any(s < 0) or np.any(s > 62) or np.any(m >= 2**31):
        raise GraphError(f"a scale of {float(factor.max())} steps is beyond what 32-bit multipliers and shifts can say")
    return m, s
