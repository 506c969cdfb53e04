"""What scripts read of a tile and write into it: weights, scales, its range, its config."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np

from .....analog.config_io import MappingParameter
from .....analog.read_out import estimated_weight
from .....analog.settings import Snapshot
from .....analog.tile import tile_arrays
from ...exceptions import ArgumentError, ConfigError, TileError, TileModuleError
from ._bridge import tensor_of
from ._holder import STATE, Holder
from ._module import in_torch
from ._numbers import array_of, finite_array


class NoSuchMember(TileModuleError, AttributeError):
    """A member of aihwkit's tiles that these have not."""


PULSED = "nothing is pulsed here; weights are those of the optimizer, and noise_model says what programming does"
INSIDE = "what a tile computes is one compiled function: call the layer, or see aidgejax.analog"
ABSENT = {
    **dict.fromkeys(
        "update update_indexed decay_weights diffuse_weights reset reset_columns set_hidden_update_index "
        "get_hidden_update_index get_delta_weights set_delta_weights reset_delta_weights".split(),
        PULSED,
    ),
    **dict.fromkeys(
        "joint_forward joint_forward_indexed backward_indexed pre_forward post_forward pre_backward post_backward "
        "pre_update set_indexed apply_input_range apply_out_scaling apply_weight_scaling add_quant_periphery_bias "
        "apply_quant_periphery_scales init_input_processing init_learned_out_scales init_mapping_scales "
        "init_periph_quant_processing dump_extra load_extra ensure_shared_weights get_backward_parameters "
        "set_backward_parameters".split(),
        INSIDE,
    ),
}
"""Members of aihwkit's tiles that these have not: what to use instead."""


