"""aihwkit.simulator.configs.utils"""

from .....analog.config import UpdateParameters
from .....analog.config_enums import (
    AnalogMVType,
    BoundManagementType,
    NoiseManagementType,
    PulseType,
    VectorUnitCellUpdatePolicy,
    WeightClipType,
    WeightModifierType,
    WeightNoiseType,
    WeightRemapType,
)
from .....analog.config_io import IOParameters, MappingParameter
from .....analog.config_pre_post import InputRangeParameter, PrePostProcessingParameter
from .....analog.config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter
from ...simulator._in_memory import lookup

__all__ = [
    "AnalogMVType", "BoundManagementType", "IOParameters", "InputRangeParameter", "MappingParameter",
    "NoiseManagementType", "PrePostProcessingParameter", "PulseType", "UpdateParameters",
    "VectorUnitCellUpdatePolicy", "WeightClipParameter", "WeightClipType", "WeightModifierParameter",
    "WeightModifierType", "WeightNoiseType", "WeightRemapParameter", "WeightRemapType",
]  # fmt: skip

__getattr__ = lookup(__name__, "DriftParameter SimpleDriftParameter")
