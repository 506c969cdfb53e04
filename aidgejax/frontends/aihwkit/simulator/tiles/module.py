"""aihwkit.simulator.tiles.module"""

from ...nn.modules._tile import TileModule

__all__ = ["TileModule"]
