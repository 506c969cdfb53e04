"""aihwkit.inference.noise.reram"""

from .....analog.noise_reram import ReRamCMONoiseModel, ReRamWan2022NoiseModel

__all__ = ["ReRamCMONoiseModel", "ReRamWan2022NoiseModel"]