class TileAccess(Holder):
    """See the top of this file.  `layer`, `settings` and `shape` are those of the tile."""

    settings: Any
    shape: tuple[int, int]
    layer: Any
    training: bool

    often = ("bias", "input_range", "out_scaling_alpha", "mapping_scales", "alpha")
    supports_ddp = True
    supports_indexed = False
    mapping_lr_scale = 1.0
    load_rpu_config = True
    strict_rpu_config_check = True
    in_trans = out_trans = False
    handle_output_bound = False

    def __getattr__(self, name: str) -> Any:
        if name in ABSENT:
            raise NoSuchMember(f"{type(self).__name__}.{name} is not in aidgejax: {ABSENT[name]}")
        if name in self.often and not in_torch():
            return vars(self).get("extra", {}).get(name)
        return super().__getattr__(name)

    # ---- what it is ---------------------------------------------------------------------------------------

    @property
    def out_size(self) -> int:
        return self.shape[0]

    @property
    def in_size(self) -> int:
        return self.shape[1] - self.analog_bias

    @property
    def analog_bias(self) -> bool:
        """Is the bias the last column of the tile's weight?"""
        return bool(self.layer._layer.analog_bias)

    @property
    def use_bias(self) -> bool:
        return self.analog_bias or self.digital_bias

    @property
    def digital_bias(self) -> bool:
        return "bias" in self.names

    @property
    def rpu_config(self) -> Any:
        """The layer's config, a copy of what it was made with; what is set in it holds from the next call."""
        return self.layer.rpu_config

    @property
    def is_cuda(self) -> bool:
        weight = self.tensor("weight")
        return bool(getattr(weight, "is_cuda", False))

    def get_runtime(self) -> Any:
        return self.rpu_config.runtime

    def get_data_type(self) -> Any:
        return self.get_runtime().data_type

    def get_dtype(self) -> Any:
        """The dtype of the tile's weight."""
        return self.tensor("weight").dtype

    def get_analog_ctx(self) -> Any:
        return self.analog_ctx

    def get_brief_info(self) -> str:
        """One line: the kind of tile and its size."""
        return f"{type(self).__name__}({self.out_size}, {self.in_size})"

    def extra_repr(self) -> str:
        return f"{self.out_size}, {self.in_size}"

    def is_floating_point(self) -> bool:
        return True

    def is_indexed(self) -> bool:
        return False

    def get_tensor_view(self, ndim: int, dim: int | None = None) -> tuple[int, ...]:
        """The shape that makes f[out] multiply axis `dim`, by default the last, of a tensor of ndim axes."""
        view = [1] * ndim
        view[ndim - 1 if dim is None else dim] = -1
        return tuple(view)

    def get_forward_out_bound(self) -> float | None:
        io = self.settings.io
        return None if io.is_perfect or io.out_bound <= 0 else float(io.out_bound)

    def get_hidden_parameters(self) -> OrderedDict[str, Any]:
        """Nothing: the devices of inference have no parameters of their own."""
        return OrderedDict()

    def set_hidden_parameters(self, ordered_parameters: Any) -> None:
        if len(ordered_parameters):
            raise TileError(f"{self.get_brief_info()} has no hidden parameters: {PULSED}")

    def get_learning_rate(self) -> float:
        """The last that set_learning_rate was given; the optimizer's is what holds."""
        return float(self.__dict__.get("_learning_rate", 0.01))

    def set_learning_rate(self, learning_rate: float | None) -> None:
        if learning_rate is not None:
            self.__dict__["_learning_rate"] = float(learning_rate)

    def set_verbosity_level(self, verbose: int) -> None:
        """Nothing to do."""

    def get_forward_parameters(self) -> dict[str, Any]:
        """{"out_noise_values": f[out]}, where the strength of the noise differs between outputs."""
        found = self.extra.get("out_noise_values")
        return {} if found is None else {"out_noise_values": self._shown(found)}

    def set_forward_parameters(self, dic: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """ArgumentError for other names or sizes than get_forward_parameters gives."""
        given, own = dict(dic or kwargs), self.get_forward_parameters()
        if set(given) != set(own):
            raise ArgumentError(
                f"{self.get_brief_info()} has the forward parameters {sorted(own)}, got {sorted(given)}"
            )
        for name, value in given.items():
            value = finite_array(f"{name} of {self.get_brief_info()}", value)
            if value.shape != tuple(own[name].shape):
                raise ArgumentError(f"{name} has shape {list(value.shape)}: expected {list(own[name].shape)}")
            self.write(name, value)

    # ---- weights ------------------------------------------------------------------------------------------

    def _shown(self, array: Any) -> Any:
        return tensor_of(array) if in_torch() else array

    def get_weights(self, apply_weight_scaling: bool = True, realistic: bool = False) -> tuple[Any, Any]:
        """(weight f[out, in], bias f[out] or None) as copies, scales included.

        apply_weight_scaling False: the numbers that the tile holds.  realistic: as its outputs show them, read_weights.
        """
        if realistic:
            return self.read_weights(apply_weight_scaling)
        return self._logical(np.array(self.numbers("weight")), apply_weight_scaling)

    def _logical(self, weight: np.ndarray, scaled: bool) -> tuple[Any, Any]:
        weight, bias = weight.reshape(self.shape), None
        if scaled:
            weight = weight * self._scale_numbers()
        if self.analog_bias:
            weight, bias = weight[:, :-1], weight[:, -1]
        elif self.digital_bias:
            bias = np.array(self.numbers("bias"))
        return self._shown(weight), None if bias is None else self._shown(bias)

    def set_weights(
        self,
        weight: Any,
        bias: Any = None,
        apply_weight_scaling: bool = True,
        realistic: bool = False,
        weight_scaling_omega: float | None = None,
    ) -> None:
        """Put a logical weight f[out, in] (and bias f[out]) into the tile; its scales start anew.

        apply_weight_scaling False: the numbers are the tile's own, and scales stay.  weight_scaling_omega: in place of
        the config's, where the tile has scales.  realistic: they are programmed, by the config's noise model.
        TileError where a shape differs.
        """
        weight = finite_array(f"weight of {self.get_brief_info()}", weight, (self.out_size, self.in_size))
        if bias is not None:
            bias = finite_array(f"bias of {self.get_brief_info()}", bias, (self.out_size,))
        elif self.use_bias:
            bias = array_of(self.get_weights(apply_weight_scaling)[1])
        omega = weight_scaling_omega if apply_weight_scaling else 0.0
        s = with_omega(self.settings, omega)
        params, state = tile_arrays(weight, bias if self.use_bias else None, s, self.analog_bias)
        kept = ("input_range", "out_noise_values", *(() if apply_weight_scaling else SCALES))
        for name, array in {**params, **state}.items():
            if name in self.names and not name.startswith(kept):
                self.write(name, np.reshape(array, np.shape(self.numbers(name))))
        self.forget()
        self.layer._saved = []
        if realistic:
            self.program_weights()

    def remap_weights(self, weight_scaling_omega: float | None = 1.0) -> None:
        """The same logical weights under new scales, where the tile has any."""
        self.set_weights(*self.get_weights(), weight_scaling_omega=weight_scaling_omega)

    def read_weights(
        self, apply_weight_scaling: bool = False, x_values: Any = None, over_sampling: int = 10
    ) -> tuple[Any, Any]:
        """(weight, bias) as the tile's outputs in evaluation show them, converters and noise included.

        The least-squares fit to the outputs of x_values f[n, in], by default of over_sampling * in_size random rows.
        apply_weight_scaling False: without the tile's scales.  The digital bias is read as it is.
        """
        x = None if x_values is None else finite_array(f"x_values of {self.get_brief_info()}", x_values)
        outputs = self.layer._tile_outputs(self)
        found = estimated_weight(outputs, self.in_size, x, over_sampling, constant=self.analog_bias)
        return self._logical(found if apply_weight_scaling else found / self._scale_numbers(), False)

    # ---- scales -------------------------------------------------------------------------------------------

    def _scale_numbers(self) -> np.ndarray:
        """f[1 or out, 1]: the product of all scales."""
        found = np.ones(1, np.float32)
        for name in SCALES:
            if name in self.names:
                found = found * np.array(self.numbers(name)).reshape(-1)
        return found.reshape(-1, 1)

    def get_scales(self) -> Any:
        """f[1 or out]: the product of mapping scales and learned ones; None where there are neither."""
        if not any(name in self.names for name in SCALES):
            return None
        return self._shown(self._scale_numbers().reshape(-1))

    def set_scales(self, scales: Any) -> None:
        """These become the mapping scales; learned ones become 1."""
        self.set_mapping_scales(scales)
        if "out_scaling_alpha" in self.names:
            self.set_learned_out_scales(1.0)

    def get_mapping_scales(self) -> Any:
        """The tensor f[1 or out] of what the weights were divided by; None where they were not."""
        return self.tensor("mapping_scales") if "mapping_scales" in self.names else None

    def set_mapping_scales(self, mapping_scales: Any) -> None:
        """A number, or one for each output.  ConfigError where the tile has none, TileError for another size."""
        self._set_scales("mapping_scales", mapping_scales, "mapping.weight_scaling_omega above 0")

    def get_learned_out_scales(self) -> Any:
        """The parameter f[1 or out]; None where scales are not learned."""
        return self.tensor("out_scaling_alpha") if "out_scaling_alpha" in self.names else None

    def set_learned_out_scales(self, alpha: Any) -> None:
        """Nothing where scales are not learned, as in aihwkit."""
        if "out_scaling_alpha" in self.names:
            self._set_scales("out_scaling_alpha", alpha, "mapping.learn_out_scaling")

    def _set_scales(self, name: str, value: Any, field: str) -> None:
        if name not in self.names:
            raise ConfigError(f"{self.get_brief_info()} has no {name}: make the layer with {field}")
        value = finite_array(f"{name} of {self.get_brief_info()}", value).reshape(-1)
        size = np.size(self.numbers(name))
        if value.size not in (1, size) and size == 1 and name == "mapping_scales" and value.size == self.out_size:
            self.layer._scale_by_output()  # as aihwkit's tiles do it
            size = self.out_size
        if value.size not in (1, size):
            raise TileError(f"{name} of {self.get_brief_info()} got {value.size} numbers: expected 1 or {size}")
        self.write(name, np.broadcast_to(value, size))

    # ---- its range ----------------------------------------------------------------------------------------

    def set_input_range(self, value: Any) -> None:
        """|value| becomes the range.  ConfigError where the tile has none."""
        if "input_range" not in self.names:
            raise ConfigError(
                f"Input range is not enabled: pre_post.input_range.enable is False for {self.get_brief_info()}"
            )
        value = finite_array(f"input_range of {self.get_brief_info()}", value).reshape(-1)[:1]
        if not value.size:
            raise TileError(f"input_range of {self.get_brief_info()} got no number")
        self.write("input_range", np.abs(value))

    # ---- its config ---------------------------------------------------------------------------------------

    def compatible_with(self, rpu_config: Any) -> tuple[bool, str | None]:
        """(whether this config can take the place of the tile's, why not)."""
        return self._fits(rpu_config, True)

    def _fits(self, rpu_config: Any, same_tile: bool) -> tuple[bool, str | None]:
        """The same; same_tile False: whether what was learned under this config fits, which another tile may have."""
        own = self.rpu_config
        if not hasattr(rpu_config, "mapping"):
            return False, f"expected a config for {self.get_brief_info()}, got a {type(rpu_config).__name__}"
        kin = isinstance(own, type(rpu_config)) or isinstance(rpu_config, type(own))
        conventions = [getattr(c, "gradient_convention", "autograd") for c in (own, rpu_config)]
        if (same_tile and conventions[0] != conventions[1]) or (self.strict_rpu_config_check and not kin):
            return False, (
                f"RPU config mismatch: {self.get_brief_info()} was made with a {type(own).__name__}, got a "
                f"{type(rpu_config).__name__}"
            )
        if not own.mapping.compatible_with(rpu_config.mapping):
            return False, (
                f"MappingParameter mismatch: sizes, biases and learned scales of {self.get_brief_info()} are fixed "
                f"once it is made; only weight_scaling_omega, weight_scaling_columnwise and "
                f"weight_scaling_lr_compensation may differ"
            )
        return True, None

    def replace_with(self, rpu_config: Any) -> None:
        """The config of the tile's layer becomes this one; weights stay.  TileModuleError where it does not fit.

        The tiles of a layer share a config.
        """
        self.layer.replace_rpu_config(rpu_config)

    def set_load_rpu_config_state(
        self, load_rpu_config: bool | None, strict_rpu_config_check: bool | None = None
    ) -> None:
        """Whether load_state_dict takes the config from the checkpoint, and whether configs' classes are compared."""
        if load_rpu_config is not None:
            self.load_rpu_config = bool(load_rpu_config)
        if strict_rpu_config_check is not None:
            self.strict_rpu_config_check = bool(strict_rpu_config_check)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's, or with a config, which becomes the tile's."""
        config = kwargs.pop("rpu_config", None)
        if args and hasattr(args[0], "pre_post"):
            config, args = args[0], args[1:]
        if config is not None:
            self.replace_with(config)
        if not args and not kwargs:
            return self
        return super().to(*args, **kwargs)  # type: ignore[misc]  # torch.nn.Module has it

    @staticmethod
    def get_analog_state_name(prefix: str) -> str:
        return prefix + STATE

    def get_analog_state(self) -> dict[str, Any]:
        """What a checkpoint holds of the tile beyond its tensors."""
        return self.tile_state()


SCALES = ("mapping_scales", "out_scaling_alpha")


def with_omega(s: Any, omega: float | None) -> Any:
    """The settings with this weight_scaling_omega; the same where it is None, or where there are no mapping scales."""
    if omega is None or s.mapping.weight_scaling_omega <= 0:
        return s
    return replace(s, mapping=Snapshot(MappingParameter, s.mapping, weight_scaling_omega=float(omega)))


class SimulatorTile:
    """The matrix inside a tile, bias column included: what `tile.tile` is where no torch module holds it."""

    def __init__(self, tile: Any) -> None:
        self._tile = tile

    def get_weights(self) -> Any:
        """f[out, in + 1 with an analog bias], a copy."""
        tile = self._tile
        return tile._shown(np.array(tile.numbers("weight")).reshape(tile.shape))

    def set_weights(self, weight: Any) -> None:
        tile = self._tile
        weight = finite_array(f"weight of {tile.get_brief_info()}", weight, tile.shape)
        tile.write("weight", weight.reshape(np.shape(tile.numbers("weight"))))

    def forward(self, x_input: Any, *_: Any, **__: Any) -> Any:
        """f[n, out] of x_input f[n, in], converters and noise included: no range, scales, digital bias or gradient."""
        return self._tile.products(x_input)

    def __call__(self, x_input: Any) -> Any:
        return self.forward(x_input)

    def get_x_size(self) -> int:
        return self._tile.shape[1]

    def get_d_size(self) -> int:
        return self._tile.shape[0]

    def get_brief_info(self) -> str:
        return self._tile.get_brief_info()

    def get_hidden_parameters(self) -> Any:
        return self._tile._shown(np.zeros(0, np.float32))

    def get_hidden_parameter_names(self) -> list[str]:
        return []

    def get_learning_rate(self) -> float:
        return self._tile.get_learning_rate()

    def set_learning_rate(self, learning_rate: float | None) -> None:
        self._tile.set_learning_rate(learning_rate)

    def set_weights_uniform_random(self, bmin: float, bmax: float) -> None:
        """Numbers from torch's generator, or NumPy's without torch."""
        shape = self._tile.shape
        if in_torch():
            drawn = sys.modules["torch"].empty(shape).uniform_(bmin, bmax)
        else:
            drawn = np.random.uniform(bmin, bmax, shape).astype(np.float32)
        self.set_weights(drawn)

    def __repr__(self) -> str:
        return f"SimulatorTile of {self.get_brief_info()}"
