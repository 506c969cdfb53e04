"""aihwkit.simulator.presets.utils"""

from .....analog.config import UpdateParameters
from .....analog.config_enums import BoundManagementType, NoiseManagementType, PulseType, WeightNoiseType
from .....analog.config_io import IOParameters
from .....analog.presets import PresetIOParameters, StandardIOParameters
from ...simulator._in_memory import lookup

__all__ = [
    "BoundManagementType", "IOParameters", "NoiseManagementType", "PresetIOParameters", "PulseType",
    "StandardIOParameters", "UpdateParameters", "WeightNoiseType",
]  # fmt: skip

__getattr__ = lookup(__name__, "PresetUpdateParameters")
