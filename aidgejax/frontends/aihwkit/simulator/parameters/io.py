"""aihwkit.simulator.parameters.io"""

from .....analog.config_io import IOParameters

__all__ = ["IOParameters"]
