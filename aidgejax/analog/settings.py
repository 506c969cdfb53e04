"""What a tile needs to know of a config, checked.

A config is whatever has aihwkit's fields: `config.forward.inp_res`, `config.pre_post.input_range.decay`, ...
`settings` reads them once into plain numbers that can be hashed, so that a graph is written once per configuration.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from .compensation import BaseDriftCompensation
from .config_io import IOParameters, MappingParameter
from .config_pre_post import InputRangeParameter, PeripheryQuantizationParameter
from .config_printing import dataclass_fields, default_of
from .config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter
from .errors import (
    AnalogBiasConfigError,
    ConfigError,
    ExplicitTileConfigError,
    PeripheryConfigError,
    TorchTileConfigError,
)
from .noise_model import BaseNoiseModel


class Snapshot:
    """The fields of a part of a config as they were read: immutable, hashable, compared by value."""

    __slots__ = ("_items", "_values")
    _items: tuple[tuple[str, Any], ...]
    _values: dict[str, Any]

    def __init__(self, kind: type, part: Any, **checked: Any) -> None:
        """The fields that the dataclass `kind` names, of `part` or else their defaults; `checked` values win."""
        values = {f.name: getattr(part, f.name, default_of(f)) for f in dataclass_fields(kind)} | checked
        values = {
            k: tuple(v) if isinstance(v, list) else named(v) if isinstance(v, Enum) else v for k, v in values.items()
        }
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_items", tuple(values.items()))

    @staticmethod
    def of(items: tuple[tuple[str, Any], ...]) -> Snapshot:
        """The snapshot of these items."""
        made = Snapshot.__new__(Snapshot)
        object.__setattr__(made, "_values", dict(items))
        object.__setattr__(made, "_items", tuple(items))
        return made

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Its (field, value) pairs."""
        return self._items

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"settings are fixed: {name} cannot be set; change the config and ask for its settings")

    def __reduce__(self) -> tuple[Any, ...]:
        return Snapshot.of, (self._items,)

    def __deepcopy__(self, memo: Any) -> Snapshot:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return f"Snapshot({', '.join(f'{k}={v!r}' for k, v in self._items)})"


@dataclass(frozen=True)
class Settings:
    """A config as a tile needs it.  explicit: the C++ tile's gradients instead of autograd's."""

    explicit: bool
    range: Snapshot | None  # pre_post.input_range, where it is enabled
    periphery: Snapshot | None  # pre_post.periph_quant, where it has bits
    io: Snapshot  # forward; resolutions as steps of the unit range, 0 for none
    modifier: Snapshot
    mapping: Snapshot
    clip: Snapshot
    remap: Snapshot
    act_bits: tuple[int, bool] | None  # n_bits, symmetric of the outputs' quantizer
    compensation: BaseDriftCompensation | None = None
    noise_model: Any = field(default=None, compare=False)

    @property
    def tile(self) -> str:
        """The tile's name for messages."""
        return "explicit tile" if self.explicit else "torch tile"

    def analog_bias(self, has_bias: bool) -> bool:
        """Is the bias of a layer of one tile a column of its weight?  AnalogBiasConfigError on the torch tile."""
        found = has_bias and not self.mapping.digital_bias
        if found and not self.explicit:
            raise AnalogBiasConfigError("Analog bias is not supported in the torch tile: mapping.digital_bias is False")
        return found

    @property
    def by_row(self) -> bool:
        """Does what happens to an input depend on the row it stands in, or on the whole batch?"""
        io = self.io
        return not io.is_perfect and (io.noise_management in ("ABS_MAX", "MAX") or io.bound_management != "NONE")


def settings(config: Any, share: str | None = None) -> Settings:
    """The settings of a config.  share: see analog_linear.  Raises ConfigError naming the field."""
    if isinstance(config, Settings):
        return config
    explicit = getattr(config, "gradient_convention", "autograd") == "explicit"
    ranged = config.pre_post.input_range
    periph = getattr(config.pre_post, "periph_quant", None)
    io = _io(config.forward, explicit)
    _check_other_fields(config, explicit)
    return Settings(
        explicit,
        _range(ranged, io, config, share) if ranged.enable else None,
        _periphery(periph),
        io,
        _modifier(config, explicit),
        _mapping(config.mapping, getattr(config, "floating_point", False)),
        Snapshot(
            WeightClipParameter,
            config.clip,
            sigma=number("clip.sigma", config.clip.sigma),
            fixed_value=number("clip.fixed_value", config.clip.fixed_value),
        ),
        Snapshot(WeightRemapParameter, config.remap),
        _act_bits(getattr(config, "act_quant_config", None)),
        _of_kind(config, "drift_compensation", BaseDriftCompensation),
        _of_kind(config, "noise_model", BaseNoiseModel),
    )


