"""AnalogLayerBase: what every analog layer and every container of such layers can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...exceptions import ModuleError, TileModuleError
from ._bridge import tensor_of
from ._holder import STATE
from ._module import Module, in_torch
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

    def get_analog_tile_devices(self) -> list[Any]:
        """Where each tile below is: torch devices, or JAX's without torch."""
        return [tile.tensor("weight").device for tile in self.analog_tiles()]

    def replace_rpu_config(self, rpu_config: Any) -> None:
        """Every layer below goes on with this config; TileModuleError where it does not fit, and no layer changes."""
        layers = list(self.analog_layers())
        check_configs(layers, rpu_config)
        for layer in layers:
            layer.replace_rpu_config(rpu_config)

    def unregister_parameter(self, param_name: str) -> None:
        """The attribute is None from then on, in place of a torch parameter.  ModuleError where it is none."""
        if param_name not in vars(self).get("_parameters", {}):
            raise ModuleError(f"{type(self).__name__} has no parameter {param_name!r} to unregister")
        delattr(self, param_name)
        setattr(self, param_name, None)

    def prepare_for_ddp(self) -> None:
        """torch's data-parallel training leaves out what are no numbers: contexts and the tiles' own state."""
        names = ("analog_ctx", STATE)
        ignored = [k for k in self.state_dict() if k.rsplit(".", 1)[-1] in names]
        self._ddp_params_and_buffers_to_ignore = ignored

    def load_state_dict(
        self,
        state_dict: Any,
        strict: bool = True,
        load_rpu_config: bool | None = None,
        strict_rpu_config_check: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As torch's; without torch, all of it or nothing.

        load_rpu_config: whether the layers go on with the configs that the checkpoint holds; None: as was said last,
        yes at first.  False: TileModuleError where the config of a layer does not fit the checkpoint's.
        strict_rpu_config_check False: their classes may differ.  TileModuleError where the checkpoint does not fit;
        nothing is loaded then.
        """
        if not hasattr(state_dict, "items"):
            raise TileModuleError(f"load_state_dict got a {type(state_dict).__name__}: expected a dict of tensors")
        for tile in self.analog_tiles():
            tile.set_load_rpu_config_state(load_rpu_config, strict_rpu_config_check)
        if not in_torch():
            return super().load_state_dict(state_dict)
        load: Callable[..., Any] = super().load_state_dict
        before = [(layer, layer.rpu_config) for layer in self.analog_layers()]
        own = {k: v.detach().clone() if hasattr(v, "detach") else v for k, v in self.state_dict().items()}
        given = {k: tensor_of(v) if isinstance(v, np.ndarray) else v for k, v in state_dict.items()}
        try:
            return load(given, strict, **kwargs)
        except (RuntimeError, TypeError, AttributeError, LookupError, ValueError) as e:
            for layer, config in before:
                layer.go_back_to(config)
            load(own, False)
            raise TileModuleError(
                f"the state does not fit this {type(self).__name__}: {e}. Nothing was loaded"
            ) from None


def check_configs(layers: list[Any], rpu_config: Any) -> None:
    """TileModuleError unless this config fits every tile of these layers."""
    for tile in (tile for layer in layers for tile in layer.analog_tiles()):
        fits, why = tile.compatible_with(rpu_config)
        if not fits:
            raise TileModuleError(str(why))
