"""aihwkit.simulator.tiles.custom"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "CustomRPUConfig CustomSimulatorTile CustomTile CustomUpdateParameters")