def perfect(s: Settings) -> Settings:
    """The same with ideal products: no converters, no noise."""
    return replace(s, io=Snapshot(IOParameters, s.io, is_perfect=True))


def _of_kind(config: Any, name: str, kind: type) -> Any:
    found = getattr(config, name, None)
    if found is not None and not isinstance(found, kind):
        raise ConfigError(
            f"{name} is {found!r}: expected None or a {kind.__name__}, such as those of aihwkit.inference"
        )
    return found


def named(member: Any) -> str:
    """The name of an enum's member; a name stays one."""
    return member if isinstance(member, str) else getattr(member, "name", str(member))


def number(where: str, value: Any, least: float = -math.inf, above: float | None = None) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ConfigError(f"{where} is {value!r}: expected a finite number")
    if value < least or (above is not None and value <= above):
        raise ConfigError(
            f"{where} is {value!r}: expected a number "
            + (f"above {above}" if above is not None else f"of at least {least}")
        )
    return float(value)


def _range(p: Any, io: Snapshot, config: Any, share: str | None) -> Snapshot:
    at = "pre_post.input_range."
    share = share or getattr(p, "output_clipping_share", None) or getattr(config, "output_clipping_share", None)
    share = share or "output_size"
    if share not in ("output_size", "input_size"):
        raise ConfigError(f"output_clipping_share is {share!r}: expected 'output_size' or 'input_size'")
    if not isinstance(p.init_from_data, numbers.Integral) or p.init_from_data < 0:
        raise ConfigError(f"{at}init_from_data is {p.init_from_data!r}: expected a number of batches, 0 or more")
    if p.manage_output_clipping:
        bad = [
            f"forward.{k}"
            for k, wrong in [
                ("is_perfect", io.is_perfect),
                ("noise_management", io.noise_management != "NONE"),
                ("bound_management", io.bound_management != "NONE"),
                ("out_bound", io.out_bound <= 0),
            ]
            if wrong
        ]
        if bad:
            raise ConfigError(
                f"RPU Config does not support `manage_output_clipping`. {at}manage_output_clipping needs "
                f"an output bound and neither noise nor bound management; see {', '.join(bad)}"
            )
    return Snapshot(
        InputRangeParameter,
        p,
        init_value=number(f"{at}init_value", p.init_value),
        init_from_data=int(p.init_from_data),
        init_std_alpha=number(f"{at}init_std_alpha", p.init_std_alpha, above=0),
        decay=number(f"{at}decay", p.decay),
        input_min_percentage=number(f"{at}input_min_percentage", p.input_min_percentage),
        output_min_percentage=number(f"{at}output_min_percentage", p.output_min_percentage),
        gradient_scale=number(f"{at}gradient_scale", p.gradient_scale),
        share=share,
    )


def _periphery(p: Any) -> Snapshot | None:
    if p is None:
        return None
    at = "pre_post.periph_quant."
    if isinstance(p.n_bits, bool) or not isinstance(p.n_bits, numbers.Integral):
        raise PeripheryConfigError(f"{at}n_bits is {p.n_bits!r}: expected an integer (0 or less: no quantization)")
    if p.n_bits <= 0:
        return None
    after = p.init_learning_after
    if isinstance(after, bool) or not isinstance(after, numbers.Integral) or after < 1:
        raise PeripheryConfigError(
            f"{at}init_learning_after is {after!r}: the quantizer is estimated before it is "
            f"learned, so expected an integer of at least 1"
        )
    if p.n_bits == 1 and p.symmetric:
        raise PeripheryConfigError(
            f"{at}n_bits is 1 and symmetric: a signed range would have no level above 0; take 2 "
            f"bits, or symmetric=False"
        )
    return Snapshot(PeripheryQuantizationParameter, p, n_bits=int(p.n_bits), init_learning_after=int(after))


def _resolution(where: str, value: Any) -> float:
    value = number(where, value)
    return 0.0 if value <= 0 else 1 / value if value > 1 else value


