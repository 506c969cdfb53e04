"""Every error that aidgejax raises on purpose: one family, so that `except AidgeJaxError` is enough.

A message says what happened, where (graph, node, operator, tensor), what was got and what was expected,
and what to do about it.  A note at its end names the section of assets/errors.md that says more: the error's
class, or the name that `about` gave it.
"""

from __future__ import annotations

import re
from typing import Any, Self, TypeVar

LONGEST = 2000  # characters of a message
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str, longest: int = LONGEST) -> str:
    """Text from outside as a terminal may see it: control characters escaped, the middle of what is long left out."""
    if len(text) > longest:
        head, tail = longest * 2 // 3, longest // 4
        text = f"{text[:head]} ... {len(text) - head - tail} characters ... {text[-tail:]}"
    return _UNPRINTABLE.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


E = TypeVar("E", bound="AidgeJaxError")


def about(topic: str, error: E) -> E:
    """The error, its note naming this section of assets/errors.md instead of its class's."""
    error.topic = topic
    error.__notes__ = [f"more: python -m aidgejax explain {topic}"]
    return error


class AidgeJaxError(Exception):
    """Base class of aidgejax's exceptions.  Its text has at most 2,000 characters, and none that a terminal obeys."""

    topic: str  # of `aidgejax explain`

    def __new__(cls, *args: Any, **named: Any) -> Self:
        error = super().__new__(cls, *args, **named)
        return about(next(c.__name__ for c in cls.__mro__ if c.__module__ == __name__), error)

    def __str__(self) -> str:
        return shown(super().__str__())


class GraphError(AidgeJaxError, ValueError):
    """A graph, or a tensor that is fed to it, is not what its operators need."""


class UnknownOperator(GraphError, LookupError):
    """The graph uses operators that aidgejax does not implement; the message lists all of them."""


class NoGradientRule(GraphError):
    """A gradient would have to pass an operator that has no rule."""


class QueryError(GraphError):
    """A graph query (see passes/pattern.py) that cannot be read."""


class DataError(AidgeJaxError, ValueError):
    """Training data that does not fit: labels, shapes, dtypes, batch sizes."""


class SettingError(AidgeJaxError, ValueError):
    """A hyper-parameter or an option outside the values that make sense."""


class NonFiniteError(AidgeJaxError, ArithmeticError):
    """Training met a loss, a gradient or a weight that is NaN or infinite.

    state: the last one that was sound; step: the update that failed, counted from 1; history: the records up to it.
    """

    def __init__(self, message: str, state: object = None, step: int = 0, history: list[dict] | None = None) -> None:
        super().__init__(message)
        self.state, self.step, self.history = state, step, history or []


class ModelFileError(AidgeJaxError, ValueError):
    """A model file that cannot be read or written."""


class CheckpointError(AidgeJaxError, ValueError):
    """A checkpoint that is damaged, or belongs to something else."""


class BackendError(AidgeJaxError, RuntimeError):
    """A backend or a device that is not there."""
