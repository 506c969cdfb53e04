"""aihwkit.inference.converter.fusion"""

from .....analog.conductance import FusionConductanceConverter

__all__ = ["FusionConductanceConverter"]
