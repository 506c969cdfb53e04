"""aihwkit.simulator.configs.devices"""

from .....analog.config import IdealDevice
from ...simulator._in_memory import lookup

__all__ = ["IdealDevice"]

__getattr__ = lookup(
    __name__,
    """
    ConstantStepDevice ExpStepDevice FloatingPointDevice LinearStepDevice PiecewiseStepDevice PowStepDevice
    PowStepReferenceDevice PulsedDevice SoftBoundsDevice SoftBoundsPmaxDevice SoftBoundsReferenceDevice
    """,
)
