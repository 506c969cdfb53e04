"""AnalogLinear and AnalogLinearMapped."""

from __future__ import annotations

import math
from typing import Any

from ._bridge import tensor_of
from ._compiled import LayerSpec
from ._layer import TiledLayer
from ._module import torch_in_use


class AnalogLinear(TiledLayer):
    """y = x W^T + b on analog tiles.  f[..., in_features] -> f[..., out_features].

    rpu_config: default InferenceRPUConfig().  Raises ConfigError naming the field that a tile does not support.
    tile_module_class: kept for scripts that pass it; the config decides.  seed: of the first weights (uniform within
    1 / sqrt(in_features), as torch's) and of the noise; None: torch's generator, or 0 without torch.
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
        rpu_config = self._config(rpu_config)
        spec = LayerSpec(
            "Gemm",
            (("transB", 1),),
            (out_features, in_features),
            bool(bias),
            self._settings_of(rpu_config),
            as_array=self.as_array,
        )
        super().__init__(spec, rpu_config, seed)
        self.in_features, self.out_features = in_features, out_features

    def _any_sizes(self) -> tuple:
        return ("N0", self._spec.shape[1])

    def reset_parameters(self) -> None:
        """New weights and biases, uniform within 1 / sqrt(in_features), from torch's generator."""
        import numpy as np

        torch = torch_in_use()
        seed = self._seed if torch is None else int(torch.randint(2**31 - 1, (1,)))
        rng, bound = np.random.default_rng(seed), 1 / math.sqrt(self.in_features)
        self.set_weights(rng.uniform(-bound, bound, self._spec.shape), rng.uniform(-bound, bound, self.out_features))

    @classmethod
    def from_digital(cls, module: Any, rpu_config: Any, tile_module_class: Any = None) -> Any:
        """The analog layer of a torch.nn.Linear."""
        made: Any = cls(module.in_features, module.out_features, module.bias is not None, rpu_config, tile_module_class)
        made.set_weights(module.weight, module.bias)
        return made.to(module.weight.device)

    @classmethod
    def to_digital(cls, module: AnalogLinear) -> Any:
        """The torch.nn.Linear of an analog layer, scales folded into its weight."""
        import torch

        made = torch.nn.Linear(module.in_features, module.out_features, module.use_bias)
        return with_weights(made, module)


class AnalogLinearMapped(AnalogLinear):
    """The same, always an array of tiles of at most max_input_size by max_output_size, even if it is one."""

    as_array = True


def with_weights(made: Any, module: TiledLayer) -> Any:
    """The torch module with the logical weights of the analog one, in its mode."""
    import torch

    weight, bias = module.get_weights()
    with torch.no_grad():
        made.weight.copy_(weight if torch.is_tensor(weight) else tensor_of(weight))
        if bias is not None:
            made.bias.copy_(bias if torch.is_tensor(bias) else tensor_of(bias))
    return made.train(module.training)
