"""What a tile needs to know of a config, checked.

A config is whatever has aihwkit's fields: `config.forward.inp_res`, `config.pre_post.input_range.decay`, ...
`settings` reads them once into plain numbers that can be hashed, so that a graph is written once per configuration.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

from ..errors import AidgeJaxError


class AihwkitException(AidgeJaxError):
    """The family of aihwkit's errors."""


class ConfigError(AihwkitException, ValueError):
    """A field of a config that cannot be, or that this tile does not support; the message names the field."""


class TorchTileConfigError(ConfigError):
    """A setting that the torch tile does not support."""


class AnalogBiasConfigError(ConfigError):
    """The bias of a torch tile is always digital."""


class PeripheryConfigError(ConfigError, AssertionError):
    """Bits or batches of the periphery quantizer that cannot be; aihwkit asserts them."""


@dataclass(frozen=True)
class Range:
    """pre_post.input_range of a tile that has one."""

    learn: bool
    init_value: float
    init_from_data: int
    init_std_alpha: float
    decay: float
    input_min_percentage: float
    manage_output_clipping: bool
    output_min_percentage: float
    gradient_scale: float
    gradient_relative: bool
    share: str


@dataclass(frozen=True)
class Periphery:
    """pre_post.periph_quant with n_bits > 0."""

    n_bits: int
    symmetric: bool
    learn: bool
    init_learning_after: int


@dataclass(frozen=True)
class IO:
    """forward: the converters around the product.  Resolutions are steps of the unit range; 0 means none."""

    is_perfect: bool
    inp_bound: float
    inp_res: float
    inp_noise: float
    inp_sto_round: bool
    inp_asymmetry: float
    out_bound: float
    out_res: float
    out_noise: float
    out_noise_std: float
    out_sto_round: bool
    out_scale: float
    out_asymmetry: float
    noise_management: str
    nm_thres: float
    bound_management: bool
    max_bm_factor: float
    max_bm_res: float
    w_noise: float

    @property
    def by_row(self) -> bool:
        """Does what happens to an input depend on the row it stands in, or on the whole batch?"""
        return not self.is_perfect and (self.noise_management in ("ABS_MAX", "MAX") or self.bound_management)


@dataclass(frozen=True)
class Modifier:
    """modifier: what a training pass does to the weight."""

    type: str
    std_dev: float
    res: float
    rel_to_actual_wmax: bool
    assumed_wmax: float
    dorefa_clip: float
    sto_round: bool
    per_batch_sample: bool


@dataclass(frozen=True)
class Mapping:
    """mapping: how a logical weight is put into tiles."""

    omega: float
    columnwise: bool
    learn_out_scaling: bool
    out_columnwise: bool
    max_input_size: int
    max_output_size: int


@dataclass(frozen=True)
class Settings:
    """A config as a tile needs it.  explicit: the C++ tile's gradients instead of autograd's."""

    explicit: bool
    range: Range | None
    periphery: Periphery | None
    io: IO
    modifier: Modifier
    mapping: Mapping
    clip: tuple[str, float, float]  # type, sigma, fixed_value
    remap: str
    act_bits: tuple[int, bool] | None  # n_bits, symmetric of the outputs' quantizer


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
        _mapping(config.mapping),
        (named(config.clip.type), float(config.clip.sigma), float(config.clip.fixed_value)),
        named(config.remap.type),
        _act_bits(getattr(config, "act_quant_config", None)),
    )


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


def _range(p: Any, io: IO, config: Any, share: str | None) -> Range:
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
                ("bound_management", io.bound_management),
                ("out_bound", io.out_bound <= 0),
            ]
            if wrong
        ]
        if bad:
            raise ConfigError(
                f"RPU Config does not support `manage_output_clipping`. {at}manage_output_clipping needs "
                f"an output bound and neither noise nor bound management; see {', '.join(bad)}"
            )
    return Range(
        bool(p.learn_input_range),
        number(f"{at}init_value", p.init_value),
        int(p.init_from_data),
        number(f"{at}init_std_alpha", p.init_std_alpha, above=0),
        number(f"{at}decay", p.decay),
        number(f"{at}input_min_percentage", p.input_min_percentage),
        bool(p.manage_output_clipping),
        number(f"{at}output_min_percentage", p.output_min_percentage),
        number(f"{at}gradient_scale", p.gradient_scale),
        bool(p.gradient_relative),
        share,
    )


def _periphery(p: Any) -> Periphery | None:
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
    return Periphery(int(p.n_bits), bool(p.symmetric), bool(p.learn_quant_params), int(after))


def _resolution(where: str, value: Any) -> float:
    value = number(where, value)
    return 0.0 if value <= 0 else 1 / value if value > 1 else value


