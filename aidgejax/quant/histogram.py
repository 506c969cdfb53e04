"""Histograms of fixed size that grow with what they see: a tensor's distribution, in one pass and on the device."""

from __future__ import annotations

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


def empty() -> Histogram:
    return Histogram(jnp.zeros((2, BINS)), *(jnp.float32(k) for k in (2.0**-100, np.inf, -np.inf, 0, 0)))


def add(h: Histogram, x: jax.Array) -> Histogram:
    """The histogram with the elements of x; where they lie beyond it, neighbouring bins are merged first."""
    x = x.reshape(-1).astype(jnp.float32)
    most = jnp.max(jnp.abs(x), initial=0.0)
    _, now = jnp.frexp(h.top)
    _, want = jnp.frexp(most)
    # most lies from 2^(want - 1) to 2^want, top is 2^(now - 1)
    shift = jnp.maximum(want + 1 - now, 0)
    top = h.top * jnp.exp2(shift.astype(jnp.float32)).round()
    moved = jnp.right_shift(jnp.arange(BINS), jnp.minimum(shift, 31))
    counts = jnp.zeros_like(h.counts).at[:, moved].add(h.counts)
    at = jnp.minimum((jnp.abs(x) / top * BINS).astype(jnp.int32), BINS - 1)
    counts = counts.at[(x >= 0).astype(jnp.int32), at].add(1.0)
    return Histogram(
        counts,
        top,
        jnp.minimum(h.low, jnp.min(x, initial=np.inf)),
        jnp.maximum(h.high, jnp.max(x, initial=-np.inf)),
        h.squares + jnp.sum(x * x),
        h.size + x.size,
    )


def points(h: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """(values, counts): the middles of the bins that are not empty, in order."""
    counts, top = np.asarray(h.counts, np.float64), float(h.top)
    middle = (np.arange(BINS) + 0.5) / BINS * top
    values, counts = np.concatenate([-middle[::-1], middle]), np.concatenate([counts[0][::-1], counts[1]])
    return np.clip(values[counts > 0], float(h.low), float(h.high)), counts[counts > 0]
