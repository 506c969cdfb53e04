"""aihwkit.simulator.tiles.analog_mvm"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "AnalogMVM")
