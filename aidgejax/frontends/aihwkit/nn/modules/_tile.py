"""One tile of a layer: its tensors, and what programming and drift do to them."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .....analog import Settings
from .....analog import config as kinds
from .....analog.config_text import config_like, config_of, config_text
from .....analog.errors import ConfigError, ModuleError, NotProgrammable, TileModuleError
from .....analog.inference import baseline_of, compiled_drift_tile, compiled_program_tile, readout_of
from .....analog.noise_model import BaseNoiseModel
from .....analog.settings import number
from ._bridge import tensor_of
from ._custom_noise import on_tensors, own_baseline, settings_on_tensors
from ._holder import STATE, Holder, context_of
from ._module import Module, in_torch, is_tensor
from ._numbers import array_of
from ._tile_access import SimulatorTile, TileAccess


class TorchSimulatorTile(SimulatorTile, Module):
    """Where the weight of a torch tile lives."""

    def __init__(self, tile: Any) -> None:
        Module.__init__(self)
        self.__dict__["owner"] = (tile,)

    @property
    def _tile(self) -> Any:
        return self.__dict__["owner"][0]

    def extra_repr(self) -> str:
        return f"{self._tile.out_size}, {self._tile.in_size}"

    def __repr__(self) -> str:
        return super(SimulatorTile, self).__repr__()


LAYER_OF_TILE: list[Any] = []
"""linear.py fills it: (kind, out, in, config, bias) -> the layer of a tile that a script makes by itself."""


class TileModule(TileAccess):
    """A tile: its settings, its tensors, and what it remembers of its programming."""

    def __init__(
        self,
        out_size: int,
        in_size: int,
        rpu_config: Any = None,
        bias: bool = False,
        in_trans: bool = False,
        out_trans: bool = False,
        shared_weights: bool = True,
    ) -> None:
        """A tile of its own, of zeros: the only one of an AnalogLinear, which `layer` is.

        in_trans, out_trans: ConfigError unless False.  shared_weights has no effect.
        """
        if in_trans or out_trans:
            raise ConfigError("in_trans and out_trans: the tiles here take [..., in] and give [..., out]")
        found = LAYER_OF_TILE[0](type(self), out_size, in_size, rpu_config, bias)
        vars(self).update(vars(found.analog_module))
        found.analog_module = self
        self._owns_weight()

    @classmethod
    def of_layer(cls, settings: Settings, layer: Any, shape: tuple[int, int], seed: int) -> Any:
        """A tile of this layer, without its tensors."""
        made = cls.__new__(cls)
        made._make(settings, layer, shape, seed)
        return made

    def _make(self, settings: Settings, layer: Any, shape: tuple[int, int], seed: int) -> None:
        Holder.__init__(self)
        self.settings, self.shape, self.seed, self.readings = settings, shape, seed, 0
        self.owner = (layer,)  # in a tuple: torch would take the layer for a child
        self.device: dict[str, Any] | None = None
        if in_torch():
            self.analog_ctx = context_of(shape, layer)
        self._owns_weight()

    def _owns_weight(self) -> None:
        """The torch tile's weight stands in a module of its own."""

    def forward(self, x_input: Any, tensor_view: Any = None) -> Any:
        """y of x f[..., in] through this tile alone; of a layer of several, without a gradient."""
        layer = self.layer
        if len(layer._layer.parts) == 1 and layer._spec.op == "Gemm":
            mode, layer.training = layer.training, self.training
            try:
                return layer.forward(x_input)
            finally:
                layer.training = mode
        if is_tensor(x_input) and x_input.requires_grad and self.training:
            raise ModuleError(
                f"{self.get_brief_info()} is one tile of a layer: call the layer where gradients are asked"
            )
        rows = array_of(x_input)
        return self._shown(np.array(layer._tile_outputs(self)(rows)))

    weight_keys = ("shared_weights", "tile.weight")
    """What a checkpoint calls the weight: here, and where the other kind of tile wrote it."""

    @property
    def layer(self) -> Any:
        return self.owner[0]

    @property
    def drift_noise_parameters(self) -> list[Any] | None:
        """The drift coefficients that programming drew, one tensor for each of the converter's; None before."""
        return None if self.device is None else [self._shown(n) for n in self.device["coefficients"]]

    @property
    def programmed_weights(self) -> Any:
        """f[out, in]: what programming ended in, from which every drift starts; None before."""
        return self._remembered("weight")

    @property
    def reference_combined_weights(self) -> Any:
        """f[out, in]: the weights that were to be programmed; None before."""
        return self._remembered("reference")

    @property
    def drift_baseline(self) -> Any:
        """What drift compensation read just after programming; None before, or without a compensation."""
        return self._remembered("baseline")

    def _remembered(self, name: str) -> Any:
        found = None if self.device is None else self.device.get(name)
        if found is None:
            return None
        return self._shown(found if name == "baseline" else np.reshape(np.asarray(found), self.shape))

    def _say_what_is_absent(self) -> None:
        """A tile of inference has alpha in any case, 1 where nothing compensates."""
        super()._say_what_is_absent()
        if "alpha" not in self.names and not isinstance(self.rpu_config, kinds.FloatingPointRPUConfig):
            torch = sys.modules["torch"]
            torch.nn.Module.register_buffer(self, "alpha", torch.ones(1))

    def as_read(self, name: str, numbers: np.ndarray) -> np.ndarray:
        """alpha, a single number after drift, is [1] in the layer's graph."""
        return numbers.reshape(-1) if name == "alpha" else numbers

    def next_reading(self) -> int:
        """A number that no other reading of the tile has."""
        self.readings += 1
        return self.readings

    def _key(self) -> Any:
        return jax.random.fold_in(jax.random.key(self.seed ^ 0x5EED), self.next_reading())

    def post_update_step(self) -> None:
        """Clip and map the weights, as the config says; of a layer of several tiles, those of all."""
        self.layer.post_update_step()

    def take_settings(self, new: Settings) -> None:
        """Those of another config; a programming goes on by its noise model."""
        self.settings = new
        if self.device is not None and new.noise_model is not None:
            self.device["model"] = on_tensors(new.noise_model)

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

        noise_model: the config's from now on, as in aihwkit.  from_reference False: what the tile holds now becomes
        the reference.  Unlike aihwkit's, training or set_weights
        after a programming is not undone by the next."""
        if noise_model is not None and noise_model is not self.rpu_config.noise_model:
            if not isinstance(noise_model, BaseNoiseModel):
                raise ConfigError(
                    f"noise_model is {noise_model!r}: expected a noise model, such as PCMLikeNoiseModel()"
                )
            self.rpu_config.noise_model = noise_model
        self.layer.follow_config()
        model = self.settings.noise_model if noise_model is None else noise_model
        if model is None:
            raise NotProgrammable("the tile's config has noise_model=None: pass a noise model to program it with")
        old = self.device
        reference = self._weights() if old is None or self._changed() or not from_reference else old["reference"]
        values = self.extra.get("out_noise_values")
        model, settings = on_tensors(model), settings_on_tensors(self.settings)
        self.device = compiled_program_tile(model, settings, reference, self._key(), values) | {"model": model}
        self._put_weights(self.device["weight"])
        baseline = own_baseline(self.settings.compensation, self)
        if baseline is not None:
            self.device["baseline"] = baseline

    def drift_weights(self, t_inference: float = 0.0) -> None:
        """The weights t_inference seconds after programming, which is done first where it has not been."""
        t_inference = number(f"t_inference of {self.get_brief_info()}", t_inference)
        self.layer.follow_config()
        if self.settings.noise_model is None and self.device is None:
            return  # nothing drifts, as in aihwkit's floating point tile
        if self.device is None or self._changed():
            self.program_weights()
        device = self.device
        if device is None:
            raise ConfigError("the tile is not programmed")
        values = self.extra.get("out_noise_values")
        settings = settings_on_tensors(self.settings)
        weight, alpha = compiled_drift_tile(device["model"], settings, device, t_inference, self._key(), values)
        self._put_weights(weight)
        if alpha is not None and "alpha" in self.names:
            # A new tensor each time, of a global compensation a number, as aihwkit's; one that a script kept stays.
            self.put("alpha", np.reshape(alpha, ()) if in_torch() and np.size(alpha) == 1 else alpha)

    def _forward_drift_readout_tensor(self, reset_if: bool = False, exact_reference: bool = False) -> Any:
        """f[n, out]: what the inputs of the config's drift compensation give now; None without one.

        The name of aihwkit's tiles, for compensations that read them out by themselves.  exact_reference: the products
        with the weights that were to be programmed.  reset_if has no effect: the inputs are asked for each time.
        """
        compensation = self.settings.compensation
        if compensation is None:
            return None
        asked = array_of(compensation.get_readout_tensor(self.shape[1]))
        if exact_reference and self.device is not None:
            return self._shown(asked @ np.reshape(np.asarray(self.device["reference"]), self.shape).T)
        return self.products(asked)

    def products(self, x: Any) -> Any:
        """f[n, out] of x f[n, in], through converters and noise as the tile is now; no range, scales or bias."""
        weight = jnp.reshape(self._weights(), self.shape)
        found = readout_of(self.settings, weight, self._key(), array_of(x), self.extra.get("out_noise_values"))
        return self._shown(np.array(found))

    def drift_readout(self, compensation: Any) -> Any:
        """f[1 or out]: what a drift compensation reads of the tile as it is now; an exact one, of its reference."""
        settings = settings_on_tensors(replace(self.settings, compensation=compensation))
        asking = settings.compensation or compensation
        now = jnp.reshape(self._weights(), (self.shape[0], -1))
        exact = now if self.device is None else jnp.reshape(self.device["reference"], now.shape)
        read = baseline_of(asking, settings, exact, now, self._key(), self.extra.get("out_noise_values"))
        return self._shown(np.array(read))

    def forget(self) -> None:
        """New weights were set: nothing is programmed."""
        self.device = None

    def tile_state(self) -> dict[str, Any]:
        found = super().tile_state() | {"readings": self.readings, "seed": self.seed}
        found["draws"] = list(self.layer.draws())
        found["rpu_config"] = config_text(self.rpu_config)
        if self.device is not None:
            kept = {k: v for k, v in self.device.items() if k != "model"}
            nus = kept.pop("coefficients")
            found["device"] = jax.tree.map(tensor_of, kept) | {"coefficients": [tensor_of(n) for n in nus]}
        return found

    def load_tile_state(self, found: dict[str, Any]) -> None:
        super().load_tile_state(found)
        self.readings, self.seed = int(found.get("readings", self.readings)), int(found.get("seed", self.seed))
        if "draws" in found:
            self.layer.go_on_from(*found["draws"])
        self.device = None
        if "device" in found:
            kept = {k: v for k, v in found["device"].items() if k != "coefficients"}
            held: dict[str, Any] = jax.tree.map(lambda v: jnp.asarray(np.array(v)), kept)
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
        held = mine.pop(prefix + STATE, {})
        if not isinstance(held, dict):
            raise TileModuleError(
                f"{prefix}{STATE} is a {type(held).__name__}: expected the dict that state_dict() of a tile holds there"
            )
        if held.get("rpu_config"):
            self._load_config(held["rpu_config"], prefix)
        # Numbers that only carry a gradient's handle; their shape is not the same in all releases of aihwkit.
        mine.pop(f"{prefix}analog_ctx", None)
        if "analog_ctx" in vars(self)["_parameters"]:
            mine[f"{prefix}analog_ctx"] = self.analog_ctx
        # aihwkit's own checkpoints of drifted models hold alpha in another shape than fresh ones.
        alpha = mine.get(f"{prefix}alpha")
        if alpha is None and "alpha" not in self.names and getattr(self, "alpha", None) is not None:
            mine[f"{prefix}alpha"] = self.alpha
        if alpha is not None and getattr(self, "alpha", None) is not None:
            alpha = alpha if alpha.ndim == 0 else alpha.reshape(-1)
            mine[f"{prefix}alpha"] = alpha
            if alpha.shape != self.tensor("alpha").shape:
                self.put("alpha", np.asarray(alpha))
        super()._load_from_state_dict(mine, prefix, *rest)  # type: ignore[misc]  # torch.nn.Module has it
        if held:
            self.load_tile_state(held)

    def _load_config(self, text: Any, prefix: str) -> None:
        """Go on with a checkpoint's config, or see that the own one fits it; see load_state_dict of layers."""
        if text == config_text(self.rpu_config):
            return
        try:
            config = config_of(text) if isinstance(text, dict) else config_like(text)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            if not self.load_rpu_config:
                return
            raise TileModuleError(
                f"{prefix}{STATE} holds a config that has no equal here ({e}): load_rpu_config=False goes on with the "
                f"model's own"
            ) from None
        fits, why = self._fits(config, self.load_rpu_config)
        if self.load_rpu_config and fits:
            self.replace_with(config)
        elif not self.load_rpu_config and not fits:
            raise TileModuleError(f"the checkpoint's config for {prefix[:-1]} does not fit: {why}")


