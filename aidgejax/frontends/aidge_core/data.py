"""aidge_core.Database and DataProvider: items of tensors, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from .backends import place_of
from .dtypes import dformat
from .errors import ProviderError, TensorTypeError
from .execution import SequentialScheduler
from .graphview import GraphView
from .random import Generator
from .tensor import Tensor, as_tensor


class Database:
    """To be subclassed: get_item(i) -> [Tensor per modality], len(), get_nb_modalities()."""

    def get_item(self, index: int) -> list[Tensor]:
        raise ProviderError(f"{type(self).__name__} does not define get_item(index)")

    def len(self) -> int:
        raise ProviderError(f"{type(self).__name__} does not define len()")

    def get_nb_modalities(self) -> int:
        raise ProviderError(f"{type(self).__name__} does not define get_nb_modalities()")


class DataProvider:
    """Batches of a database: for x, y in DataProvider(db, 32).  Items are stacked along a new first axis.

    shuffle: another order at each iteration, drawn from aidge_core.random.  drop_last: leave a short last batch out.
    num_workers: accepted; items are fetched by the calling thread.
    """

    def __init__(
        self,
        database: Database,
        batch_size: int,
        backend: str = "cpu",
        shuffle: bool = False,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ProviderError(f"DataProvider: batch_size is {batch_size!r}; expected 1 or more")
        if not isinstance(database, Database):
            raise TensorTypeError(f"DataProvider: expected a Database, got {type(database).__name__}")
        place_of(backend)
        self._database, self._size, self.backend_name = database, int(batch_size), backend
        self._shuffle, self._drop_last = shuffle, drop_last
        self._transforms: dict[int, SequentialScheduler] = {}
        self._formats: dict[int, Any] = {}

    def __len__(self) -> int:
        items = self._database.len()
        return items // self._size if self._drop_last else -(-items // self._size)

    def batch_size(self) -> int:
        return self._size

    def set_backend(self, backend: str, device: int = 0) -> None:
        place_of(backend, device)
        self.backend_name = backend

    def dims(self, modality: int) -> list[list[int]]:
        return [self._item(0)[modality].dims]

    def dtype(self, modality: int) -> list[Any]:
        return [self._item(0)[modality].dtype]

    def dformat(self, modality: int) -> list[Any]:
        return [self._formats.get(modality) or self._item(0)[modality].dformat]

    def transforms(self, modality: int, graph: GraphView, default_dformat: bool = True) -> None:
        """Put every item of a modality through this graph, of one input and one output, before it is stacked.

        default_dformat: the items then count as of dformat.default, whatever they were read as.
        """
        if not isinstance(graph, GraphView):
            raise TensorTypeError(f"transforms(modality, graph): expected a GraphView, got {type(graph).__name__}")
        ports = len(graph.get_ordered_inputs()), len(graph.get_ordered_outputs())
        if ports != (1, 1):
            raise ProviderError(
                f"transforms: the graph has {ports[0]} inputs and {ports[1]} outputs; an item is one tensor"
            )
        if any(n.get_operator().backend_name is None for n in graph.get_nodes()):
            graph.set_backend(self.backend_name)
        self._transforms[modality] = SequentialScheduler(graph)
        if default_dformat:
            self._formats[modality] = dformat.default

    def __iter__(self) -> Iterator[list[Tensor]]:
        items = self._database.len()
        order = np.arange(items)
        if self._shuffle:
            seed = np.asarray(jax.random.key_data(Generator.key())).tolist()
            order = np.random.default_rng(seed).permutation(items)
        for start in range(0, len(self) * self._size, self._size):
            yield self._batch(order[start : start + self._size])

    def _batch(self, rows: np.ndarray) -> list[Tensor]:
        items = [self._item(int(i)) for i in rows]
        found = []
        for m in range(self._database.get_nb_modalities()):
            parts = [item[m].cell.read() for item in items]
            odd = next((k for k, p in enumerate(parts) if p.shape != parts[0].shape or p.dtype != parts[0].dtype), None)
            if odd is not None:
                kinds = [f"{p.dtype}{list(p.shape)}" for p in (parts[odd], parts[0])]
                raise ProviderError(
                    f"item {int(rows[odd])}, modality {m}: {kinds[0]} does not stack with {kinds[1]} "
                    f"of item {int(rows[0])}"
                )
            batch = Tensor(np.stack(parts))
            batch.set_backend(self.backend_name)
            found.append(batch)
        return found

    def _item(self, index: int) -> list[Tensor]:
        try:
            item = self._database.get_item(index)
        except Exception as e:
            raise ProviderError(
                f"get_item({index}) of {type(self._database).__name__} raised {type(e).__name__}: {e}"
            ) from e
        count = self._database.get_nb_modalities()
        if not isinstance(item, list | tuple) or len(item) != count:
            raise ProviderError(f"get_item({index}) gave {type(item).__name__}; expected a list of {count} Tensors")
        tensors = [as_tensor(t, f"modality {m} of item {index}") for m, t in enumerate(item)]
        for m, scheduler in self._transforms.items():
            tensors[m] = scheduler.forward(data=[tensors[m]])[0].clone()
        return tensors
