"""aihwkit.simulator.parameters.pre_post"""

from .....analog.config_pre_post import (
    InputRangeParameter,
    PeripheryQuantizationParameter,
    PrePostProcessingParameter,
    PrePostProcessingParameterQuant,
    PrePostProcessingRPU,
)

__all__ = [
    "InputRangeParameter", "PeripheryQuantizationParameter", "PrePostProcessingParameter",
    "PrePostProcessingParameterQuant", "PrePostProcessingRPU",
]  # fmt: skip
