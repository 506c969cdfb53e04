"""What hardware-aware training does to weights: noise in each pass, clipping and mapping after each step."""

from dataclasses import dataclass, field

from .config_enums import WeightClipType, WeightModifierType, WeightRemapType
from .config_printing import PrintableMixin


@dataclass(repr=False)
class WeightModifierParameter(PrintableMixin):
    """What a training pass does to the weight; the formulas are those of the operator WeightModifier."""

    std_dev: float = 0.0
    """ADD_NORMAL, MULT_NORMAL: standard deviation, relative to the largest weight."""
    per_batch_sample: bool = False
    """Draw for each sample of a batch."""
    res: float = 0.0
    """DISCRETIZE, DOREFA: steps of the full range, or their inverse."""
    sto_round: bool = False
    dorefa_clip: float = 0.6
    pdrop: float = 0.0
    enable_during_test: bool = False
    rel_to_actual_wmax: bool = True
    """Relative to the largest weight there is, or to assumed_wmax."""
    assumed_wmax: float = 1.0
    copy_last_column: bool = False
    coeffs: list[float] = field(default_factory=lambda: [0.0105392, 0.0768, -0.046925])
    type: WeightModifierType = field(default_factory=lambda: WeightModifierType.NONE)
    g_max: float = 25.0
    pcm_zero_thres: float = 0.0
    pcm_t_inference: float = 0.0
    pcm_prob_at_reset: float = 0.0
    pcm_prob_at_gmax: float = 0.0
    pcm_prob_at_random: float = 0.0
    pcm_t0: float = 20.0


@dataclass(repr=False)
class WeightClipParameter(PrintableMixin):
    """Where weights are cut off after each step."""

    fixed_value: float = -1.0
    """FIXED_VALUE: the bound; other types: another bound, where it is above 0."""
    sigma: float = 2.5
    """LAYER_GAUSSIAN: the bound in standard deviations of the weight."""
    type: WeightClipType = field(default_factory=lambda: WeightClipType.NONE)


@dataclass(repr=False)
class WeightRemapParameter(PrintableMixin):
    """How weights are spread over the tile's range after each step."""

    remapped_wmax: float = 1.0
    max_scale_range: float = 0.0
    max_scale_ref: float = 0.0
    type: WeightRemapType = field(default_factory=lambda: WeightRemapType.NONE)
