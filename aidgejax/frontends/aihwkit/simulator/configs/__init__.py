"""aihwkit.simulator.configs"""

from .....analog.config import (
    FloatingPointRPUConfig,
    IdealDevice,
    InferenceRPUConfig,
    InferenceTile,
    QuantConfig,
    QuantizedTorchInferenceRPUConfig,
    QuantizedTorchInferenceTile,
    TorchInferenceRPUConfig,
    TorchInferenceTile,
    UpdateParameters,
)
from .....analog.config_enums import (
    AnalogMVType,
    BoundManagementType,
    NoiseManagementType,
    PulseType,
    RPUDataType,
    VectorUnitCellUpdatePolicy,
    WeightClipType,
    WeightModifierType,
    WeightNoiseType,
    WeightRemapType,
)
from .....analog.config_io import IOParameters, IOParametersIRDropT, MappingParameter, RuntimeParameter
from .....analog.config_pre_post import (
    InputRangeParameter,
    PeripheryQuantizationParameter,
    PrePostProcessingParameter,
    PrePostProcessingParameterQuant,
    PrePostProcessingRPU,
)
from .....analog.config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter
from ...simulator._in_memory import lookup

__all__ = [
    "AnalogMVType", "BoundManagementType", "FloatingPointRPUConfig", "IOParameters", "IOParametersIRDropT",
    "IdealDevice",
    "InferenceRPUConfig", "InferenceTile", "InputRangeParameter", "MappingParameter", "NoiseManagementType",
    "PeripheryQuantizationParameter", "PrePostProcessingParameter", "PrePostProcessingParameterQuant",
    "PrePostProcessingRPU", "PulseType", "QuantConfig", "QuantizedTorchInferenceRPUConfig",
    "QuantizedTorchInferenceTile", "RPUDataType", "RuntimeParameter", "TorchInferenceRPUConfig",
    "TorchInferenceTile", "UpdateParameters", "VectorUnitCellUpdatePolicy", "WeightClipParameter", "WeightClipType",
    "WeightModifierParameter", "WeightModifierType", "WeightNoiseType", "WeightRemapParameter", "WeightRemapType",
]  # fmt: skip

__getattr__ = lookup(
    __name__,
    """
    BufferedTransferCompound ChoppedTransferCompound ConstantStepDevice CountLRFeedbackPolicy DifferenceUnitCell
    DigitalRankUpdateRPUConfig DriftParameter DynamicTransferCompound ExpStepDevice FloatingPointDevice
    LinearStepDevice MixedPrecisionCompound OneSidedUnitCell PiecewiseStepDevice
    PowStepDevice PowStepReferenceDevice ReferenceUnitCell SimpleDriftParameter SingleRPUConfig SoftBoundsDevice
    SoftBoundsPmaxDevice SoftBoundsReferenceDevice TorchInferenceRPUConfigIRDropT TransferCompound
    UnitCellRPUConfig VectorUnitCell build_config
    """,
)
