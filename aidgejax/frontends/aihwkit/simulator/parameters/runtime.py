"""RuntimeParameter: how a tile runs; no part of what it computes."""

from dataclasses import dataclass

from .enums import RPUDataType
from .helpers import _PrintableMixin


@dataclass(repr=False)
class RuntimeParameter(_PrintableMixin):
    """Kept for the scripts that set it: XLA places and types the arrays here, so that none of it has an effect."""

    data_type: RPUDataType = RPUDataType.FLOAT
    on_the_fly_bindings: bool = False
    offload_input: bool = False
    offload_gradient: bool = False
