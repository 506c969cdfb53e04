"""aihwkit.simulator.parameters.enums"""

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

__all__ = [
    "AnalogMVType",
    "BoundManagementType",
    "NoiseManagementType",
    "RPUDataType",
    "WeightClipType",
    "WeightModifierType",
    "WeightNoiseType",
    "WeightRemapType",
]
