"""One tile of a layer: its tensors, and what programming and drift do to them."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .....analog import Settings, drift_tile, program_tile
from .....analog.errors import ConfigError, NotProgrammable
from ._bridge import tensor_of
from ._custom_noise import on_tensors, settings_on_tensors
from ._holder import STATE, Holder, context_of
from ._module import Module, in_torch


class TorchSimulatorTile(Module):
    """Where the weight of a torch tile lives."""


class TileModule(Holder):
    """A tile: its settings, its tensors, and what it remembers of its programming."""

    def __init__(self, settings: Settings, layer: Any, shape: tuple[int, int], seed: int) -> None:
        super().__init__()
        self.settings, self.shape, self.seed, self.readings = settings, shape, seed, 0
        self.device: dict[str, Any] | None = None
        if in_torch():
            self.analog_ctx = context_of(shape, layer)

    weight_keys = ("shared_weights", "tile.weight")
    """What a checkpoint calls the weight: here, and where the other kind of tile wrote it."""

    @property
    def drift_noise_parameters(self) -> list[Any] | None:
        """The drift coefficients that programming drew, one tensor for each of the converter's; None before."""
        return None if self.device is None else [self._shown(n) for n in self.device["coefficients"]]

    def _shown(self, array: Any) -> Any:
        return tensor_of(array) if in_torch() else array

    @property
    def out_size(self) -> int:
        return self.shape[0]

    @property
    def in_size(self) -> int:
        return self.shape[1]

    @property
    def rpu_config(self) -> Any:
        """The config of the tile's layer; with torch alone."""
        return self.analog_ctx.analog_layer.rpu_config

    def as_read(self, name: str, numbers: np.ndarray) -> np.ndarray:
        """alpha, a single number after drift, is [1] in the layer's graph."""
        return numbers.reshape(-1) if name == "alpha" else numbers

    def _key(self) -> Any:
        self.readings += 1
        return jax.random.fold_in(jax.random.key(self.seed ^ 0x5EED), self.readings)

    def _weights(self) -> Any:
        return jnp.asarray(np.array(self.numbers("weight")))

    def _put_weights(self, weight: Any) -> None:
        self.write("weight", weight)
        if self.device is not None:
            self.device["written"] = np.array(weight)

    def _changed(self) -> bool:
        """Whether the weights are others than those that programming or drift left."""
        device = self.device
        return device is None or not np.array_equal(device["written"], np.asarray(self.numbers("weight")))

    def program_weights(self, from_reference: bool = True, noise_model: Any = None) -> None:
        """Program the tile: again the reference of the last time, or the weights, if they have changed since.

        from_reference False: what the tile holds now becomes the reference.  Unlike aihwkit's, training or set_weights
        after a programming is not undone by the next."""
        model = self.settings.noise_model if noise_model is None else noise_model
        if model is None:
            raise NotProgrammable("the tile's config has noise_model=None: pass a noise model to program it with")
        old = self.device
        reference = self._weights() if old is None or self._changed() or not from_reference else old["reference"]
        values = self.extra.get("out_noise_values")
        model, settings = on_tensors(model), settings_on_tensors(self.settings)
        self.device = program_tile(model, settings, reference, self._key(), values) | {"model": model}
        self._put_weights(self.device["weight"])

    def drift_weights(self, t_inference: float = 0.0) -> None:
        """The weights t_inference seconds after programming, which is done first where it has not been."""
        if self.settings.noise_model is None and self.device is None:
            return  # nothing drifts, as in aihwkit's floating point tile
        if self.device is None or self._changed():
            self.program_weights()
        device = self.device
        if device is None:
            raise ConfigError("the tile is not programmed")
        values = self.extra.get("out_noise_values")
        settings = settings_on_tensors(self.settings)
        weight, alpha = drift_tile(device["model"], settings, device, t_inference, self._key(), values)
        self._put_weights(weight)
        if alpha is not None and "alpha" in self.names:
            self.write("alpha", np.reshape(alpha, ()) if in_torch() else alpha)  # a number from then on, as aihwkit's

    def get_weights(self) -> Any:
        """The weight that the tile holds, scales not included."""
        return self._shown(self._weights())

    def forget(self) -> None:
        """New weights were set: nothing is programmed."""
        self.device = None

    def tile_state(self) -> dict[str, Any]:
        found = super().tile_state() | {"readings": self.readings, "seed": self.seed}
        found["draws"] = list(self.analog_ctx.analog_layer.draws())
        if self.device is not None:
            kept = {k: v for k, v in self.device.items() if k != "model"}
            nus = kept.pop("coefficients")
            found["device"] = {k: tensor_of(v) for k, v in kept.items()} | {"coefficients": [tensor_of(n) for n in nus]}
        return found

    def load_tile_state(self, found: dict[str, Any]) -> None:
        super().load_tile_state(found)
        self.readings, self.seed = int(found.get("readings", self.readings)), int(found.get("seed", self.seed))
        if "draws" in found:
            self.analog_ctx.analog_layer.go_on_from(*found["draws"])
        self.device = None
        if "device" in found:
            held: dict[str, Any] = {
                k: jnp.asarray(np.array(v)) for k, v in found["device"].items() if k != "coefficients"
            }
            held["written"] = np.array(held["written"])
            held["coefficients"] = [jnp.asarray(np.array(v)) for v in found["device"]["coefficients"]]
            self.device = held | {"model": on_tensors(self.settings.noise_model)}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)  # type: ignore[misc]  # torch.nn.Module has it
        destination[prefix + STATE] = self.tile_state()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        own, other = (prefix + k for k in self.weight_keys)
        if own not in state_dict and other in state_dict:  # a checkpoint of the other kind of tile
            state_dict[own] = state_dict.pop(other)
        mine = dict(state_dict)
        held = mine.pop(prefix + STATE, None)
        # aihwkit's own checkpoints of drifted models hold alpha in another shape than fresh ones.
        alpha = mine.get(f"{prefix}alpha")
        if alpha is not None and "alpha" in self.names:
            alpha = alpha if alpha.ndim == 0 else alpha.reshape(-1)
            mine[f"{prefix}alpha"] = alpha
            if alpha.shape != self.tensor("alpha").shape:
                self.put("alpha", np.asarray(alpha))
        super()._load_from_state_dict(mine, prefix, *rest)  # type: ignore[misc]  # torch.nn.Module has it
        if isinstance(held, dict):
            self.load_tile_state(held)


class InferenceTile(TileModule):
    """The explicit tile; where aihwkit's holds one of C++, `tile` is itself."""

    @property
    def tile(self) -> InferenceTile:
        return self


class TorchInferenceTile(TileModule):
    """The torch tile; its weight is that of its simulator tile."""

    weight_keys = ("tile.weight", "shared_weights")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if in_torch():
            self.tile = TorchSimulatorTile()

    def place(self, name: str) -> tuple[Any, str]:
        return (self.tile, "weight") if name == "weight" else super().place(name)

    def to_torch(self) -> None:
        self.tile = TorchSimulatorTile()
        super().to_torch()


class QuantizedTorchInferenceTile(TorchInferenceTile):
    """The same with scales and bias quantized."""


class TileModuleArray(Holder):
    """The tiles of a layer that is too large for one, array[input block][output block], and their common bias."""

    def place(self, name: str) -> tuple[Any, str]:
        return self, name.replace(".", "_")


def kind_of_tile(settings: Settings) -> type[TileModule]:
    if settings.explicit:
        return InferenceTile
    return QuantizedTorchInferenceTile if settings.periphery or settings.act_bits else TorchInferenceTile


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
