"""The one mutable thing of the front ends: a cell that holds a tensor over JAX's immutable arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...dtypes import x64_for
from ...errors import AidgeJaxError, GraphError

OWN_REFERENCES = 2  # the attribute and getrefcount's argument; anything above is a view that somebody holds


def on_device(array: Any, device: Any = None) -> jax.Array:
    """A copy on the device (None: JAX's own choice), 64-bit data kept as it is."""
    array = np.asarray(array)
    with x64_for((array.dtype,)):
        placed = jnp.array(array)
        return placed if device is None else jax.device_put(placed, device)


def moved_to(place: Any, array: Any) -> Any:
    """The array on the device `place`, or as it is where `place` is None (JAX's own choice) or it is there already.

    Where a computation runs is decided by what it belongs to, the model, and not by where its data was made.
    """
    if place is None or not isinstance(array, jax.Array) or array.devices() == {place}:
        return array
    with x64_for((array.dtype,)):
        return jax.device_put(array, place)


def placed(array: Any, place: Any) -> jax.Array:
    """The array on the device `place`: JAX's own is moved there, another is copied, whose owner may write into it."""
    return moved_to(place, array) if isinstance(array, jax.Array) else on_device(array, place)


def beside(first: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays on the device of `first`, if they are JAX's and elsewhere."""
    place = next(iter(first.devices())) if isinstance(first, jax.Array) and first.committed else None
    return {k: moved_to(place, a) for k, a in arrays.items()}


class TensorCell:
    """A tensor of one shape and dtype whose data is a device array, a NumPy buffer, or a value yet to be computed.

    While a view that `host()` handed out is alive, the buffer is the truth: what is written through the view counts,
    and what a compiled call computes is copied into it.  Without one nothing leaves the device.
    shape, dtype: known before there is any data.  place: the JAX device; None is JAX's own choice.
    """

    def __init__(self, shape: Sequence[int] = (), dtype: Any = "float32", place: Any = None) -> None:
        self.shape: tuple[int, ...] = tuple(shape)
        self.dtype: np.dtype = np.dtype(dtype)
        self.place = place
        self._buffer: np.ndarray | None = None
        self._array: jax.Array | None = None
        self._compute: Callable[[], Any] | None = None

    # ---- reading ----------------------------------------------------------------------------------------

    @property
    def has_data(self) -> bool:
        """Is there data, computed or to be computed?"""
        return self._buffer is not None or self._array is not None or self._compute is not None

    @property
    def deferred(self) -> bool:
        """Is the data still to be computed?"""
        return self._compute is not None

    @property
    def has_view(self) -> bool:
        """Does somebody hold a view of the NumPy buffer?"""
        return self._buffer is not None and sys.getrefcount(self._buffer) > OWN_REFERENCES

    @property
    def device_copy(self) -> jax.Array | None:
        """The device array, where the data is one already."""
        return self._array

    def device_array(self) -> jax.Array:
        """The data for a compiled call."""
        self._settle()
        if self._buffer is not None and self.has_view:
            return on_device(self._buffer, self.place)
        if self._array is None:
            self._array = on_device(self._buffer, self.place)
        self._buffer = None
        return self._array

    def host(self) -> np.ndarray:
        """The buffer, which is the only truth from now on: what is written into it counts."""
        self._settle()
        if self._buffer is None:
            self._buffer = np.array(self._array)
        self._array = None
        return self._buffer

    def read(self) -> np.ndarray:
        """The data to look at: neither to keep nor to write into."""
        self._settle()
        return self.host() if self._array is None else np.asarray(self._array)

    def _settle(self) -> None:
        if self._compute is not None:
            compute, self._compute = self._compute, None
            try:
                self.put(compute())
            except BaseException:
                self._compute = compute
                raise
        elif self._buffer is None and self._array is None:
            self.put(self.absent())

    def absent(self) -> Any:
        """What a cell without data gives when it is read: here an error; a subclass may give an array."""
        raise self.no_data()

    def no_data(self) -> AidgeJaxError:
        return GraphError(f"a tensor of shape {list(self.shape)} is read, but it has no data yet: fill it first")

    # ---- writing ----------------------------------------------------------------------------------------

    def put(self, array: Any) -> None:
        """Take an array as the data, with its shape and dtype; a NumPy array that nobody else owns is not copied."""
        self._compute = None
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)
        if self._buffer is not None and self.has_view and self._buffer.shape == self.shape:
            np.copyto(self._buffer, np.asarray(array))
            self._array = None
        elif isinstance(array, np.ndarray):
            fresh = array.flags.owndata and array.flags.writeable
            self._buffer, self._array = array if fresh else array.copy(), None
        else:
            self._buffer, self._array = None, array

    def replace(self, array: np.ndarray) -> None:
        """As put, but views handed out before keep the old data."""
        self.clear(array.shape, array.dtype)
        self.put(array)

    def defer(self, shape: Sequence[int], dtype: Any, compute: Callable[[], Any]) -> None:
        """The data is compute(), called when somebody reads it; at once where a view is to show it."""
        if self.has_view and self._buffer is not None and self._buffer.shape == tuple(shape):
            self.put(compute())
            return
        self.clear(shape, dtype)
        self._compute = compute

    def clear(self, shape: Sequence[int] | None = None, dtype: Any = None) -> None:
        """No data; another shape or dtype where they are given."""
        self._buffer = self._array = self._compute = None
        self.shape = self.shape if shape is None else tuple(shape)
        self.dtype = self.dtype if dtype is None else np.dtype(dtype)

    def fill_view(self, value: Any) -> bool:
        """Write `value` everywhere through the buffer that somebody views; False where nobody does."""
        if not self.has_view or self._buffer is None:
            return False
        self._buffer[...] = value
        self._array = self._compute = None
        return True

    def copy_to(self, other: TensorCell) -> None:
        """Give `other` the same data: a device array is shared, which nobody can write into; a buffer is copied."""
        other.clear(self.shape, self.dtype)
        other.place = self.place
        if self.has_data:
            if self._array is None or self._compute is not None:
                other.put(np.array(self.read()))
            else:
                other.put(self._array)
