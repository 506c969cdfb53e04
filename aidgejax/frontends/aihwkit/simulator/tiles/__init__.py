"""aihwkit.simulator.tiles"""

from ...nn.modules._tile import InferenceTile, QuantizedTorchInferenceTile, TileModule, TorchInferenceTile
from ...simulator._in_memory import lookup

InferenceTileWithPeriphery = TileModule

__all__ = ["InferenceTile", "InferenceTileWithPeriphery", "QuantizedTorchInferenceTile", "TorchInferenceTile"]

__getattr__ = lookup(__name__, "AnalogTile FloatingPointTile")
