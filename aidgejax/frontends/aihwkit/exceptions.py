"""aihwkit.exceptions: one family with aidgejax's own."""

from ...analog.errors import (
    AihwkitException,
    AnalogBiasConfigError,
    ArgumentError,
    ArgumentTypeError,
    CloudError,
    ConfigError,
    CudaError,
    ExplicitTileConfigError,
    FusionExportError,
    ModuleError,
    PeripheryConfigError,
    TileError,
    TileModuleError,
    TorchTileConfigError,
)
from ...errors import AidgeJaxError

__all__ = [
    "AidgeJaxError", "AihwkitException", "AnalogBiasConfigError", "ArgumentError", "ArgumentTypeError", "CloudError",
    "ConfigError", "CudaError", "ExplicitTileConfigError", "FusionExportError", "ModuleError", "PeripheryConfigError",
    "TileError", "TileModuleError", "TorchTileConfigError",
]  # fmt: skip
