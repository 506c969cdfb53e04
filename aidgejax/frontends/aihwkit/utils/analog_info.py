"""aihwkit.utils.analog_info: what a model consists of, layer by layer and tile by tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..exceptions import ArgumentTypeError
from ..nn.modules._module import check_module
from ..nn.modules.base import AnalogLayerBase
from ..nn.modules.conv import AnalogConvNd, AnalogConvNdMapped
from ..nn.modules.linear import AnalogLinearMapped

COLUMN, RULE = 20, "=" * 200


class TileInfo:
    """A tile: its logical shape (out, in); physical shape and use in percent where tiles have a fixed size."""

    def __init__(self, tile: Any, is_mapped: bool) -> None:
        self.log_shape = tuple(tile.shape)
        mapping = tile.settings.mapping
        self.phy_shape = (mapping.max_output_size, mapping.max_input_size)
        self.is_mapped = is_mapped
        size = math.prod(self.phy_shape)
        self.utilization = round(100 * math.prod(self.log_shape) / size, 2) if is_mapped and size else 100.0

    def tile_summary_dict(self) -> dict[str, Any]:
        return {
            "log_shape": str(self.log_shape),
            "phys_shape": str(self.phy_shape) if self.is_mapped else "N/A",
            "utilization": self.utilization,
        }

    def __repr__(self) -> str:
        found = self.tile_summary_dict()
        return "".join(f"{found[k]!s:{COLUMN}}" for k in ("log_shape", "phys_shape", "utilization"))


class LayerInfo:
    """A layer: sizes of input and output, kernel, tiles, and how often a tile is used for one input."""

    def __init__(self, module: Any, rpu_config: Any = None, input_size: Any = None, output_size: Any = None) -> None:
        self.module, self.rpu_config = module, rpu_config
        self.name = type(module).__name__
        self.isanalog = isinstance(module, AnalogLayerBase)
        self.input_size, self.output_size = input_size, output_size
        self.kernel_size = getattr(module, "kernel_size", None)
        mapped = isinstance(module, AnalogLinearMapped | AnalogConvNdMapped)
        self.tiles_info = [TileInfo(t, mapped) for t in module.analog_tiles()] if self.isanalog else []
        self.num_tiles = len(self.tiles_info)
        self.reuse_factor = self.calculate_reuse_factor()

    def calculate_reuse_factor(self) -> int:
        """Products of one tile for one input: rows, or positions of a convolution; 0 of digital layers."""
        if not self.isanalog or self.input_size is None or self.output_size is None:
            return 0
        if isinstance(self.module, AnalogConvNd):
            return math.prod(self.output_size) // self.module.out_channels
        inputs = getattr(self.module, "in_features", None)  # an empty AnalogSequential has none
        return math.prod(self.input_size) // inputs if inputs else 0

    def layer_summary_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "isanalog": "analog" if self.isanalog else "digital",
            "input_size": str(list(self.input_size)) if self.input_size is not None else "-",
            "output_size": str(list(self.output_size)) if self.output_size is not None else "-",
            "kernel_size": "-" if self.kernel_size is None else str(self.kernel_size),
            "num_tiles": self.num_tiles,
            "reuse_factor": str(self.reuse_factor),
            "log_shape": "-",
            "phy_shape": "-",
            "utilization": "-",
        }

    def tiles_summary_dict(self) -> list[dict[str, Any]]:
        return [tile.tile_summary_dict() for tile in self.tiles_info]

    def __repr__(self) -> str:
        lines = ["".join(f"{v!s:{COLUMN}}" for v in self.layer_summary_dict().values())]
        return "\n".join([*lines, *(f"{'':{7 * COLUMN}}{tile}" for tile in self.tiles_info)])


class AnalogInfo:
    """layer_summary: a LayerInfo for each layer that computes; total_tile_number, total_nb_analog."""

    def __init__(self, model: Any, input_size: Any = None, rpu_config: Any = None) -> None:
        check_module("analog_summary", model)
        if not isinstance(input_size, Sequence) or isinstance(input_size, str):
            raise ArgumentTypeError(f"analog_summary got input_size={input_size!r}: expected a shape, batch included")
        self.model, self.input_size, self.rpu_config = model, input_size, rpu_config
        self.model_name = type(model).__name__
        self.layer_summary = self.create_layer_summary()
        self.total_tile_number = self.calculate_num_tiles()
        self.total_nb_analog = self.calculate_num_analog()

    def create_layer_summary(self) -> list[LayerInfo]:
        """By a call with zeros of input_size."""
        import torch

        found: list[LayerInfo] = []
        hooks: list[Any] = []

        def watch(module: Any) -> None:
            leaf = isinstance(module, AnalogLayerBase) and not module.IS_CONTAINER
            if not leaf and list(module.children()):
                for child in module.children():
                    watch(child)
                return

            def seen(layer: Any, inputs: Any, output: Any) -> None:
                values: tuple[Any, Any] = (
                    inputs[0] if inputs else None,
                    output[0] if type(output) is tuple else output,
                )
                sizes = [tuple(v.shape) if torch.is_tensor(v) else None for v in values]
                found.append(LayerInfo(layer, self.rpu_config, *sizes))

            hooks.append(module.register_forward_hook(seen))

        watch(self.model)
        mode = self.model.training
        try:
            with torch.no_grad():
                self.model.eval()(torch.zeros(*self.input_size))
        finally:
            self.model.train(mode)
            for hook in hooks:
                hook.remove()
        return found

    def calculate_num_tiles(self) -> int:
        return sum(layer.num_tiles for layer in self.layer_summary)

    def calculate_num_analog(self) -> int:
        return sum(layer.isanalog for layer in self.layer_summary)

    def __repr__(self) -> str:
        head = ("Layer", "Kind", "In", "Out", "Kernel", "Tiles", "Reuse", "Logical", "Physical", "Utilization (%)")
        return "\n".join(
            [
                RULE,
                f"Model: {self.model_name}",
                RULE,
                "".join(f"{h:{COLUMN}}" for h in head),
                RULE,
                *map(repr, self.layer_summary),
                RULE,
                f"Total number of tiles: {self.total_tile_number}",
                f"Total number of analog layers: {self.total_nb_analog}",
                RULE,
            ]
        )


def analog_summary(model: Any, input_size: Any = None, rpu_config: Any = None) -> AnalogInfo:
    """What the torch model does with an input of this size: print it.  ArgumentTypeError for what is none."""
    return AnalogInfo(model, input_size, rpu_config)
