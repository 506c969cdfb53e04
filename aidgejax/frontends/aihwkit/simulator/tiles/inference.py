"""aihwkit.simulator.tiles.inference"""

from ...nn.modules._tile import InferenceTile, TileModule

InferenceTileWithPeriphery = TileModule

__all__ = ["InferenceTile", "InferenceTileWithPeriphery"]
