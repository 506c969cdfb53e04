"""aihwkit.simulator.digital_low_precision.quantization_manager"""

from ...simulator._in_memory import lookup

__all__ = []

__getattr__ = lookup(__name__, "Qstates QuantizationManager")
