"""A Python function that reads and replaces arrays in mutable places, compiled as one program.

A `Stored` holds one JAX array that is replaced, never changed.  `CompiledStep(function)` runs a function that reads and
writes such places (a training step) and finds out which: once abstractly, to list the places, and once more with
traced arrays inside them.  After that a call is one XLA program over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.sharding import Sharding


class Stored:
    """One array that outlives the calls that replace it.  `array` is what a traced function reads and writes."""

    __slots__ = ("__weakref__", "_array", "_born")

    def __init__(self, array: Any = None) -> None:
        self._array = array
        self._born = _active

    def read(self) -> Any:
        """The array, or None; a trace that is running notes that this place was read."""
        if _active is not None and self._born is not _active:
            _active.meet(self)
        return self._array

    def write(self, new: Any) -> None:
        """Replace the array; a trace that is running notes what stood here before."""
        if _active is not None and self._born is not _active:
            _active.meet(self)
        self._array = new

    @property
    def array(self) -> Any:
        return self.read()

    @array.setter
    def array(self, new: Any) -> None:
        self.write(new)

    @property
    def held(self) -> Any:
        """The array as it is, without the knowledge of a trace."""
        return self._array

    @held.setter
    def held(self, new: Any) -> None:
        self._array = new

    @property
    def filled(self) -> bool:
        return self._array is not None


_active: Trace | None = None


class Trace:
    """One run of a function: the places it met that were there before, with what they held."""

    def __init__(self) -> None:
        self.met: dict[int, tuple[Stored, Any]] = {}

    def meet(self, place: Stored) -> None:
        self.met.setdefault(id(place), (place, place.held))

    def undo(self) -> None:
        for place, before in self.met.values():
            place.held = before


def is_tracing() -> bool:
    return _active is not None


@contextmanager
def _tracing() -> Iterator[Trace]:
    global _active
    trace = Trace()
    outer, _active = _active, trace
    try:
        yield trace
    finally:
        _active = outer
        trace.undo()


@contextmanager
def concretely() -> Iterator[None]:
    """Within a trace: what is computed and made here is real, and stays (parameters, optimizer state)."""
    global _active
    outer, _active = _active, None
    try:
        with jax.ensure_compile_time_eval():
            yield
    finally:
        _active = outer


class CompiledStep:
    """function(*arrays) -> a pytree of arrays, compiled over those arrays and every place that it reads or writes."""

    def __init__(self, function: Callable[..., Any], *arrays: Any) -> None:
        with _tracing() as trace:
            jax.eval_shape(function, *arrays)
            met = list(trace.met.values())
            written = [place for place, _ in met if place.filled]
        self.read = [place for place, before in met if before is not None]
        self.kept = written

        def pure(values: list, *arrays: Any) -> tuple[Any, list]:
            with _tracing() as trace:
                for place, value in zip(self.read, values, strict=True):
                    trace.meet(place)
                    place.held = value
                result = function(*arrays)
                return result, [place.held for place in self.kept]

        self._run = jax.jit(pure)

    def bring_to(self, where: Sharding) -> None:
        """Every place that it reads, to these devices, unless it lies there."""
        for place in self.read:
            if isinstance(place.held, jax.Array) and place.held.sharding.device_set != where.device_set:
                place.held = jax.device_put(place.held, where)

    def __call__(self, *arrays: Any) -> Any:
        result, values = self._run([place.held for place in self.read], *arrays)
        for place, value in zip(self.kept, values, strict=True):
            place.held = value
        return result
