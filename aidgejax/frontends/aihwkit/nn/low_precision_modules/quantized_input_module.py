"""aihwkit.nn.low_precision_modules.quantized_input_module"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "QuantizedInputModule")
