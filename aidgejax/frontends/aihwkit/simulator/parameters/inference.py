"""aihwkit.simulator.parameters.inference"""

from .....analog.config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter

__all__ = ["WeightClipParameter", "WeightModifierParameter", "WeightRemapParameter"]
