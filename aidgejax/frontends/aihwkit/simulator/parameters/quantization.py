"""aihwkit.simulator.parameters.quantization"""

from .....analog.config import ActivationQuantConfig
from ...simulator._in_memory import lookup

__all__ = ["ActivationQuantConfig"]

__getattr__ = lookup(
    __name__,
    """
    BaseQuantConfig QuantizationConfig QuantizationMap QuantizedModuleConfig WeightQuantConfig
    """,
)
