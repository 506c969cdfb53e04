"""aihwkit.inference.converter.conductance"""

from .....analog.conductance import (
    BaseConductanceConverter,
    CustomPairConductanceConverter,
    DualPairConductanceConverter,
    NPairConductanceConverter,
    SingleDeviceConductanceConverter,
    SinglePairConductanceConverter,
)

__all__ = [
    "BaseConductanceConverter", "CustomPairConductanceConverter", "DualPairConductanceConverter",
    "NPairConductanceConverter",
    "SingleDeviceConductanceConverter", "SinglePairConductanceConverter",
]  # fmt: skip
