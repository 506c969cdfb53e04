"""aihwkit.inference.calibration"""

from ...simulator._in_memory import lookup
from .calibration import InputRangeCalibrationType, calibrate_input_ranges

__all__ = ["InputRangeCalibrationType", "calibrate_input_ranges"]

__getattr__ = lookup(__name__, "calibrate_quantization_ranges")
