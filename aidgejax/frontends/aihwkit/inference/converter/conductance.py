"""aihwkit.inference.converter.conductance"""

from .....analog.conductance import (
    CustomPairConductanceConverter,
    DualPairConductanceConverter,
    NPairConductanceConverter,
    SingleDeviceConductanceConverter,
    SinglePairConductanceConverter,
)

__all__ = [
    "CustomPairConductanceConverter", "DualPairConductanceConverter", "NPairConductanceConverter",
    "SingleDeviceConductanceConverter", "SinglePairConductanceConverter",
]  # fmt: skip
