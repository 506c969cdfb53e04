"""aihwkit.simulator.tiles.periphery"""

from ...nn.modules._tile import TileModule

TileWithPeriphery = TileModule

__all__ = ["TileWithPeriphery"]
