"""aihwkit.simulator.presets: configs that have proved good."""

from dataclasses import dataclass, field

from .configs import (
    BoundManagementType,
    IOParameters,
    MappingParameter,
    NoiseManagementType,
    PrePostProcessingParameter,
    TorchInferenceRPUConfig,
    WeightClipParameter,
    WeightClipType,
    WeightModifierParameter,
    WeightModifierType,
    WeightRemapParameter,
    WeightRemapType,
)
from .parameters.pre_post import InputRangeParameter


@dataclass(repr=False)
class StandardHWATrainingPreset(TorchInferenceRPUConfig):
    """Hardware-aware training with 8-bit converters, a learned range, noise of outputs and weights.

    aihwkit's preset of this name but for weight noise of each product and IR drop, which belong to its C++ tile.
    """

    forward: IOParameters = field(
        default_factory=lambda: IOParameters(
            inp_res=254.0,
            out_res=254.0,
            out_bound=10.0,
            out_noise=0.04,
            nm_thres=1.0,
            noise_management=NoiseManagementType.CONSTANT,
            bound_management=BoundManagementType.NONE,
        )
    )
    pre_post: PrePostProcessingParameter = field(
        default_factory=lambda: PrePostProcessingParameter(input_range=InputRangeParameter(enable=True))
    )
    mapping: MappingParameter = field(
        default_factory=lambda: MappingParameter(
            weight_scaling_omega=1.0,
            weight_scaling_columnwise=True,
            learn_out_scaling=True,
            out_scaling_columnwise=True,
        )
    )
    remap: WeightRemapParameter = field(
        default_factory=lambda: WeightRemapParameter(type=WeightRemapType.CHANNELWISE_SYMMETRIC)
    )
    clip: WeightClipParameter = field(
        default_factory=lambda: WeightClipParameter(type=WeightClipType.LAYER_GAUSSIAN, sigma=2.5)
    )
    modifier: WeightModifierParameter = field(
        default_factory=lambda: WeightModifierParameter(type=WeightModifierType.ADD_NORMAL, std_dev=0.05)
    )
