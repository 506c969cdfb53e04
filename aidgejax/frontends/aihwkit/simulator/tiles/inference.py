"""aihwkit.simulator.tiles.inference"""

from ...nn.modules._tile import InferenceTile
from ...simulator._in_memory import lookup

__all__ = ["InferenceTile"]

__getattr__ = lookup(__name__, "InferenceTileWithPeriphery")
