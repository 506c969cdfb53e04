"""aihwkit.simulator.noise_models: where inference noise and drift compensation were before aihwkit.inference."""

from ..inference import (
    BaseDriftCompensation,
    BaseNoiseModel,
    GlobalDriftCompensation,
    PCMLikeNoiseModel,
    SinglePairConductanceConverter,
)

__all__ = [
    "BaseDriftCompensation", "BaseNoiseModel", "GlobalDriftCompensation", "PCMLikeNoiseModel",
    "SinglePairConductanceConverter",
]  # fmt: skip
