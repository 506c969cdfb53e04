"""The tiles of a layer that is too large for one, and lists of modules with torch and without."""

from __future__ import annotations

import sys
from typing import Any

from .....analog.convert import spans
from ._holder import Holder
from ._module import Module, in_torch


class TileModuleArray(Holder):
    """The tiles of a layer that is too large for one, array[input block][output block], and their common bias."""

    often = ("bias",)
    supports_indexed = False

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.owner = (layer,)

    @property
    def analog_tile_count(self) -> int:
        return sum(len(row) for row in self.array)

    @property
    def in_sizes(self) -> list[int]:
        return [row[0].in_size for row in self.array]

    @property
    def out_sizes(self) -> list[int]:
        return [tile.out_size for tile in self.array[0]]

    @property
    def in_size(self) -> int:
        return sum(self.in_sizes)

    @property
    def out_size(self) -> int:
        return sum(self.out_sizes)

    def get_weights(self, **kwargs: Any) -> tuple[Any, Any]:
        return self.owner[0].get_weights(**kwargs)

    def set_weights(self, weight: Any, bias: Any = None, **kwargs: Any) -> None:
        self.owner[0].set_weights(weight, bias, **kwargs)

    def get_split_sizes(self, size: int, split_max_size: int) -> list[int]:
        """The sizes of the fewest parts that are near each other and at most split_max_size; 0: one part."""
        return [part.stop - part.start for part in spans(size, max(0, split_max_size))]

    def forward(self, x_input: Any, tensor_view: Any = None) -> Any:
        return self.owner[0].forward(x_input)

    def place(self, name: str) -> tuple[Any, str]:
        return self, name.replace(".", "_")


def module_list(items: list[Any]) -> Any:
    """A list of modules that its owner's tree contains."""
    if in_torch():
        return sys.modules["torch"].nn.ModuleList(items)
    found = ModuleArray()
    for k, item in enumerate(items):
        found.add_module(str(k), item)
    return found


class ModuleArray(Module):
    """A list of modules, without torch."""

    def __getitem__(self, k: int) -> Any:
        return getattr(self, str(k))

    def __iter__(self) -> Any:
        return self.children()

    def __len__(self) -> int:
        return sum(1 for _ in self.children())