class InferenceTile(TileModule, kinds.InferenceTile):
    """The explicit tile; where aihwkit's holds one of C++, `tile` is itself."""

    @property
    def tile(self) -> SimulatorTile:
        """The matrix inside."""
        return SimulatorTile(self)


class TorchInferenceTile(TileModule, kinds.TorchInferenceTile):
    """The torch tile; its weight is that of its simulator tile."""

    weight_keys = ("tile.weight", "shared_weights")

    tile: SimulatorTile

    def _owns_weight(self) -> None:
        if in_torch():
            held = vars(self).get("_modules", {}).get("tile")
            if held is None:
                self.tile = TorchSimulatorTile(self)
            else:
                held.__dict__["owner"] = (self,)
        else:
            self.tile = SimulatorTile(self)

    def place(self, name: str) -> tuple[Any, str]:
        return (self.tile, "weight") if name == "weight" else super().place(name)

    def to_torch(self) -> None:
        self.tile = TorchSimulatorTile(self)
        super().to_torch()


class QuantizedTorchInferenceTile(TorchInferenceTile, kinds.QuantizedTorchInferenceTile):
    """The same with scales and bias quantized."""


for _kind in (InferenceTile, TorchInferenceTile, QuantizedTorchInferenceTile):
    getattr(kinds, _kind.__name__).made_as = _kind


def kind_of_tile(settings: Settings, rpu_config: Any) -> type[TileModule]:
    if settings.explicit:
        return InferenceTile
    quantized = issubclass(rpu_config.tile_class, kinds.QuantizedTorchInferenceTile)
    return QuantizedTorchInferenceTile if quantized else TorchInferenceTile
