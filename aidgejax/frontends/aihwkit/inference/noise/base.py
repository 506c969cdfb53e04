"""aihwkit.inference.noise.base"""

from .....analog.noise_model import BaseNoiseModel

__all__ = ["BaseNoiseModel"]
