"""aihwkit.simulator.configs: the configs, and everything that is needed to fill them in."""

from .....analog.config import (
    InferenceRPUConfig,
    InferenceTile,
    QuantConfig,
    QuantizedTorchInferenceRPUConfig,
    QuantizedTorchInferenceTile,
    TorchInferenceRPUConfig,
    TorchInferenceTile,
)
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
    "InferenceRPUConfig",
    "InferenceTile",
    "InputRangeParameter",
    "MappingParameter",
    "NoiseManagementType",
    "PeripheryQuantizationParameter",
    "PrePostProcessingParameter",
    "PrePostProcessingParameterQuant",
    "PrePostProcessingRPU",
    "QuantConfig",
    "QuantizedTorchInferenceRPUConfig",
    "QuantizedTorchInferenceTile",
    "RPUDataType",
    "RuntimeParameter",
    "TorchInferenceRPUConfig",
    "TorchInferenceTile",
    "WeightClipParameter",
    "WeightClipType",
    "WeightModifierParameter",
    "WeightModifierType",
    "WeightNoiseType",
    "WeightRemapParameter",
    "WeightRemapType",
]
