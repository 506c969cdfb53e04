"""aihwkit.simulator.tiles.array"""

from ...nn.modules._tile_array import TileModuleArray
from ...simulator._in_memory import lookup

__all__ = ["TileModuleArray"]

__getattr__ = lookup(__name__, "QuantizedTileModuleArray")
