"""Histograms of fixed size that grow with what they see: a tensor's distribution, in one pass and on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BINS = 2048  # per sign


class Histogram(NamedTuple):
    """counts f[2, BINS], of x < 0 and of x >= 0, |x| from 0 to top; top: a power of two; low, high: the extremes;
    sums of x^2, and how many."""

    counts: jax.Array
    top: jax.Array
    low: jax.Array
    high: jax.Array
    squares: jax.Array
    size: jax.Array


def empty(count: int) -> Histogram:
    """As many histograms, stacked: every field has a first axis of this size."""
    ends = (jnp.full(count, k, jnp.float32) for k in (2.0**-100, np.inf, -np.inf, 0, 0))
    return Histogram(jnp.zeros((count, 2, BINS)), *ends)


def add(h: Histogram, tensors: Sequence[jax.Array]) -> Histogram:
    """The histograms with the elements of one tensor each; where they lie beyond one, its bins are merged first.

    One scatter for all tensors: each costs compile time.
    """
    flat = [x.reshape(-1).astype(jnp.float32) for x in tensors]
    most = jnp.stack([jnp.max(jnp.abs(x), initial=0.0) for x in flat])
    _, now = jnp.frexp(h.top)
    _, want = jnp.frexp(most)
    # most lies from 2^(want - 1) to 2^want, top is 2^(now - 1)
    shift = jnp.maximum(want + 1 - now, 0)
    top = h.top * jnp.exp2(shift.astype(jnp.float32)).round()
    which = jnp.arange(len(flat))[:, None]
    moved = jnp.right_shift(jnp.arange(BINS)[None], jnp.minimum(shift, 31)[:, None])
    counts = jnp.zeros_like(h.counts).at[which, :, moved].add(jnp.swapaxes(h.counts, 1, 2))
    at = []
    for k, x in enumerate(flat):
        place = jnp.minimum((jnp.abs(x) / top[k] * BINS).astype(jnp.int32), BINS - 1)
        at.append((2 * k + (x >= 0).astype(jnp.int32)) * BINS + place)
    counts = counts.reshape(-1).at[jnp.concatenate(at)].add(1.0).reshape(counts.shape)
    return Histogram(
        counts,
        top,
        jnp.minimum(h.low, jnp.stack([jnp.min(x, initial=np.inf) for x in flat])),
        jnp.maximum(h.high, jnp.stack([jnp.max(x, initial=-np.inf) for x in flat])),
        h.squares + jnp.stack([jnp.sum(x * x) for x in flat]),
        h.size + jnp.asarray([x.size for x in flat], jnp.float32),
    )


def points(h: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """(values, counts): the middles of the bins that are not empty, in order."""
    counts, top = np.asarray(h.counts, np.float64), float(h.top)
    middle = (np.arange(BINS) + 0.5) / BINS * top
    values, counts = np.concatenate([-middle[::-1], middle]), np.concatenate([counts[0][::-1], counts[1]])
    return np.clip(values[counts > 0], float(h.low), float(h.high)), counts[counts > 0]
