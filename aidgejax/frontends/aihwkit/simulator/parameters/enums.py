"""aihwkit.simulator.parameters.enums"""

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
from ...simulator._in_memory import lookup

__all__ = [
    "AnalogContextDataViewMode", "AnalogMVType", "BoundManagementType", "NoiseManagementType", "PulseType",
    "RPUDataType", "VectorUnitCellUpdatePolicy", "WeightClipType", "WeightModifierType", "WeightNoiseType",
    "WeightRemapType",
]  # fmt: skip

__getattr__ = lookup(__name__, "CountLRFeedbackPolicy")
