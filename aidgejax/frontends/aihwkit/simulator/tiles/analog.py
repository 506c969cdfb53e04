"""aihwkit.simulator.tiles.analog"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "AnalogTile AnalogTileWithoutPeriphery")
