"""The configs: what kind of tile, and all its parts."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from .compensation import BaseDriftCompensation, GlobalDriftCompensation
from .config_enums import PulseType
from .config_io import IOParameters, MappingParameter
from .config_pre_post import PrePostProcessingParameterQuant, PrePostProcessingRPU
from .config_printing import PrintableMixin
from .config_weights import WeightClipParameter, WeightModifierParameter, WeightRemapParameter
from .errors import ConfigError
from .noise_model import BaseNoiseModel
from .noise_pcm import PCMLikeNoiseModel


class KindOfTile:
    """What a config says of its tiles.  Calling one makes the front end's tile, where that has been imported."""

    supports_ddp: ClassVar[bool] = True
    supports_indexed: ClassVar[bool] = False
    made_as: ClassVar[type | None] = None
    """The front end's class, which derives from this one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(vars(cls).get("made_as") or cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ConfigError(
            f"{type(self).__name__}: a graph has no tiles as objects; layers of aidgejax.frontends.aihwkit.nn have"
        )


class InferenceTile(KindOfTile):
    """The tile of InferenceRPUConfig: explicit gradients, as those of aihwkit's C++ tile."""


class TorchInferenceTile(KindOfTile):
    """The tile of TorchInferenceRPUConfig: the gradients that autograd would give."""


class QuantizedTorchInferenceTile(TorchInferenceTile):
    """The same with a quantized periphery."""


class TileModuleArray(KindOfTile):
    """Several tiles of one layer."""


@dataclass(repr=False)
class UpdateParameters(PrintableMixin):
    """How devices are pulsed.  Inference does not: kept for the scripts that read it, without effect."""

    desired_bl: int = 31
    fixed_bl: bool = True
    pulse_type: PulseType = PulseType.STOCHASTIC_COMPRESSED
    res: float = 0
    x_res_implicit: float = 0
    d_res_implicit: float = 0
    d_sparsity: bool = False
    sto_round: bool = False
    update_bl_management: bool = True
    update_management: bool = True
    um_grad_scale: float = 1.0


@dataclass(repr=False)
class IdealDevice(PrintableMixin):
    """The device of inference: none that is simulated.  Kept for the scripts that read it, without effect."""

    construction_seed: int = 0
    diffusion: float = 0.0
    lifetime: float = 0.0
    reset_std: float = 0.01


def _perfect() -> IOParameters:
    return IOParameters(is_perfect=True)


@dataclass(repr=False)
class InferenceRPUConfig(PrePostProcessingRPU):
    """Hardware-aware training with explicit gradients: the perfect product's, and the range's by rule.

    noise_model and drift_compensation: what programming and drift do, see inference.py; None: neither.
    """

    gradient_convention: ClassVar[str] = "explicit"

    tile_class: type = InferenceTile
    tile_array_class: type = TileModuleArray
    mapping: MappingParameter = field(default_factory=MappingParameter)
    forward: IOParameters = field(default_factory=IOParameters)
    backward: IOParameters = field(default_factory=_perfect)
    update: UpdateParameters = field(default_factory=lambda: UpdateParameters(pulse_type=PulseType.NONE))
    noise_model: BaseNoiseModel | None = field(default_factory=PCMLikeNoiseModel)
    drift_compensation: BaseDriftCompensation | None = field(default_factory=GlobalDriftCompensation)
    clip: WeightClipParameter = field(default_factory=WeightClipParameter)
    remap: WeightRemapParameter = field(default_factory=WeightRemapParameter)
    modifier: WeightModifierParameter = field(default_factory=WeightModifierParameter)
    device: IdealDevice = field(default_factory=IdealDevice)

    def get_default_tile_module_class(self, out_size: int = 0, in_size: int = 0) -> type:
        """tile_array_class where a layer of this size is an array of tiles, tile_class elsewhere."""
        return self.tile_array_class if self.mapping.makes_array(out_size, in_size) else self.tile_class


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
class ActivationQuantConfig(QuantConfig):
    """The same under aihwkit's name."""


@dataclass(repr=False)
class QuantizedTorchInferenceRPUConfig(TorchInferenceRPUConfig):
    """The same with scales and biases quantized (pre_post.periph_quant), and outputs (act_quant_config)."""

    tile_class: type = QuantizedTorchInferenceTile
    pre_post: PrePostProcessingParameterQuant = field(default_factory=PrePostProcessingParameterQuant)
    act_quant_config: QuantConfig | None = None


@dataclass(repr=False)
class FloatingPointRPUConfig(TorchInferenceRPUConfig):
    """Ideal products in any size, without noise, drift or tiles' limits."""

    floating_point: ClassVar[bool] = True

    mapping: MappingParameter = field(default_factory=lambda: MappingParameter(max_input_size=0, max_output_size=0))
    forward: IOParameters = field(default_factory=_perfect)
    noise_model: BaseNoiseModel | None = None
    drift_compensation: BaseDriftCompensation | None = None