def _io(p: Any, explicit: bool) -> Snapshot:
    at = "forward."
    tile = "explicit tile" if explicit else "torch tile"

    def get(name: str, default: Any = 0.0) -> Any:
        return getattr(p, name, default)

    product = named(get("mv_type", "ONE_PASS"))
    if product != "ONE_PASS" and not (explicit and product == "IDEAL"):
        raise ConfigError(f"Only AnalogMVType.ONE_PASS supported as {at}mv_type, got {named(p.mv_type)}")
    noise, bound = named(p.noise_management), named(p.bound_management)
    if noise not in ("NONE", "ABS_MAX", "MAX", "CONSTANT"):
        raise ConfigError(
            f"Special noise mangement types not supported: {at}noise_management is {noise}, expected "
            f"NONE, ABS_MAX, MAX or CONSTANT"
        )
    if bound not in ("NONE", "ITERATIVE", "ITERATIVE_WORST_CASE"):
        raise ConfigError(
            f"Bound management type not supported: {at}bound_management is {bound}, expected NONE, "
            f"ITERATIVE or ITERATIVE_WORST_CASE"
        )
    w_noise = named(get("w_noise_type", "NONE"))
    w_noise_std = number(f"{at}w_noise", get("w_noise"))
    if not explicit and (w_noise_std > 0 or w_noise != "NONE"):
        raise ConfigError(f"{at}w_noise not supported in torch tile, nor is {at}w_noise_type")
    if w_noise not in ("NONE", "ADDITIVE_CONSTANT", "PCM_READ"):
        raise ConfigError(f"{at}w_noise_type is {w_noise}: expected NONE, ADDITIVE_CONSTANT or PCM_READ")
    for fields, what in [
        ((() if explicit else ("ir_drop",)), "IR drop"),
        (("out_nonlinearity", "out_nonlinearity_std"), "S-shaped non-linearity"),
        (("slope_calibration",), "Slope calibration"),
        (("v_offset_std", "r_series"), "Voltage offset or R-series"),
        (("w_read_asymmetry_dtod",), "Device polarity read dependence is"),
    ]:
        for f in fields:
            if number(f"{at}{f}", get(f)) > 0:
                raise ConfigError(f"{what} not supported in {tile}: {at}{f} is {get(f)!r}")
    if number(f"{at}v_offset_w_min", get("v_offset_w_min", -1.0)) > 0:
        raise ConfigError(
            f"Voltage offset or R-series not supported in {tile}: {at}v_offset_w_min is {p.v_offset_w_min!r}"
        )
    inp_res, out_res = _resolution(f"{at}inp_res", p.inp_res), _resolution(f"{at}out_res", p.out_res)
    perfect = bool(p.is_perfect) or product == "IDEAL"
    for res, name in ((inp_res, "inp"), (out_res, "out")):
        bound_value = number(f"{at}{name}_bound", getattr(p, f"{name}_bound"))
        if res > 0 and bound_value <= 0 and not perfect:
            raise ConfigError(
                f"{at}{name}_bound is {bound_value}, so the steps of {at}{name}_res have no size: "
                f"expected a bound above 0, or {at}{name}_res=-1"
            )
    return Snapshot(
        IOParameters,
        p,
        is_perfect=perfect,
        inp_bound=float(p.inp_bound),
        inp_res=inp_res,
        inp_noise=number(f"{at}inp_noise", get("inp_noise"), 0),
        inp_asymmetry=number(f"{at}inp_asymmetry", get("inp_asymmetry")),
        out_bound=float(p.out_bound),
        out_res=out_res,
        out_noise=number(f"{at}out_noise", get("out_noise"), 0),
        out_noise_std=number(f"{at}out_noise_std", get("out_noise_std"), 0),
        out_scale=number(f"{at}out_scale", get("out_scale", 1.0)),
        out_asymmetry=number(f"{at}out_asymmetry", get("out_asymmetry")),
        nm_thres=number(f"{at}nm_thres", get("nm_thres")),
        max_bm_factor=number(f"{at}max_bm_factor", get("max_bm_factor", 1000)),
        max_bm_res=number(f"{at}max_bm_res", get("max_bm_res", 0.25)),
        w_noise=w_noise_std if w_noise != "NONE" else 0.0,
        ir_drop=number(f"{at}ir_drop", get("ir_drop"), 0),
    )


OF_TORCH_TILE = ("NONE", "COPY", "ADD_NORMAL", "MULT_NORMAL", "DISCRETIZE")
OF_EXPLICIT_TILE = (*OF_TORCH_TILE, "DISCRETIZE_ADD_NORMAL", "DOREFA", "POLY", "PROG_NOISE", "DROP_CONNECT")


