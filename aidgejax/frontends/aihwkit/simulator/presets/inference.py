"""aihwkit.simulator.presets.inference"""

from .....analog.presets import FloatingPointPreset, StandardHWATrainingPreset

__all__ = ["FloatingPointPreset", "StandardHWATrainingPreset"]
