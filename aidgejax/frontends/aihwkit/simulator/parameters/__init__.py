"""aihwkit.simulator.parameters"""

from .....analog.config import UpdateParameters
from .....analog.config_enums import (
    AnalogContextDataViewMode,
    AnalogMVType,
    BoundManagementType,
    NoiseManagementType,
    PulseType,
    RPUDataType,
    VectorUnitCellUpdatePolicy,
    WeightClipType,
    WeightModifierType,
    WeightNoiseType,
    WeightRemapType,
)
from .....analog.config_io import IOParameters, IOParametersIRDropT, MappingParameter, RuntimeParameter
from .....analog.config_pre_post import (
    InputRangeParameter,
    PeripheryQuantizationParameter,
    PrePostProcessingParameter,
    PrePostProcessingParameterQuant,
    PrePostProcessingRPU,
)
from .....analog.config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter
from ...simulator._in_memory import lookup

__all__ = [
    "AnalogContextDataViewMode", "AnalogMVType", "BoundManagementType", "IOParameters", "IOParametersIRDropT",
    "InputRangeParameter",
    "MappingParameter", "NoiseManagementType", "PeripheryQuantizationParameter", "PrePostProcessingParameter",
    "PrePostProcessingParameterQuant", "PrePostProcessingRPU", "PulseType", "RPUDataType", "RuntimeParameter",
    "UpdateParameters", "VectorUnitCellUpdatePolicy", "WeightClipParameter", "WeightClipType",
    "WeightModifierParameter", "WeightModifierType", "WeightNoiseType", "WeightRemapParameter", "WeightRemapType",
]  # fmt: skip

__getattr__ = lookup(__name__, "DriftParameter SimpleDriftParameter")
