"""aihwkit.simulator.tiles.torch_tile_irdrop_t"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "TorchSimulatorTileIRDropT")
