"""aihwkit.simulator.tiles"""

from ...nn.modules._tile import InferenceTile, QuantizedTorchInferenceTile, TorchInferenceTile
from ...simulator._in_memory import lookup

__all__ = ["InferenceTile", "QuantizedTorchInferenceTile", "TorchInferenceTile"]

__getattr__ = lookup(__name__, "AnalogTile FloatingPointTile InferenceTileWithPeriphery")
