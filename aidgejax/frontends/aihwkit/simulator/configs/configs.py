"""aihwkit.simulator.configs.configs"""

from .....analog.config import (
    FloatingPointRPUConfig,
    InferenceRPUConfig,
    QuantizedTorchInferenceRPUConfig,
    TorchInferenceRPUConfig,
)
from .....analog.config_pre_post import PrePostProcessingRPU
from ...simulator._in_memory import lookup

__all__ = [
    "FloatingPointRPUConfig", "InferenceRPUConfig", "PrePostProcessingRPU", "QuantizedTorchInferenceRPUConfig",
    "TorchInferenceRPUConfig",
]  # fmt: skip

__getattr__ = lookup(
    __name__,
    """
    DigitalRankUpdateRPUConfig IOManagedRPUConfig SingleRPUConfig TorchInferenceRPUConfigIRDropT
    UnitCellRPUConfig
    """,
)
