"""aihwkit.inference.noise.custom"""

from .....analog.noise_pcm import StateIndependentNoiseModel

__all__ = ["StateIndependentNoiseModel"]
