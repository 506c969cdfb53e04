"""Configs that have proved good: aihwkit's presets for inference, every field."""

from __future__ import annotations

from dataclasses import dataclass, field

from .config import InferenceRPUConfig, TorchInferenceRPUConfig
from .config_enums import (
    BoundManagementType,
    NoiseManagementType,
    WeightClipType,
    WeightModifierType,
    WeightNoiseType,
    WeightRemapType,
)
from .config_io import IOParameters, MappingParameter
from .config_pre_post import InputRangeParameter, PrePostProcessingParameter
from .config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter


@dataclass(repr=False)
class PresetIOParameters(IOParameters):
    """7 bits in, 9 bits out."""

    out_bound: float = 20.0
    out_noise: float = 0.1


@dataclass(repr=False)
class StandardIOParameters(IOParameters):
    """8 bits in and out."""

    inp_res: float = 1 / 254
    out_bound: float = 10.0
    out_noise: float = 0.04
    out_res: float = 1 / 254


def _hwa_forward() -> IOParameters:
    return PresetIOParameters(
        inp_res=254.0,
        out_res=254.0,
        out_bound=10.0,
        out_noise=0.04,
        bound_management=BoundManagementType.NONE,
        noise_management=NoiseManagementType.CONSTANT,
        nm_thres=1.0,
        w_noise=0.0175,
        w_noise_type=WeightNoiseType.PCM_READ,
        ir_drop=1.0,
    )


def _hwa_mapping() -> MappingParameter:
    return MappingParameter(
        weight_scaling_omega=1.0,
        weight_scaling_columnwise=True,
        learn_out_scaling=True,
        out_scaling_columnwise=True,
        max_output_size=0,
    )


@dataclass(repr=False)
class StandardHWATrainingPreset(InferenceRPUConfig):
    """Hardware-aware training with 8-bit converters, a learned range, read noise and IR drop."""

    pre_post: PrePostProcessingParameter = field(
        default_factory=lambda: PrePostProcessingParameter(input_range=InputRangeParameter(enable=True))
    )
    mapping: MappingParameter = field(default_factory=_hwa_mapping)
    forward: IOParameters = field(default_factory=_hwa_forward)
    clip: WeightClipParameter = field(
        default_factory=lambda: WeightClipParameter(type=WeightClipType.FIXED_VALUE, fixed_value=1.0)
    )
    remap: WeightRemapParameter = field(
        default_factory=lambda: WeightRemapParameter(type=WeightRemapType.CHANNELWISE_SYMMETRIC)
    )


@dataclass(repr=False)
class FloatingPointPreset(TorchInferenceRPUConfig):
    """Ideal products."""

    mapping: MappingParameter = field(default_factory=lambda: MappingParameter(max_input_size=0, max_output_size=0))
    forward: IOParameters = field(default_factory=lambda: IOParameters(is_perfect=True))


# ---- of the web composer ------------------------------------------------------------------------------


@dataclass(repr=False)
class WebComposerIOParameters(IOParameters):
    """7 bits in, 9 bits out."""

    out_bound: float = 20.0
    out_noise: float = 0.1


@dataclass(repr=False)
class WebComposerWeightModifierParameter(WeightModifierParameter):
    """Additive noise."""

    std_dev: float = 0.1
    type: WeightModifierType = field(default_factory=lambda: WeightModifierType.ADD_NORMAL)


@dataclass(repr=False)
class WebComposerWeightClipParameter(WeightClipParameter):
    """Weights within 1."""

    fixed_value: float = 1.0
    type: WeightClipType = field(default_factory=lambda: WeightClipType.FIXED_VALUE)


@dataclass(repr=False)
class WebComposerMappingParameter(MappingParameter):
    """Scales by output."""

    weight_scaling_omega: float = 1.0
    weight_scaling_columnwise: bool = True
    learn_out_scaling: bool = True


@dataclass(repr=False)
class WebComposerInferenceRPUConfig(InferenceRPUConfig):
    """The composer's config for inference."""

    mapping: MappingParameter = field(default_factory=WebComposerMappingParameter)
    forward: IOParameters = field(default_factory=WebComposerIOParameters)
    clip: WeightClipParameter = field(default_factory=WebComposerWeightClipParameter)
    modifier: WeightModifierParameter = field(default_factory=WebComposerWeightModifierParameter)


@dataclass(repr=False)
class OldWebComposerMappingParameter(WebComposerMappingParameter):
    """The bias on the tile, one tile for each layer."""

    digital_bias: bool = False
    learn_out_scaling: bool = False
    max_input_size: int = 0
    max_output_size: int = 0


@dataclass(repr=False)
class OldWebComposerInferenceRPUConfig(WebComposerInferenceRPUConfig):
    """The composer's earlier config."""

    mapping: MappingParameter = field(default_factory=OldWebComposerMappingParameter)
