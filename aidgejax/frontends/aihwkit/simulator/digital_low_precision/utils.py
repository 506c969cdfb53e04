"""aihwkit.simulator.digital_low_precision.utils"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "to_numpy")
