"""Where to clip: the part of a range of values that a quantizer of few bits keeps."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np

from ..aidge_core.errors import TensorError


class Clipping(enum.Enum):
    """How the range of an activation is chosen: all of it, by an error, by divergence, or by standard deviations."""

    MAX = 0
    MSE = 1
    AA = 2
    KL = 3
    SIGMA3 = 4
    SIGMA4 = 5
    SIGMA5 = 6


def _counts(histogram: Sequence[float]) -> np.ndarray:
    counts = np.asarray(histogram, np.float64)
    if counts.ndim != 1 or len(counts) < 2 or not counts.sum() > 0:
        raise TensorError("a histogram is a list of 2 or more counts, not all 0")
    return counts


def compute_me_clipping(histogram: Sequence[float], nb_bits: int, exponent: float) -> float:
    """The candidate 0.01 ... 0.99 of the range whose quantizer has the least sum of |error| ** exponent.

    histogram: of |values|, equal bins from 0 to the range; the quantizer has 2^(bits-1) - 1 levels above 0.
    """
    counts = _counts(histogram)
    levels = 2 ** (nb_bits - 1) - 1
    if levels < 1:
        raise TensorError(f"compute_me_clipping: nb_bits is {nb_bits!r}; expected 2 or more")
    centres = (np.arange(len(counts)) + 0.5) / len(counts)
    candidates = np.arange(1, 100) / 100
    errors = []
    for c in candidates:
        rounded = np.rint(np.minimum(centres, c) / c * levels) * c / levels
        errors.append(float(np.sum(counts * np.abs(centres - rounded) ** exponent)))
    return float(candidates[int(np.argmin(errors))])


def compute_kl_clipping(histogram: Sequence[float], nb_bits: int) -> float:
    """The candidate 0.02 ... 0.99 of the range whose coarse histogram diverges least from the fine one.

    Each of the 2^(bits-1) - 1 coarse bins gives its whole count to every fine bin in it, and what is cut off is counted
    in the last; q of this, p of the fine one: the sum of q log(q / p) where p > 0.  Formula and first candidate found
    from Aidge's numbers (28 of 28).  With few values it cuts off much.
    """
    counts = _counts(histogram)
    levels = 2 ** (nb_bits - 1) - 1
    if levels < 1:
        raise TensorError(f"compute_kl_clipping: nb_bits is {nb_bits!r}; expected 2 or more")
    centres = (np.arange(len(counts)) + 0.5) / len(counts)
    seen = counts > 0
    p = counts[seen] / counts.sum()
    candidates = np.arange(2, 100) / 100
    found = []
    for c in candidates:
        at = np.floor(centres / c * levels).astype(np.int64)
        q = np.bincount(np.minimum(at, levels - 1), counts, levels)[np.minimum(at, levels - 1)] * (at < levels)
        q = (q / q.sum())[seen] if q.any() else np.zeros(len(p))
        found.append(float(np.sum(q * np.log(np.where(q > 0, q, p) / p))) if q.any() else np.inf)
    return float(candidates[int(np.argmin(found))])


def sigma_clipping(histogram: Sequence[float], factor: float) -> float:
    """factor * root mean square, as a part of the range; it may be above 1."""
    counts = _counts(histogram)
    centres = np.arange(len(counts)) / (len(counts) - 1)
    return factor * float(np.sqrt(np.sum(counts * centres**2) / counts.sum()))


def clipped_part(mode: Clipping, histogram: Sequence[float], nb_bits: int) -> float:
    """The part of the range that this mode keeps."""
    if mode is Clipping.MAX:
        return 1.0
    if mode in (Clipping.MSE, Clipping.AA):
        return compute_me_clipping(histogram, nb_bits, 2.0 if mode is Clipping.MSE else 1.0)
    if mode is Clipping.KL:
        return compute_kl_clipping(histogram, nb_bits)
    return sigma_clipping(histogram, float(mode.name[-1]))