def _modifier(config: Any, explicit: bool) -> Snapshot:
    p, at = config.modifier, "modifier."
    kind = "NONE" if p.type is None else named(p.type)
    if explicit:
        if kind not in OF_EXPLICIT_TILE:
            raise ExplicitTileConfigError(
                f"{at}type is {kind}: expected one of {', '.join(OF_EXPLICIT_TILE)} in the explicit tile"
            )
        number(f"{at}pdrop", p.pdrop, 0)
        if p.pdrop > 1:
            raise ConfigError(f"{at}pdrop is {p.pdrop!r}: expected a probability, 0 to 1")
        number(f"{at}g_max", p.g_max, above=0)
    else:
        _check_torch_modifier(p, kind)
    return Snapshot(
        WeightModifierParameter,
        p,
        type=kind,
        std_dev=number(f"{at}std_dev", p.std_dev, 0),
        res=max(number(f"{at}res", p.res), 0.0) if explicit else _resolution(f"{at}res", p.res),
        assumed_wmax=number(f"{at}assumed_wmax", p.assumed_wmax),
        dorefa_clip=number(f"{at}dorefa_clip", p.dorefa_clip),
    )


def _check_torch_modifier(p: Any, kind: str) -> None:
    at = "modifier."
    if kind not in OF_TORCH_TILE:
        raise TorchTileConfigError(
            f"The given modifier noise type is not supported in the torch tile: {at}type is {kind}; "
            f"InferenceRPUConfig's explicit tile has it"
        )
    if p.enable_during_test:
        raise TorchTileConfigError(f"Modifier noise is currently always off in the torch tile: {at}enable_during_test")
    if p.copy_last_column:
        raise TorchTileConfigError(f"Bias is assumed to be in digital only for torch tile: {at}copy_last_column")
    if number(f"{at}pdrop", p.pdrop) > 0:
        raise TorchTileConfigError(f"Drop connect is not supported in the torch tile: {at}pdrop is {p.pdrop!r}")


def _mapping(p: Any, floating_point: bool) -> Snapshot:
    for f in ("max_input_size", "max_output_size"):
        if not isinstance(getattr(p, f), numbers.Integral) or getattr(p, f) < 0:
            raise ConfigError(f"mapping.{f} is {getattr(p, f)!r}: expected an integer, 0 for no limit")
    return Snapshot(
        MappingParameter,
        p,
        digital_bias=bool(p.digital_bias) or floating_point,  # which has no use for a column of its own
        weight_scaling_omega=number("mapping.weight_scaling_omega", p.weight_scaling_omega),
        max_input_size=int(p.max_input_size),
        max_output_size=int(p.max_output_size),
    )


_REMAP = (("remapped_wmax", 1.0), ("max_scale_range", 0.0), ("max_scale_ref", 0.0))


def _check_other_fields(config: Any, explicit: bool) -> None:
    tile = "explicit tile" if explicit else "torch tile"
    refused = ExplicitTileConfigError if explicit else TorchTileConfigError
    clip, remap, p = named(config.clip.type), named(config.remap.type), config.remap
    if clip not in ("NONE", "FIXED_VALUE", "LAYER_GAUSSIAN"):
        raise refused(f"The given weight clip type is not supported in the {tile}: clip.type is {clip}")
    if remap not in ("NONE", "LAYERWISE_SYMMETRIC", "CHANNELWISE_SYMMETRIC"):
        raise refused(
            f"remap.type is {remap}: expected NONE, LAYERWISE_SYMMETRIC or CHANNELWISE_SYMMETRIC in the {tile}"
        )
    wmax, most = (getattr(p, f, d) for f, d in _REMAP[:2])
    if explicit:
        number("remap.remapped_wmax", wmax, above=0)
        number("remap.max_scale_range", most)
        if remap == "CHANNELWISE_SYMMETRIC" and most > 0 and wmax != 1:
            raise refused(f"remap.max_scale_range is {most!r}, so remap.remapped_wmax must be 1: it is {wmax!r}")
    else:
        for f, only in _REMAP:
            if getattr(p, f, only) != only:
                raise refused(f"Remap parameter {f} must be {only} in the {tile}. remap.{f} is {getattr(p, f)!r}")
    backward = getattr(config, "backward", None)
    if explicit and backward is not None and not backward.is_perfect:
        raise ConfigError("backward.is_perfect is False: the backward pass of aidgejax is always the perfect product")
    if explicit or getattr(config, "floating_point", False):  # the original's torch tile has no device either
        for f in ("diffusion", "lifetime"):
            if number(f"device.{f}", getattr(getattr(config, "device", None), f, 0.0)) > 0:
                raise ConfigError(
                    f"device.{f} is {getattr(config.device, f)!r}: weights that change by themselves after each "
                    f"optimizer step are not simulated; expected 0, and noise_model for drift after programming"
                )


def _act_bits(p: Any) -> tuple[int, bool] | None:
    if p is None or getattr(p, "n_bits", 0) <= 0:
        return None
    return int(p.n_bits), bool(getattr(p, "symmetric", True))
