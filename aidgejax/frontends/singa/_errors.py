"""Errors of this front end: of aidgejax's family, and at once the exceptions that SINGA's users already catch."""

from ...errors import AidgeJaxError, BackendError, CheckpointError, GraphError, SettingError


class SingaError(AidgeJaxError):
    """Base class of the errors of this front end."""


class DoesNotFit(GraphError, SingaError, AssertionError):
    """Tensors whose shapes or dtypes an operation, a layer or an optimizer cannot take."""


class NotATensor(GraphError, SingaError, AssertionError, TypeError):
    """Something that is no Tensor where one is needed."""


class NotFilled(GraphError, SingaError, RuntimeError):
    """A tensor that is read before anybody wrote into it; SINGA ends the process here."""


class NotDifferentiable(GraphError, SingaError, AssertionError, AttributeError):
    """A backward that cannot be: no gradient rule, or the forward ran outside training."""


class BadIndex(GraphError, SingaError, IndexError):
    """An element or a slice that a tensor does not have.  SINGA raises ValueError, as this is too."""


class BadType(SettingError, SingaError, TypeError):
    """An argument of the wrong type."""


class BadSetting(SettingError, SingaError, AssertionError):
    """An argument outside the values that make sense."""


class Unsupported(SettingError, SingaError, NotImplementedError):
    """A method that a subclass has to write, or a part of SINGA that does not exist here."""


class StatesError(CheckpointError, SingaError, AssertionError, KeyError):
    """A states file, or a set of states, that does not belong here."""

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0]) if self.args else ""


class NoDevice(BackendError, SingaError, AssertionError):
    """A device that this machine does not have."""


class NotParticipating(SingaError, AttributeError):
    """Parameters asked of a layer that has not seen an input yet."""
