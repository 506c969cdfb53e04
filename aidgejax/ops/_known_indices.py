"""Picking along an axis by indices that are known while tracing: by a slice where they are equally far apart, by
repeating where each comes several times in a row; and the gradient by padding, or by the inverse order.

XLA fuses these with their neighbours; a gather it fuses at times, a scatter never, and on a GPU a scatter's sums come
in any order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Pattern(NamedTuple):
    """The indices first, first + step, ... (`number` of them; step may be below 0), each `times` times in a row."""

    first: int
    step: int
    number: int
    times: int

    @property
    def lowest(self) -> int:
        """The smallest index."""
        return min(self.first, self.first + (self.number - 1) * self.step)

    @property
    def spacing(self) -> int:
        """How far apart neighbours are."""
        return abs(self.step)


def pattern_of(indices: Any, size: int) -> Pattern | None:
    """How indices into an axis of this size, in order, are made; None where they are not known or of no such form."""
    if isinstance(indices, jax.Array) or np.size(indices) == 0 or np.asarray(indices).dtype.kind not in "iu":
        return None
    flat = np.ravel(indices).astype(np.int64)
    flat = np.where(flat < 0, flat + size, flat)
    other = np.flatnonzero(flat != flat[0])
    times = int(other[0]) if len(other) else len(flat)
    if len(flat) % times or np.any(flat.reshape(-1, times) != flat[::times, None]):
        return None
    distinct = flat[::times]
    step = int(distinct[1] - distinct[0]) if len(distinct) > 1 else 1
    if np.any(np.diff(distinct) != step):
        return None
    return Pattern(int(flat[0]), step, len(distinct), times)


def taken(x: Any, indices: Any, axis: int) -> Any:
    """jnp.take(x, indices, axis) without a gather; None where the indices have no pattern."""
    found = pattern_of(indices, jnp.shape(x)[axis])
    if found is None:
        return None
    stop = found.lowest + (found.number - 1) * found.spacing + 1
    y = jax.lax.slice_in_dim(jnp.asarray(x), found.lowest, stop, found.spacing, axis)
    y = jnp.flip(y, axis) if found.step < 0 else y
    before, after = jnp.shape(x)[:axis], jnp.shape(x)[axis + 1 :]
    if found.times > 1:
        y = jnp.broadcast_to(jnp.expand_dims(y, axis + 1), (*before, found.number, found.times, *after))
    return jnp.reshape(y, (*before, *np.shape(indices), *after))


def put_back(dy: Any, size: int, indices: Any, axis: int) -> Any:
    """dy added where `taken` took it from, in an axis of this size, without a scatter; None where an index that comes
    again has no pattern, or none is known."""
    rank = np.ndim(indices)
    before, after = jnp.shape(dy)[:axis], jnp.shape(dy)[axis + rank :]
    found = pattern_of(indices, size)
    if found is not None:
        dy = jnp.reshape(dy, (*before, found.number, found.times, *after))
        dy = jnp.sum(dy, axis + 1) if found.times > 1 else jnp.squeeze(dy, axis + 1)
        dy = jnp.flip(dy, axis) if found.step < 0 else dy
        high = size - 1 - (found.lowest + (found.number - 1) * found.spacing)
        config = [(0, 0, 0)] * jnp.ndim(dy)
        config[axis] = (found.lowest, high, found.spacing - 1)
        return jax.lax.pad(dy, jnp.zeros((), jnp.result_type(dy)), config)
    if isinstance(indices, jax.Array) or np.size(indices) == 0:
        return None
    flat = np.ravel(indices).astype(np.int64) % size
    if len(np.unique(flat)) < len(flat):
        return None
    source = np.full(size, len(flat), np.int32)  # beyond the end: 0
    source[flat] = np.arange(len(flat), dtype=np.int32)
    dy = jnp.reshape(dy, (*before, math.prod(np.shape(indices)), *after))
    return jnp.take(dy, source, axis, mode="fill", fill_value=0)
