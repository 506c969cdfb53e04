"""Digital processing before and after an analog product: input range and periphery quantization."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from .config_io import RuntimeParameter
from .config_printing import PrintableMixin
from .errors import ConfigError


@dataclass(repr=False)
class InputRangeParameter(PrintableMixin):
    """The learned range r of a tile's inputs: they are clipped to +-r and divided by r, outputs are multiplied by r.

    Noise and bound management should be NONE with it, since the range takes their place; they are not refused.
    """

    enable: bool = field(default_factory=lambda: False)
    """Whether there is a range; without one nothing is clipped.  forward.inp_bound is assumed to be 1 with it."""

    learn_input_range: bool = True
    """Whether the optimizer moves it; if not, calibrate it, or let init_from_data set it."""

    init_value: float = 3.0
    """The range before the first batch."""

    init_from_data: int = 100
    """The first so many batches set it: r <- (k r + init_std_alpha std(x)) / (k + 1).  0: they don't."""

    init_std_alpha: float = 3.0
    """How many standard deviations of the input the range is to hold in that phase."""

    decay: float = 0.001
    """grad += decay * r, where more than input_min_percentage of the inputs lie inside."""

    input_min_percentage: float = 0.95
    """The fraction (0 to 1) of inputs inside above which the decay acts."""

    manage_output_clipping: bool = False
    """grad -= (1 - p) * r, where the fraction p of outputs that are not clipped is below output_min_percentage.

    Needs forward.out_bound, and noise and bound management NONE (ConfigError otherwise)."""

    output_min_percentage: float = 0.95
    """The fraction (0 to 1) of outputs inside the bound below which the range is widened."""

    gradient_scale: float = 1.0
    """Factor on the gradient that clipped inputs give; without effect unless gradient_relative."""

    gradient_relative: bool = True
    """Whether that gradient is multiplied by the range itself."""

    calibration_info: str | None = None
    """How the range was calibrated, if it was."""

    def supports_manage_output_clipping(self, rpu_config: Any) -> bool:
        """Whether the config's outputs are bounded, and neither noise nor bounds managed."""
        io = rpu_config.forward
        managed = [io.noise_management, io.bound_management]
        return not io.is_perfect and io.out_bound > 0 and all(m.name == "NONE" for m in managed)

    output_clipping_share: ClassVar[str | None] = None
    """What the clipped outputs are divided by: "output_size" (None), how many outputs there are, or "input_size", as
    the original does.  Not one of aihwkit's fields: set it as an attribute."""


@dataclass(repr=False)
class PeripheryQuantizationParameter(PrintableMixin):
    """Quantization of a tile's digital scales and of the bias, one range for each tensor."""

    n_bits: int = 0
    """Bits; 0 or less: no quantization."""

    symmetric: bool = True
    """Whether the zero point is 0."""

    learn_quant_params: bool = False
    """Whether step (and zero point) are learned after init_learning_after batches, rather than taken from the data."""

    init_learning_after: int = 100
    """How many batches estimate them before they are learned; at least 1."""


@dataclass(repr=False)
class PrePostProcessingParameter(PrintableMixin):
    """Processing of inputs and outputs."""

    input_range: InputRangeParameter = field(default_factory=InputRangeParameter)
    """See InputRangeParameter."""


@dataclass(repr=False)
class PrePostProcessingParameterQuant(PrePostProcessingParameter):
    """The same with the quantization of the periphery."""

    periph_quant: PeripheryQuantizationParameter = field(default_factory=PeripheryQuantizationParameter)
    """See PeripheryQuantizationParameter."""


@dataclass(repr=False)
class PrePostProcessingRPU(PrintableMixin):
    """What every config has that processes inputs and outputs; the concrete ones are in simulator.configs."""

    tile_class: type
    """The kind of tile; see simulator.configs."""

    runtime: RuntimeParameter = field(default_factory=RuntimeParameter, compare=False)
    """See RuntimeParameter; two configs that differ in it alone are equal."""

    pre_post: PrePostProcessingParameter = field(default_factory=PrePostProcessingParameter)
    """See PrePostProcessingParameter."""

    def compatible_with(self, tile_class_name: str) -> bool:
        """Is this the name of the kind of tile that the config makes?"""
        return self.tile_class.__name__ == tile_class_name

    def as_bindings(self, *_: Any) -> Any:
        """ConfigError: aihwkit's C++ library is not here."""
        raise ConfigError(
            f"{type(self).__name__}.as_bindings is of aihwkit's C++ library: aidgejax.analog.settings reads a config"
        )

    def create_tile(self, *args: Any, **kwargs: Any) -> Any:
        """tile_class(out_size, in_size, this config): the front end's tile."""
        return self.tile_class(*args, rpu_config=self, **kwargs)

    output_clipping_share: ClassVar[str | None] = None
    """See InputRangeParameter; here it holds where that says nothing."""
