"""aihwkit.nn.modules.linear_mapped"""

from .linear import AnalogLinearMapped

__all__ = ["AnalogLinearMapped"]
