"""aihwkit.inference.noise.hermes"""

from .....analog.noise_pcm import HermesNoiseModel

__all__ = ["HermesNoiseModel"]
