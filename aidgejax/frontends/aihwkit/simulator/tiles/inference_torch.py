"""aihwkit.simulator.tiles.inference_torch"""

from ...nn.modules._tile import TorchInferenceTile
from ...simulator._in_memory import lookup

__all__ = ["TorchInferenceTile"]

__getattr__ = lookup(__name__, "InputRangeForward")
