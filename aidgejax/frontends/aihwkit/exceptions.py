"""aihwkit.exceptions: one family with aidgejax's own."""

from ...analog.settings import (
    AihwkitException,
    AnalogBiasConfigError,
    ConfigError,
    PeripheryConfigError,
    TorchTileConfigError,
)
from ...errors import AidgeJaxError


class ArgumentError(AihwkitException, ValueError):
    """An argument that does not fit, e.g. a model without analog layers."""


class TileError(AihwkitException, ValueError):
    """A tile used in a way that it does not allow."""


__all__ = [
    "AidgeJaxError",
    "AihwkitException",
    "AnalogBiasConfigError",
    "ArgumentError",
    "ConfigError",
    "PeripheryConfigError",
    "TileError",
    "TorchTileConfigError",
]
