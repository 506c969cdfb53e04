"""What this front end refuses with: aidgejax's errors, and what ONNX Runtime raises in the same place."""

from ....errors import AidgeJaxError, BackendError, NoGradientRule


class TrainingError(AidgeJaxError, RuntimeError):
    """ONNX Runtime's RuntimeError."""


class NoGradient(TrainingError, NoGradientRule):
    """The gradient builder has not been registered."""


class NoDevice(BackendError, TrainingError):
    """A device that this machine, or the backend, does not have."""


class UnknownOptimizer(TrainingError, TypeError):
    """An optimizer of a wrong kind: RuntimeError in the documentation, TypeError in fact."""


class LossArguments(TrainingError, TypeError):
    """A loss that was given more, or fewer, outputs than it takes."""


class NotFound(AidgeJaxError, LookupError):
    """A tensor that the graph does not have."""


class NoFile(AidgeJaxError, FileNotFoundError, RuntimeError):
    """A file or a folder that is not there."""


class UnknownParameter(AidgeJaxError, KeyError):
    """A name that the checkpoint does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


class OutsideOfBase(AidgeJaxError, AttributeError):
    """A block that was called outside `with onnxblock.base(model)`."""


class WrongType(AidgeJaxError, TypeError):
    """A value of a kind that is not taken."""


class OutOfRange(TrainingError, IndexError):
    """requires_grad is empty although an optimizer was asked for: IndexError in ONNX Runtime."""
