"""aihwkit's exceptions, as members of aidgejax's family."""

from ..errors import AidgeJaxError


class AihwkitException(AidgeJaxError):
    """Base class of aihwkit's errors."""


class ArgumentError(AihwkitException, ValueError):
    """An argument that does not fit, e.g. a model without analog layers."""


class ArgumentTypeError(ArgumentError, TypeError, AttributeError):
    """An argument of another kind than expected; aihwkit lets Python's TypeError or AttributeError through."""


class ConfigError(AihwkitException, ValueError):
    """A field of a config that cannot be, or that this tile does not support; the message names the field."""


class TorchTileConfigError(ConfigError):
    """A setting that the torch tile does not support."""


class ExplicitTileConfigError(ConfigError, RuntimeError):
    """A setting that the explicit tile does not support; aihwkit's C++ tile raises RuntimeError."""


class AnalogBiasConfigError(ConfigError):
    """The bias of a torch tile is always digital."""


class PeripheryConfigError(ConfigError, AssertionError):
    """Bits or batches of the periphery quantizer that cannot be; aihwkit asserts them."""


class ModuleError(AihwkitException, RuntimeError):
    """A layer used in a way, or at a time, that it does not allow."""


class TileError(AihwkitException, ValueError):
    """A tile used in a way that it does not allow."""


class TileModuleError(TileError, RuntimeError):
    """A tile module used in a way that it does not allow."""


class CudaError(AihwkitException, RuntimeError):
    """aihwkit's CUDA library, which is not here: JAX places the arrays."""


class CloudError(AihwkitException, RuntimeError):
    """aihwkit's cloud services, which are not here."""


class FusionExportError(AihwkitException, RuntimeError):
    """An export to the Fusion chip, which is not here."""


class NotProgrammable(ConfigError, TypeError):
    """A tile without a noise model cannot be programmed; aihwkit's floating point tile takes no such argument."""
