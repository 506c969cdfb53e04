"""Arrays that several processes hold together, as pieces: which process writes which, and how they are put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Piece(NamedTuple):
    """A box of an array: the process that writes it, where it begins, and its sizes."""

    process: int
    start: tuple[int, ...]
    shape: tuple[int, ...]


Box = tuple[tuple[int, ...], tuple[int, ...]]


def is_split(x: Any) -> bool:
    """Whether it is an array of which no process holds all."""
    if not isinstance(x, jax.Array) or jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return False
    return not x.is_fully_addressable and not x.is_fully_replicated


def pieces_of(x: jax.Array) -> list[Piece]:
    """The pieces of an array, each once; every process finds the same list."""
    owners: dict[Box, int] = {}
    placed: Any = x.sharding.devices_indices_map(x.shape)  # whose stub leaves the devices open
    for device, index in placed.items():
        owners.setdefault(box(index, x.shape), device.process_index)
    return [Piece(process, *where) for where, process in owners.items()]


def held(x: jax.Array, piece: Piece) -> np.ndarray:
    """What this process holds of an array under a piece of its own."""
    for shard in x.addressable_shards:
        if box(shard.index, x.shape) == (piece.start, piece.shape):
            return np.asarray(shard.data)
    raise LookupError(f"no device of this process holds {piece}")


def box(index: Sequence[slice] | None, shape: Sequence[int]) -> Box:
    """(where it begins, its sizes) of the slices that JAX says; None is all of it."""
    slices = (slice(None),) * len(shape) if index is None else index
    ranges = [s.indices(n) for s, n in zip(slices, shape, strict=True)]
    return tuple(a for a, _, _ in ranges), tuple(b - a for a, b, _ in ranges)


def assembled(
    wanted: Iterable[Box], pieces: Iterable[Piece], read: Callable[[int], np.ndarray], dtype: Any
) -> dict[Box, np.ndarray]:
    """{box: array} of boxes of an array; of its pieces, those that are needed are read, once each.

    Raises ValueError where the pieces leave part of a box out.
    """
    found = {where: np.zeros(where[1], dtype) for where in wanted}
    missing = {where: math.prod(where[1]) for where in found}
    for k, piece in enumerate(pieces):
        shared = [(where, *both) for where in found if (both := _overlap(where, (piece.start, piece.shape)))]
        if not shared:
            continue
        data = read(k)
        for where, into, out in shared:
            part = data[out]
            found[where][into] = part
            missing[where] -= part.size
    for where, left in missing.items():
        if left:
            raise ValueError(f"{left} numbers from {list(where[0])} on are in no piece, or in several")
    return found


def _overlap(a: Box, b: Box) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """The same numbers as slices of a and as slices of b; None where there are none."""
    in_a, in_b = [], []
    for start_a, n, start_b, m in zip(*a, *b, strict=True):
        low, high = max(start_a, start_b), min(start_a + n, start_b + m)
        if low >= high:
            return None
        in_a.append(slice(low - start_a, high - start_a))
        in_b.append(slice(low - start_b, high - start_b))
    return tuple(in_a), tuple(in_b)


def boxes_here(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> Iterator[Box]:
    """What the devices of this process hold of an array that lies so."""
    for index in sharding.addressable_devices_indices_map(shape).values():
        yield box(index, shape)


def what_is_wrong(pieces: Any, shape: Sequence[int], processes: int) -> str:
    """Why a list that was read cannot be the pieces of an array; "" where it can."""
    total = 0
    for process, start, sizes in pieces:
        numbers = [process, *start, *sizes]
        if any(type(n) is not int or n < 0 for n in numbers) or not len(start) == len(sizes) == len(shape):
            return f"one is {str([process, start, sizes])[:100]}"
        if process >= processes or any(a + n > m for a, n, m in zip(start, sizes, shape, strict=True)):
            return "one lies outside of what there is"
        total += math.prod(sizes)
    return "" if total == math.prod(shape) else f"they have {total} numbers"
