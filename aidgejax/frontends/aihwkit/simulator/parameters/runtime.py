"""aihwkit.simulator.parameters.runtime"""

from .....analog.config_io import RuntimeParameter

__all__ = ["RuntimeParameter"]
