"""MappingParameter: how a logical weight is put into tiles."""

from dataclasses import dataclass

from .helpers import _PrintableMixin


@dataclass(repr=False)
class MappingParameter(_PrintableMixin):
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
