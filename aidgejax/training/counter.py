"""A counter that does not wrap: two 32-bit words, since JAX has no 64-bit integers unless they are switched on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

WORD = 2**31
LARGEST = WORD - 1


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Counter:
    """high * 2**31 + low, both i32[]; int(counter) is its value.  It counts to 2**62 and then stands still."""

    low: Any
    high: Any

    @classmethod
    def at(cls, value: int) -> Counter:
        """The counter that stands at `value`."""
        high, low = divmod(int(value), WORD)
        return cls(jnp.int32(low), jnp.int32(min(high, LARGEST)))

    def __int__(self) -> int:
        return int(self.high) * WORD + int(self.low)

    __index__ = __int__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(int(self), dtype or np.int64)


def counted(count: Any) -> Any:
    """The count after one more; None where nothing is counted.  An integer array stands still at its largest value."""
    if count is None:
        return None
    if not isinstance(count, Counter):
        count = jnp.asarray(count)
        most = jnp.asarray(jnp.iinfo(count.dtype).max, count.dtype)
        return jnp.where(count == most, count, count + 1).astype(count.dtype)
    full = count.low == LARGEST
    last = full & (count.high == LARGEST)
    low = jnp.where(last, count.low, jnp.where(full, 0, count.low + 1))
    return Counter(low, jnp.where(full & ~last, count.high + 1, count.high))


def schedule_step(count: Any) -> Any:
    """The count as schedules take it: i32[], at most 2**31 - 1."""
    if isinstance(count, Counter):
        return jnp.where(count.high > 0, LARGEST, count.low)
    return jnp.minimum(count, LARGEST).astype(jnp.int32)
