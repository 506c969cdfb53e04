"""AnalogLayerBase: what every analog layer and every container of such layers can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...exceptions import ModuleError
from ._module import Module
from ._tile import TileModule


class AnalogLayerBase(Module):
    """Walking the tiles and layers below, programming and drift.  IS_CONTAINER: it holds layers rather than tiles."""

    IS_CONTAINER = False

    # ---- programming and drift ----------------------------------------------------------------------------

    def program_analog_weights(self, noise_model: Any = None) -> None:
        """Programming noise on every tile.  ModuleError in training mode."""
        self._only_in_evaluation("program_analog_weights")
        for tile in self.analog_tiles():
            tile.program_weights(noise_model=noise_model)

    def drift_analog_weights(self, t_inference: float = 0.0) -> None:
        """The tiles as they are t_inference seconds after programming.  ModuleError in training mode."""
        self._only_in_evaluation("drift_analog_weights")
        for tile in self.analog_tiles():
            tile.drift_weights(t_inference)

    def _only_in_evaluation(self, what: str) -> None:
        if self.training:
            raise ModuleError(f"{what} can only be used in evaluation: call .eval() first")

    # ---- walking ------------------------------------------------------------------------------------------

    def named_analog_tiles(self) -> Iterator[tuple[str, Any]]:
        return ((n, m) for n, m in self.named_modules() if isinstance(m, TileModule))

    def analog_tiles(self) -> Iterator[Any]:
        return (tile for _, tile in self.named_analog_tiles())

    def named_analog_modules(self) -> Iterator[tuple[str, Any]]:
        return ((n, m) for n, m in self.named_modules() if isinstance(m, AnalogLayerBase))

    def analog_modules(self) -> Iterator[Any]:
        return (m for _, m in self.named_analog_modules())

    def named_analog_layers(self) -> Iterator[tuple[str, Any]]:
        return ((n, m) for n, m in self.named_analog_modules() if not m.IS_CONTAINER)

    def analog_layers(self) -> Iterator[Any]:
        return (m for _, m in self.named_analog_layers())

    def analog_tile_count(self) -> int:
        return len(list(self.analog_tiles()))

    def apply_to_analog_tiles(self, fn: Callable[[Any], Any]) -> None:
        for tile in self.analog_tiles():
            fn(tile)

    def apply_to_analog_layers(self, fn: Callable[[Any], Any]) -> None:
        for layer in self.analog_layers():
            fn(layer)

    def remap_analog_weights(self, weight_scaling_omega: float | None = 1.0) -> None:
        """The same logical weights under new scales, in every layer that has any."""
        for layer in self.analog_layers():
            layer.remap_analog_weights(weight_scaling_omega)

    def unregister_parameter(self, name: str) -> None:
        """Nothing to do here; kept for the scripts that call it."""

    def prepare_for_ddp(self) -> None:
        """Nothing to do here: parameters and buffers are torch's own."""
