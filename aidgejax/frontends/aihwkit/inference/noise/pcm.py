"""aihwkit.inference.noise.pcm"""

from .....analog.noise_pcm import CustomDriftPCMLikeNoiseModel, PCMLikeNoiseModel

__all__ = ["CustomDriftPCMLikeNoiseModel", "PCMLikeNoiseModel"]
