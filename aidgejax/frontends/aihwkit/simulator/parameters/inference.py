"""aihwkit.simulator.parameters.inference"""

from .....analog.config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter
from ...simulator._in_memory import lookup

__all__ = ["WeightClipParameter", "WeightModifierParameter", "WeightRemapParameter"]

__getattr__ = lookup(__name__, "DriftParameter SimpleDriftParameter")
