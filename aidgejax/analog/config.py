"""The configs: what kind of tile, and all its parts."""

from dataclasses import dataclass, field
from typing import ClassVar

from .compensation import BaseDriftCompensation, GlobalDriftCompensation
from .config_io import IOParameters, MappingParameter
from .config_pre_post import PrePostProcessingParameterQuant, PrePostProcessingRPU
from .config_printing import PrintableMixin
from .config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter
from .noise_model import BaseNoiseModel
from .noise_pcm import PCMLikeNoiseModel


class InferenceTile:
    """The tile of InferenceRPUConfig: explicit gradients, as those of aihwkit's C++ tile."""


class TorchInferenceTile:
    """The tile of TorchInferenceRPUConfig: the gradients that autograd would give."""


class QuantizedTorchInferenceTile(TorchInferenceTile):
    """The same with a quantized periphery."""


def _perfect() -> IOParameters:
    return IOParameters(is_perfect=True)


@dataclass(repr=False)
class InferenceRPUConfig(PrePostProcessingRPU):
    """Hardware-aware training with explicit gradients: the perfect product's, and the range's by rule.

    noise_model and drift_compensation: what programming and drift do, see inference.py; None: neither.
    """

    gradient_convention: ClassVar[str] = "explicit"

    tile_class: type = InferenceTile
    mapping: MappingParameter = field(default_factory=MappingParameter)
    forward: IOParameters = field(default_factory=IOParameters)
    backward: IOParameters = field(default_factory=_perfect)
    noise_model: BaseNoiseModel | None = field(default_factory=PCMLikeNoiseModel)
    drift_compensation: BaseDriftCompensation | None = field(default_factory=GlobalDriftCompensation)
    clip: WeightClipParameter = field(default_factory=WeightClipParameter)
    remap: WeightRemapParameter = field(default_factory=WeightRemapParameter)
    modifier: WeightModifierParameter = field(default_factory=WeightModifierParameter)


@dataclass(repr=False)
class TorchInferenceRPUConfig(InferenceRPUConfig):
    """Hardware-aware training with the gradients that autograd would give, the range's rule added."""

    gradient_convention: ClassVar[str] = "autograd"

    tile_class: type = TorchInferenceTile


@dataclass(repr=False)
class QuantConfig(PrintableMixin):
    """Quantization of a tile's outputs by a running range."""

    n_bits: int = 0
    symmetric: bool = True


@dataclass(repr=False)
class QuantizedTorchInferenceRPUConfig(TorchInferenceRPUConfig):
    """The same with scales and biases quantized (pre_post.periph_quant), and outputs (act_quant_config)."""

    tile_class: type = QuantizedTorchInferenceTile
    pre_post: PrePostProcessingParameterQuant = field(default_factory=PrePostProcessingParameterQuant)
    act_quant_config: QuantConfig | None = None
