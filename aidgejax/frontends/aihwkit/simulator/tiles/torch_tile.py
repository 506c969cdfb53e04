"""aihwkit.simulator.tiles.torch_tile"""

from ...nn.modules._tile import TorchSimulatorTile

__all__ = ["TorchSimulatorTile"]
