"""Errors of this front end: of aidgejax's family, and what TVM raises in the same place."""

from ...errors import AidgeJaxError, NoGradientRule


class TVMError(AidgeJaxError):
    """TVM's common base: `except TVMError` catches every refusal of this front end, of whatever other kind."""


class InternalError(TVMError, RuntimeError):
    """TVM's `Check failed`: a pass was given a module that it does not take."""


class NoGradient(InternalError, NoGradientRule):
    """Gradient met an operator without a rule."""


class RelaxValueError(TVMError, ValueError):
    """A value, a name or a number of arguments that does not fit."""


class RelaxTypeError(TVMError, TypeError):
    """A dtype, or a kind of argument, that does not fit."""


class ScriptError(TVMError, ValueError):
    """TVMScript that cannot be read; the message names file and line."""


class TirIsOutOfScope(TVMError, AttributeError, ValueError):
    """A function of TIR was to be read as one of Relax, or to be run."""


class NotReady(TVMError, RuntimeError):
    """A call that came before another one that it needs."""


class TensorMismatch(TVMError, ValueError, RuntimeError):
    """An array of another shape or dtype than was declared; TVM raises the one or the other."""


class SymbolicShape(TVMError, ValueError, TypeError):
    """A shape whose sizes must be numbers has a symbol in it."""


class NotWritten(TVMError, NotImplementedError):
    """A method that a class of one's own has to write."""


class WrongBinding(InternalError, ValueError):
    """A binding of parameters or sizes that the function has not."""


class WrongArgumentCount(InternalError, ValueError):
    """A function of a machine called with more or fewer arguments than it has parameters."""


class NoFunction(TVMError, AttributeError, ValueError):
    """A machine has no function of this name."""


class NotBuilt(TVMError, TypeError, ValueError):
    """A machine was given something that no build returned."""


class WrongTargets(InternalError, TypeError):
    """A step was given more or fewer targets than the loss takes."""
