"""aihwkit.simulator.parameters: the parts of a config."""

from .....analog.config_enums import (
    AnalogMVType,
    BoundManagementType,
    NoiseManagementType,
    RPUDataType,
    WeightClipType,
    WeightModifierType,
    WeightNoiseType,
    WeightRemapType,
)
from .....analog.config_io import IOParameters, MappingParameter, RuntimeParameter
from .....analog.config_pre_post import (
    InputRangeParameter,
    PeripheryQuantizationParameter,
    PrePostProcessingParameter,
    PrePostProcessingParameterQuant,
    PrePostProcessingRPU,
)
from .....analog.config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter

__all__ = [
    "AnalogMVType",
    "BoundManagementType",
    "IOParameters",
    "InputRangeParameter",
    "MappingParameter",
    "NoiseManagementType",
    "PeripheryQuantizationParameter",
    "PrePostProcessingParameter",
    "PrePostProcessingParameterQuant",
    "PrePostProcessingRPU",
    "RPUDataType",
    "RuntimeParameter",
    "WeightClipParameter",
    "WeightClipType",
    "WeightModifierParameter",
    "WeightModifierType",
    "WeightNoiseType",
    "WeightRemapParameter",
    "WeightRemapType",
]
