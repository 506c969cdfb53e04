"""aihwkit.inference.utils: programming and drift of a whole model."""

from __future__ import annotations

from typing import Any

from ..exceptions import ArgumentError
from ..nn.modules.base import AnalogLayerBase


def _layers(model: Any) -> list[AnalogLayerBase]:
    """Every layer that holds tiles, each once."""
    if not hasattr(model, "modules"):
        raise ArgumentError(f"programming and drift are of a model, got a {type(model).__name__}")
    found = {id(m): m for m in model.modules() if isinstance(m, AnalogLayerBase) and not m.IS_CONTAINER}
    return list(found.values())


def program_analog_weights(model: Any, noise_model: Any) -> None:
    """Programming noise on every tile of the model; noise_model None: that of each layer's config.

    ModuleError in training mode.
    """
    for layer in _layers(model):
        layer.program_analog_weights(noise_model)


def drift_analog_weights(model: Any, t_inference: float = 0.0) -> None:
    """Every tile as it is t_inference seconds after programming.  ModuleError in training mode."""
    for layer in _layers(model):
        layer.drift_analog_weights(t_inference)


__all__ = ["drift_analog_weights", "program_analog_weights"]
