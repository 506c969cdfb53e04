"""aihwkit.simulator.tiles.quantized_inference_torch"""

from ...nn.modules._tile import QuantizedTorchInferenceTile

__all__ = ["QuantizedTorchInferenceTile"]
