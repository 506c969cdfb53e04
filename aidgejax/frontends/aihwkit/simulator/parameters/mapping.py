"""aihwkit.simulator.parameters.mapping"""

from .....analog.config_io import MappingParameter
from ...simulator._in_memory import lookup

__all__ = ["MappingParameter"]

__getattr__ = lookup(__name__, "MappableRPU")
