"""AnalogLinear and AnalogLinearMapped."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ...exceptions import TileModuleError
from ...simulator.configs import InferenceRPUConfig, TorchInferenceRPUConfig
from ._bridge import tensor_of
from ._compiled import LayerSpec
from ._layer import TiledLayer
from ._module import check_module
from ._numbers import sizes
from ._tile import LAYER_OF_TILE, TileModule, TorchInferenceTile


class AnalogLinear(TiledLayer):
    """y = x W^T + b on analog tiles.  f[..., in_features] -> f[..., out_features].

    rpu_config: default InferenceRPUConfig().  Raises ConfigError naming the field that a tile does not support.
    tile_module_class: the config decides; ConfigError for a class of a script's own.  seed: of the first weights
    (uniform within 1 / sqrt(in_features), as torch's) and of the noise; None: torch's generator, or 0 without torch.
    """

    as_array = False

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        rpu_config: Any = None,
        tile_module_class: Any = None,
        *,
        seed: int | None = None,
    ) -> None:
        sizes(type(self).__name__, in_features=in_features, out_features=out_features)
        rpu_config = self._config(rpu_config, tile_module_class)
        spec = LayerSpec(
            "Gemm",
            (("transB", 1),),
            (out_features, in_features),
            bool(bias),
            self._settings_of(rpu_config),
            as_array=self.as_array or rpu_config.mapping.makes_array(out_features, in_features),
        )
        super().__init__(spec, rpu_config, seed)
        self.in_features, self.out_features = in_features, out_features

    def extra_repr(self) -> str:
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.use_bias}, {type(self.rpu_config).__name__}"

    @classmethod
    def from_digital(cls, module: Any, rpu_config: Any, tile_module_class: Any = None) -> Any:
        """The analog layer of a torch.nn.Linear."""
        check_module(f"{cls.__name__}.from_digital", module, "in_features", "out_features", "weight", "bias")
        made: Any = cls(module.in_features, module.out_features, module.bias is not None, rpu_config, tile_module_class)
        made.set_weights(module.weight, module.bias)
        return made.to(module.weight.device)

    @classmethod
    def to_digital(cls, module: AnalogLinear, realistic: bool = False) -> Any:
        """The torch.nn.Linear of an analog layer, scales folded into its weight; realistic: as its outputs show it."""
        import torch

        check_module(f"{cls.__name__}.to_digital", module, "in_features", "out_features", "get_weights")
        made = torch.nn.Linear(module.in_features, module.out_features, module.use_bias)
        return with_weights(made, module, realistic)


def layer_of_tile(kind: type[TileModule], out_size: int, in_size: int, rpu_config: Any, bias: bool) -> AnalogLinear:
    """The layer of a tile that a script makes by itself; its weight is 0."""
    if rpu_config is None:
        rpu_config = TorchInferenceRPUConfig() if issubclass(kind, TorchInferenceTile) else InferenceRPUConfig()
    whole = copy.deepcopy(rpu_config)
    whole.mapping.max_input_size = whole.mapping.max_output_size = 0
    layer = AnalogLinear(in_size, out_size, bias, whole)
    if not isinstance(layer.analog_module, kind):
        found = type(layer.analog_module).__name__
        raise TileModuleError(f"{kind.__name__} got a {type(rpu_config).__name__}, whose tile is a {found}")
    layer.set_weights(np.zeros((out_size, in_size), np.float32), np.zeros(out_size, np.float32))
    return layer


LAYER_OF_TILE.append(layer_of_tile)


class AnalogLinearMapped(AnalogLinear):
    """The same, always an array of tiles of at most max_input_size by max_output_size, even if it is one."""

    as_array = True


def with_weights(made: Any, module: TiledLayer, realistic: bool = False) -> Any:
    """The torch module with the logical weights of the analog one, in its mode."""
    import torch

    weight, bias = module.get_weights(realistic=realistic)
    with torch.no_grad():
        made.weight.copy_((weight if torch.is_tensor(weight) else tensor_of(weight)).reshape(made.weight.shape))
        if bias is not None:
            made.bias.copy_(bias if torch.is_tensor(bias) else tensor_of(bias))
    return made.train(module.training)
