"""What a compiled epoch asks of its batches on the host, before and after it takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from ..errors import DataError, SettingError
from ..execution.devices import brought_to
from .data import check_labels


class CheckedEpoch:
    """An epoch that looks at its arguments on the host before it takes them; all else is the jitted function's.

    What a device gathers for an index out of range is no error there, but NaN or another row: class indices in NumPy
    arrays are checked.  Batches that are bound to another device than the state are brought to it.

    A model of float64 parameters is computed in float64 (double).

    Calls return before they are computed; with batches that come in, each waits for the last but one, so that a loader
    which is faster than the device does not fill the memory with what is still to be computed.
    """

    def __init__(self, epoch: Any, labels: Mapping[str, int], double: bool = False) -> None:
        self._epoch, self._labels, self._double = epoch, labels, double
        self._under_way: deque[Any] = deque(maxlen=2)

    def __call__(self, state: Any, batches: Any, *args: Any, **kwargs: Any) -> Any:
        if self._double and not jax.config.read("jax_enable_x64"):
            with jax.enable_x64(True):
                return self(state, batches, *args, **kwargs)
        _check_alive(state)
        data = args[1] if len(args) > 1 else kwargs.get("data")
        if not isinstance(batches, dict) and data is None:
            raise DataError(
                "these are the rows of each batch, and there is no data to take them from: call "
                "epoch(state, rows, weights, data), weights being None where every row counts"
            )
        resident = data if isinstance(data, dict) else {}
        for name, classes in self._labels.items():
            if isinstance(a := resident.get(name), np.ndarray):
                check_labels(a, classes, name)
        if isinstance(batches, dict):
            for name, classes in self._labels.items():
                a = batches.get(name)
                if isinstance(a, np.ndarray) and a.ndim > 1:
                    for n, batch in enumerate(a):
                        check_labels(batch, classes, name, f"batch {n} of these, ")
        batches, args, kwargs = brought_to(state, (batches, args, kwargs))
        if not isinstance(batches, dict):
            return self._epoch(state, batches, *args, **kwargs)
        if len(self._under_way) == 2:
            jax.block_until_ready(self._under_way[0])
        found = self._epoch(state, batches, *args, **kwargs)
        figures = [x for x in jax.tree.leaves(found[1]) if isinstance(x, jax.Array) and not isinstance(x, Tracer)]
        self._under_way.extend(figures[:1])
        return found

    # By name, since from Python 3.12 on a protocol asks the class: jax.export takes what has these.
    def trace(self, *args: Any, **kwargs: Any) -> Any:
        return self._epoch.trace(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        return self._epoch.lower(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoch, name)


def _check_alive(state: Any) -> None:
    """A state can be given once: the epoch writes the next one into its memory."""
    arrays = (x for x in jax.tree.leaves(state) if isinstance(x, jax.Array) and not isinstance(x, Tracer))
    if any(a.is_deleted() for a in arrays):
        raise SettingError(
            "this state went into an epoch before, which has reused its memory: go on with the state that the epoch "
            "returned, state, history = epoch(state, ...)"
        )
