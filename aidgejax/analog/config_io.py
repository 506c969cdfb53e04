"""How a weight is put into tiles, how a tile runs, and the converters around its product."""

from dataclasses import dataclass, fields

from .config_enums import AnalogMVType, BoundManagementType, NoiseManagementType, RPUDataType, WeightNoiseType
from .config_printing import PrintableMixin


@dataclass(repr=False)
class IOParameters(PrintableMixin):
    """Bounds, steps and noise of a product's inputs and outputs; the formulas are in aidgejax/analog/tile.py.

    A resolution is a number of steps (> 1) or its inverse; 0 or less means none.  A bound of 0 or less clips nothing.
    """

    is_perfect: bool = False
    """An ideal product: no converters, no noise."""
    mv_type: AnalogMVType = AnalogMVType.ONE_PASS
    inp_bound: float = 1.0
    inp_noise: float = 0.0
    """Standard deviation of what is added to each input after its conversion."""
    inp_res: float = 1 / (2**7 - 2)
    inp_sto_round: bool = False
    """Round up or down at random, by how near each is."""
    inp_asymmetry: float = 0.0
    """Negative inputs are multiplied by 1 - inp_asymmetry."""
    out_bound: float = 12.0
    out_noise: float = 0.06
    """Standard deviation of what is added to each output before its conversion, in training and outside."""
    out_noise_std: float = 0.0
    """How much out_noise differs between outputs, as a fraction of it."""
    out_res: float = 1 / (2**9 - 2)
    out_sto_round: bool = False
    out_scale: float = 1.0
    """A factor on the outputs."""
    out_asymmetry: float = 0.0
    bound_management: BoundManagementType = BoundManagementType.ITERATIVE
    noise_management: NoiseManagementType = NoiseManagementType.ABS_MAX
    w_noise: float = 0.0
    """ADDITIVE_CONSTANT: noise of each output, times the norm of its input row.  Explicit convention only."""
    w_noise_type: WeightNoiseType = WeightNoiseType.NONE
    ir_drop: float = 0.0
    ir_drop_g_ratio: float = 1.0 / 0.35 / 5e-6
    out_nonlinearity: float = 0.0
    out_nonlinearity_std: float = 0.0
    slope_calibration: float = 0.0
    v_offset_std: float = 0.0
    v_offset_w_min: float = -1.0
    r_series: float = 0.0
    w_read_asymmetry_dtod: float = 0.0
    max_bm_factor: int = 1000
    """Bound management divides inputs by no more than about this."""
    max_bm_res: float = 0.25
    """Nor by so much that fewer than about 1 / max_bm_res input steps are left."""
    bm_test_negative_bound: bool = True
    nm_thres: float = 0.0
    """CONSTANT: the divisor; ABS_MAX and MAX: the most that they divide by, if above 0."""


@dataclass(repr=False)
class IOParametersIRDropT(IOParameters):
    """The same with fields of aihwkit's tile whose IR drop follows the length of the pulses, which is not simulated.

    The explicit tile reads what IOParameters has, as in aihwkit: its IR drop is that of `ir_drop_g_ratio`.
    """

    ir_drop: float = 1.0
    ir_drop_rs: float = 0.15
    """Resistance in Ohm of the wire between two devices."""
    ir_drop_segments: int = 8
    ir_drop_time_step_resolution_scale: float = 1.0
    ir_drop_v_read: float = 0.4005
    split_mode_bit_shift: int = 3
    apply_xdep_pcm_read_noise: bool = False
    xdep_pcm_read_noise_scale: float = 1.0
    adc_quantization: bool = True
    adc_frequency: float = 6.24
    """In GHz."""
    ir_drop_integration_sum: bool = False


@dataclass(repr=False)
class MappingParameter(PrintableMixin):
    """Scales of a weight, and the size of tiles."""

    digital_bias: bool = True
    weight_scaling_omega: float = 0.0
    """> 0: the tile holds w / m, m = max |w| / omega."""
    weight_scaling_columnwise: bool = False
    """One m for each output."""
    weight_scaling_lr_compensation: bool = False
    learn_out_scaling: bool = False
    """A factor on the outputs that is trained, out_scaling_alpha."""
    out_scaling_columnwise: bool = False
    """One for each output."""
    max_input_size: int = 512
    """Layers with more inputs are split into tiles; 0: never."""
    max_output_size: int = 512

    def makes_array(self, out_size: int, in_size: int) -> bool:
        """Whether a plain layer of this size is an array of tiles, as in aihwkit: of one, where only one limit is 0."""
        most_in, most_out = self.max_input_size, self.max_output_size
        return (most_in, most_out) != (0, 0) and (most_in < in_size or most_out < out_size)

    def compatible_with(self, mapping: "MappingParameter") -> bool:
        """Whether a layer made with these can go on with `mapping`: they differ in how weights are scaled alone."""
        return all(getattr(self, f.name) == getattr(mapping, f.name) for f in fields(self) if f.name not in SCALING)


SCALING = ("weight_scaling_omega", "weight_scaling_columnwise", "weight_scaling_lr_compensation")


@dataclass(repr=False)
class RuntimeParameter(PrintableMixin):
    """Kept for the scripts that set it: XLA places and types the arrays here, so that none of it has an effect."""

    data_type: RPUDataType = RPUDataType.FLOAT
    on_the_fly_bindings: bool = False
    offload_input: bool = False
    offload_gradient: bool = False
