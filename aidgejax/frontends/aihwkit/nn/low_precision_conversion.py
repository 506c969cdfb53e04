"""aihwkit.nn.low_precision_conversion"""

from ..simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "convert_to_quantized quantize_model")