def _io(p: Any, explicit: bool) -> IO:
    at = "forward."
    tile = "the C++ tile of aidgejax" if explicit else "torch tile"
    get = lambda name, default=0.0: getattr(p, name, default)  # noqa: E731
    if named(get("mv_type", "ONE_PASS")) != "ONE_PASS":
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
    if not explicit and (get("w_noise") > 0 or w_noise != "NONE"):
        raise ConfigError(f"{at}w_noise not supported in torch tile, nor is {at}w_noise_type")
    if w_noise not in ("NONE", "ADDITIVE_CONSTANT"):
        raise ConfigError(f"{at}w_noise_type is {w_noise}: expected NONE or ADDITIVE_CONSTANT")
    for fields, what in [
        (("ir_drop",), "IR drop"),
        (("out_nonlinearity", "out_nonlinearity_std"), "S-shaped non-linearity"),
        (("slope_calibration",), "Slope calibration"),
        (("v_offset_std", "r_series"), "Voltage offset or R-series"),
        (("w_read_asymmetry_dtod",), "Device polarity read dependence is"),
    ]:
        for f in fields:
            if get(f) > 0:
                raise ConfigError(f"{what} not supported in {tile}: {at}{f} is {get(f)!r}")
    if get("v_offset_w_min", -1.0) > 0:
        raise ConfigError(
            f"Voltage offset or R-series not supported in {tile}: {at}v_offset_w_min is {p.v_offset_w_min!r}"
        )
    inp_res, out_res = _resolution(f"{at}inp_res", p.inp_res), _resolution(f"{at}out_res", p.out_res)
    perfect = bool(p.is_perfect)
    for res, name in ((inp_res, "inp"), (out_res, "out")):
        bound_value = number(f"{at}{name}_bound", getattr(p, f"{name}_bound"))
        if res > 0 and bound_value <= 0 and not perfect:
            raise ConfigError(
                f"{at}{name}_bound is {bound_value}, so the steps of {at}{name}_res have no size: "
                f"expected a bound above 0, or {at}{name}_res=-1"
            )
    return IO(
        perfect,
        float(p.inp_bound),
        inp_res,
        number(f"{at}inp_noise", get("inp_noise"), 0),
        bool(get("inp_sto_round", False)),
        number(f"{at}inp_asymmetry", get("inp_asymmetry")),
        float(p.out_bound),
        out_res,
        number(f"{at}out_noise", get("out_noise"), 0),
        number(f"{at}out_noise_std", get("out_noise_std"), 0),
        bool(get("out_sto_round", False)),
        number(f"{at}out_scale", get("out_scale", 1.0)),
        number(f"{at}out_asymmetry", get("out_asymmetry")),
        noise,
        number(f"{at}nm_thres", get("nm_thres")),
        bound != "NONE",
        number(f"{at}max_bm_factor", get("max_bm_factor", 1000)),
        number(f"{at}max_bm_res", get("max_bm_res", 0.25)),
        float(get("w_noise")) if w_noise != "NONE" else 0.0,
    )


def _modifier(config: Any, explicit: bool) -> Modifier:
    p, at = config.modifier, "modifier."
    kind = named(p.type)
    if kind not in ("NONE", "COPY", "ADD_NORMAL", "MULT_NORMAL", "DISCRETIZE", *(["DOREFA"] if explicit else [])):
        raise TorchTileConfigError(
            f"The given modifier noise type is not supported in the torch tile: {at}type is {kind}"
        )
    if p.enable_during_test:
        raise TorchTileConfigError(f"Modifier noise is currently always off in the torch tile: {at}enable_during_test")
    if p.copy_last_column:
        raise TorchTileConfigError(f"Bias is assumed to be in digital only for torch tile: {at}copy_last_column")
    if p.pdrop > 0:
        raise TorchTileConfigError(f"Drop connect is not supported in the torch tile: {at}pdrop is {p.pdrop!r}")
    return Modifier(
        kind,
        number(f"{at}std_dev", p.std_dev, 0),
        _resolution(f"{at}res", p.res),
        bool(p.rel_to_actual_wmax),
        number(f"{at}assumed_wmax", p.assumed_wmax),
        number(f"{at}dorefa_clip", p.dorefa_clip),
        bool(p.sto_round),
        bool(p.per_batch_sample),
    )


def _mapping(p: Any) -> Mapping:
    if not getattr(p, "digital_bias", True):
        raise AnalogBiasConfigError("Analog bias is not supported in the torch tile: mapping.digital_bias is False")
    for f in ("max_input_size", "max_output_size"):
        if not isinstance(getattr(p, f), numbers.Integral) or getattr(p, f) < 0:
            raise ConfigError(f"mapping.{f} is {getattr(p, f)!r}: expected an integer, 0 for no limit")
    return Mapping(
        number("mapping.weight_scaling_omega", p.weight_scaling_omega),
        bool(p.weight_scaling_columnwise),
        bool(p.learn_out_scaling),
        bool(p.out_scaling_columnwise),
        int(p.max_input_size),
        int(p.max_output_size),
    )


def _check_other_fields(config: Any, explicit: bool) -> None:
    if named(config.clip.type) not in ("NONE", "FIXED_VALUE", "LAYER_GAUSSIAN"):
        raise TorchTileConfigError(
            f"The given weight clip type is not supported in the torch tile: clip.type is {named(config.clip.type)}"
        )
    if named(config.remap.type) not in ("NONE", "LAYERWISE_SYMMETRIC", "CHANNELWISE_SYMMETRIC"):
        raise TorchTileConfigError(
            f"remap.type is {named(config.remap.type)}: expected NONE, LAYERWISE_SYMMETRIC or CHANNELWISE_SYMMETRIC"
        )
    for f, only in (("remapped_wmax", 1.0), ("max_scale_range", 0.0), ("max_scale_ref", 0.0)):
        if getattr(config.remap, f, only) != only:
            raise TorchTileConfigError(f"Remap parameter {f} must be {only}. remap.{f} is {getattr(config.remap, f)!r}")
    backward = getattr(config, "backward", None)
    if explicit and backward is not None and not backward.is_perfect:
        raise ConfigError("backward.is_perfect is False: the backward pass of aidgejax is always the perfect product")


def _act_bits(p: Any) -> tuple[int, bool] | None:
    if p is None or getattr(p, "n_bits", 0) <= 0:
        return None
    return int(p.n_bits), bool(getattr(p, "symmetric", True))
