"""aihwkit.inference: programming, drift and read noise of analog weights, and drift compensation."""

from ....analog.compensation import BaseDriftCompensation, GlobalDriftCompensation
from ....analog.conductance import (
    BaseConductanceConverter,
    CustomPairConductanceConverter,
    DualPairConductanceConverter,
    NPairConductanceConverter,
    SingleDeviceConductanceConverter,
    SinglePairConductanceConverter,
)
from ....analog.noise_model import BaseNoiseModel
from ....analog.noise_pcm import CustomDriftPCMLikeNoiseModel, PCMLikeNoiseModel, StateIndependentNoiseModel
from ....analog.noise_reram import ReRamCMONoiseModel, ReRamWan2022NoiseModel
from .utils import drift_analog_weights, program_analog_weights

__all__ = [
    "BaseConductanceConverter", "BaseDriftCompensation", "BaseNoiseModel", "CustomDriftPCMLikeNoiseModel",
    "CustomPairConductanceConverter", "DualPairConductanceConverter", "GlobalDriftCompensation",
    "NPairConductanceConverter", "PCMLikeNoiseModel", "ReRamCMONoiseModel", "ReRamWan2022NoiseModel",
    "SingleDeviceConductanceConverter", "SinglePairConductanceConverter", "StateIndependentNoiseModel",
    "drift_analog_weights", "program_analog_weights",
]  # fmt: skip
