"""Rows that are split over devices, for forms that walk through a batch: a loop's slices would gather all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
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


def sum_over_rows(f: Callable, *arrays: Any) -> Any:
    """f(*arrays), which is a sum over axis 0 of all of them.

    Where rows are split, and the devices divide them, each device sums its own, and what they found is added once.
    """
    split = _SPLIT.get()
    if split is None or not isinstance(arrays[0].shape[0], int) or arrays[0].shape[0] % split[0].shape[split[1]]:
        return f(*arrays)
    mesh, axis = split

    def own(*arrays: Any) -> Any:
        return jax.lax.psum(f(*arrays), axis)

    rows = PartitionSpec(axis)
    return jax.shard_map(own, mesh=mesh, in_specs=rows, out_specs=PartitionSpec(), axis_names={axis}, check_vma=False)(
        *arrays
    )
