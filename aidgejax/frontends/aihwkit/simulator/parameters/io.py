"""aihwkit.simulator.parameters.io"""

from .....analog.config_io import IOParameters
from ...simulator._in_memory import lookup

__all__ = ["IOParameters"]

__getattr__ = lookup(__name__, "IOParametersIRDropT")
