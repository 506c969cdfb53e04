"""Rows that are read while `fit` trains, a few batches ahead: for data larger than the memory, and than one host.

    data = Stream(loader)                                 # batches, read anew in each epoch
    data = Stream.of_rows(np.load("x.npy", mmap_mode="r"), ...)   # see there
    fit(program, optimizer, 0.01, data, epochs=3, batch_size=64)

Of several processes each reads its own share of every batch, batch_size / processes rows, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from ..dtypes import Arrays
from ..errors import DataError, SettingError
from ..graph import Graph
from ..passes.loss import label_inputs
from .data import Dataset, batch_order, chunks, prefetch
from .parallel import Placement


class Part(NamedTuple):
    """Some batches of an epoch, for make_epoch.

    upto: how many batches of the epoch are over after them.  batches, weights, data: as the epoch takes them.
    batch: f(k) -> (the arrays of its k-th batch, its rows, the data set that these are counted in).
    """

    upto: int
    batches: Any
    weights: Any
    data: Any
    batch: Callable[[int], tuple[Arrays, np.ndarray, Dataset]]


class Resident:
    """The epochs of a data set that lies on the device; each piece is row numbers."""

    def __init__(
        self, data: Dataset, batch_size: int, seed: int, last: str, placement: Placement | None = None
    ) -> None:
        self._data, self._order = data, {"batch_size": batch_size, "seed": seed, "last": last}
        self._arrays = data.on_device(placement)

    def parts(self, epoch: int, at: int, piece: int) -> Iterator[Part]:
        """What is left of an epoch after `at` batches, up to every multiple of `piece`."""
        rows, weights = batch_order(len(self._data), epoch=epoch, **self._order)  # type: ignore[arg-type]  # mixed
        while at < len(rows):
            upto = min(len(rows), at - at % piece + piece)
            part = rows[at:upto]

            def batch(k: int, part: np.ndarray = part) -> tuple[Arrays, np.ndarray, Dataset]:
                return {n: v[part[k]] for n, v in self._data.columns.items()}, part[k], self._data

            yield Part(upto, part, None if weights is None else weights[at:upto], self._arrays, batch)
            at = upto


class Stream:
    """Batches for `fit` that are read in each epoch anew, and never all in memory.

    batches: an iterable that begins anew each time (a loader), or a function of the epoch's number that gives one; an
        item is a tuple of arrays in the order of the graph's inputs, or a mapping.  What is short or long in rows
        is refused; of several processes each gives its own batch_size / processes rows.
    steps: how many batches an epoch has, the same in all processes; default: len(batches).
    ahead: how many batches lie on the device at once, and as many are read ahead.
    """

    def __init__(
        self, batches: Iterable[Any] | Callable[[int], Iterable[Any]], *, steps: int | None = None, ahead: int = 32
    ) -> None:
        if steps is None:
            try:
                steps = len(batches)  # type: ignore[arg-type]  # where it has no length, that is said
            except TypeError:
                raise SettingError(
                    f"a {type(batches).__name__} does not say how many batches an epoch has: Stream(..., steps=)"
                ) from None
        if not callable(batches) and iter(batches) is batches:
            raise SettingError(
                f"a {type(batches).__name__} can be read once, and each epoch reads it anew: give a function of the "
                f"epoch that makes one"
            )
        if steps < 1 or ahead < 1:
            raise SettingError(f"a stream of {steps} batches, {ahead} at once: expected 1 or more of each")
        self._batches, self.steps, self.ahead = batches, steps, ahead

    @classmethod
    def of_rows(cls, columns: Mapping[str, Any], *, batch_size: int, seed: int = 0, ahead: int = 32) -> Stream:
        """Rows of columns that are indexed where they lie, such as np.load(..., mmap_mode="r"), shuffled anew in each
        epoch as fit(seed=) shuffles a data set: an epoch has the same batches, and of several processes each reads its
        share of them alone."""
        count = min(map(len, columns.values()))
        rank, processes = jax.process_index(), jax.process_count()
        if batch_size % processes:
            raise SettingError(f"a batch of {batch_size} rows cannot be split over {processes} processes")
        share = slice(rank * batch_size // processes, (rank + 1) * batch_size // processes)

        def epoch(number: int) -> Iterator[Arrays]:
            for rows in batch_order(count, batch_size, seed=seed, epoch=number)[0]:
                yield {k: np.asarray(v[rows[share]]) for k, v in columns.items()}

        return cls(epoch, steps=len(batch_order(count, batch_size)[0]), ahead=ahead)

    def open(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch."""
        return iter(self._batches(epoch) if callable(self._batches) else self._batches)

    def first(self, graph: Graph) -> Dataset:
        """The first batch of the first epoch, as rows."""
        for batches, _ in chunks(islice(self.open(0), 1), tuple(graph.inputs), 1):
            return Dataset({k: v[0] for k, v in batches.items()})
        raise DataError("the stream gave no batch")


class Streamed:
    """The epochs of a stream."""

    def __init__(self, stream: Stream, graph: Graph, rows: int, placement: Placement | None = None) -> None:
        self._stream, self._names, self._labels = stream, tuple(graph.inputs), label_inputs(graph)
        self._rows, self._place = rows, jax.device_put if placement is None else placement.place_batches

    def parts(self, epoch: int, at: int, piece: int) -> Iterator[Part]:
        """What is left of an epoch after `at` batches, which are read and dropped, in parts that end at every multiple
        of `piece` and hold no more than the stream has ahead."""
        steps = self._stream.steps
        source = islice(self._stream.open(epoch), at, steps)
        wide = bool(jax.config.read("jax_enable_x64"))  # which another thread would not know
        with closing(cast(Any, prefetch(self._cut(source, at, piece, wide), 1, self._placed))) as parts:
            for count, (host, placed) in parts:
                at += count

                def batch(k: int, host: Arrays = host) -> tuple[Arrays, np.ndarray, Dataset]:
                    own = {n: v[k] for n, v in host.items()}
                    return own, np.arange(self._rows), Dataset(own)

                yield Part(at, placed, None, None, batch)
        if at < steps:
            raise DataError(f"epoch {epoch}: the stream ended after {at} batches, and an epoch has {steps}")

    def _cut(self, source: Iterator[Any], at: int, piece: int, wide: bool) -> Iterator[tuple[int, Arrays]]:
        with jax.enable_x64(wide):
            while at < self._stream.steps:
                count = min(self._stream.steps, at - at % piece + piece) - at
                given = list(islice(source, min(count, self._stream.ahead)))
                if not given:
                    return
                for batches, weights in chunks(given, self._names, len(given), last="pad", classes=self._labels):
                    rows = int(weights.sum(1).min())
                    if rows != self._rows or weights.shape[1] != rows:
                        raise DataError(
                            f"a batch of {rows} rows among batches {at} to {at + len(given) - 1} of the stream, "
                            f"expected {self._rows}: the batch size, of which each process gives its share"
                        )
                    yield len(given), batches
                at += len(given)

    def _placed(self, item: tuple[int, Arrays]) -> tuple[int, tuple[Arrays, Any]]:
        count, batches = item
        return count, (batches, self._place(batches))
