"""aihwkit.simulator.parameters.training"""

from .....analog.config import UpdateParameters

__all__ = ["UpdateParameters"]
