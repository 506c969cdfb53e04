"""aihwkit.simulator.parameters.mapping"""

from .....analog.config_io import MappingParameter

__all__ = ["MappingParameter"]
