"""What this front end refuses: aidgejax's errors, and at once the exceptions that Aidge's users already catch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import AidgeJaxError, BackendError, DataError, GraphError, QueryError, SettingError


class AidgeError(AidgeJaxError, RuntimeError):
    """Aidge raises RuntimeError for nearly everything."""


class GraphViewError(GraphError, AidgeError):
    """A graph that cannot be built, lowered or run as it is."""


class GraphIndexError(GraphViewError, IndexError):
    """An input or an output that a node does not have."""


class TensorError(GraphError, AidgeError):
    """A tensor of the wrong kind, shape or dtype."""


class TensorTypeError(GraphError, AidgeError, TypeError):
    """Something that is no tensor where one is needed."""


class TensorIndexError(GraphError, AidgeError, IndexError):
    """An element that a tensor does not have."""


class MissingBackend(BackendError, AidgeError):
    """No backend was set, or there is none of that name."""


class OrderError(AidgeError):
    """A call that needs another one before it, such as backward before forward."""


class FillerError(GraphError, SettingError, AidgeError):
    """A tensor that a filler cannot fill, or a setting that makes no sense."""


class BadQuery(QueryError, AidgeError):
    """A graph query that cannot be read, or whose root is not what is needed."""


class ProviderError(DataError, AidgeError):
    """Data that cannot be provided."""


class MissingAttribute(AidgeError, AttributeError):
    """An attribute, or a name of Aidge's, that is not here."""


class AttributeTaken(AidgeError):
    """A new attribute under a name that there is already."""


class MissingKey(MissingAttribute, IndexError):
    """An attribute of an operator or a node that is not there; IndexError in Aidge."""


@contextmanager
def as_aidge_errors() -> Iterator[None]:
    """What the core refuses is refused as Aidge does, too: the error keeps its class and is a RuntimeError."""
    try:
        yield
    except AidgeError:
        raise
    except AidgeJaxError as e:
        raise _of_both(type(e))(*e.args) from None


_BOTH: dict[str, type[AidgeJaxError]] = {}


def _of_both(kind: type[AidgeJaxError]) -> type[AidgeJaxError]:
    if kind.__name__ not in _BOTH:
        own = {"__doc__": kind.__doc__, "__module__": kind.__module__}
        _BOTH[kind.__name__] = type(kind.__name__, (kind, AidgeError), own)
    return _BOTH[kind.__name__]
