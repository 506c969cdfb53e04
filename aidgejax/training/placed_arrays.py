"""Arrays that are brought to devices and back to the host, those of several processes too."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from .pieces import is_split
from .rows_in_file import RowsInFile


def put(x: Any, sharding: Sharding) -> Any:
    """An array on these devices.  Of several processes each gives the same array, and keeps its share."""
    if jax.process_count() == 1:
        x = np.asarray(x) if isinstance(x, RowsInFile) else x
        with jax.enable_x64(True):  # or 64-bit arrays would lose half of their bits
            return jax.device_put(x, sharding, may_alias=False)
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    if isinstance(x, jax.Array) and x.sharding == sharding:
        own = [jax.device_put(s.data, s.device, may_alias=False) for s in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, own)
    host = x if isinstance(x, RowsInFile) else on_host(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def on_host(tree: Any) -> Any:
    """The whole arrays in NumPy, in each process; PRNG keys stay keys.

    Several processes take part in it together where an array is split between them.
    """

    def one(x: Any) -> Any:
        if not isinstance(x, jax.Array) or jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return x if isinstance(x, jax.Array) else np.asarray(x)
        if not is_split(x):
            return np.asarray(x)
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(one, tree)


def on_first_host(tree: Any) -> Any:
    """The same in the first process alone; another lets go at once, array by array, of what was brought together, and
    has None in its place."""

    def one(x: Any) -> Any:
        whole = on_host(x)
        return whole if jax.process_index() == 0 or not is_split(x) else None

    return jax.tree.map(one, tree)


def into_file(tree: Any, folder: str) -> tuple[Any, OSError | None]:
    """`on_first_host`, of which one array at a time is in memory: what was brought together is written to a file of the
    folder, which has no name and goes with the arrays, and mapped.  What failed is returned: the other processes go on
    bringing arrays together."""
    failed: OSError | None = None
    file: Any = None

    def one(x: Any) -> Any:
        nonlocal failed, file
        whole = on_first_host(x)
        if whole is None or not is_split(x) or failed:
            return whole if not failed else None
        try:
            file = file or tempfile.TemporaryFile(dir=folder)
            at = file.seek(0, os.SEEK_END)
            file.write(np.ascontiguousarray(whole).reshape(-1).view(np.uint8).data)
            file.flush()
            return np.memmap(file, whole.dtype, "r", at, whole.shape)
        except OSError as e:
            failed = e
            return None

    found = jax.tree.map(one, tree)
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()
    return found, failed


def bytes_per_device(tree: Any) -> int:
    """The bytes of a tree's arrays that lie on the device which holds most."""
    held: dict[Any, int] = {}
    for x in jax.tree.leaves(tree):
        if isinstance(x, jax.Array) and not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            for shard in x.addressable_shards:
                held[shard.device] = held.get(shard.device, 0) + shard.data.nbytes
    return max(held.values(), default=0)
