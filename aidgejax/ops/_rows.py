"""Rows that are split over devices, for forms of which XLA does not see that no row needs another.

It would gather a whole batch for a loop's slices of it, for places that are computed, and for Fourier transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

_SPLIT: ContextVar[tuple[Mesh, str] | None] = ContextVar("rows_split_over", default=None)


@contextmanager
def rows_split_over(mesh: Mesh, axis: str) -> Iterator[None]:
    """While a program is traced whose rows are split over this axis of a mesh."""
    token = _SPLIT.set((mesh, axis) if mesh.shape[axis] > 1 else None)
    try:
        yield
    finally:
        _SPLIT.reset(token)


def rows_are_split() -> bool:
    """Whether a program is being traced whose rows are split."""
    return _SPLIT.get() is not None


def sum_over_rows(f: Callable, *arrays: Any) -> Any:
    """f(*arrays), which is a sum over axis 0 of all of them.

    Where rows are split, and the devices divide them, each device sums its own, and what they found is added once.
    """
    return _on_each(f, arrays, added=True)


def row_by_row(f: Callable, *arrays: Any) -> Any:
    """f(*arrays), which computes row k of its results from rows k of the arrays alone; axis 0 of all is as long.

    Where rows are split, and the devices divide them, each device computes its own.
    """
    return _on_each(f, arrays, added=False)


def _on_each(f: Callable, arrays: tuple, *, added: bool) -> Any:
    split, rows = _SPLIT.get(), {jnp.shape(a)[:1] for a in arrays}
    if split is None or len(rows) != 1 or not (n := rows.pop()) or n[0] % split[0].shape[split[1]]:
        return f(*arrays)
    mesh, axis = split

    def own(*arrays: Any) -> Any:
        found = f(*arrays)
        return jax.lax.psum(found, axis) if added else found

    spec = PartitionSpec(axis)
    out = PartitionSpec() if added else spec
    return jax.shard_map(own, mesh=mesh, in_specs=spec, out_specs=out, axis_names={axis}, check_vma=False)(*arrays)
