"""aihwkit.simulator.noise_models: where inference noise and drift compensation were before aihwkit.inference."""

from .. import inference
from ..inference import *  # noqa: F403  every name of it, as the original's

__all__ = inference.__all__
