"""The table of operators of com.microsoft that are read, and how a function is put there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....graph import Value

CONTRIB: dict[str, Callable[..., Any]] = {}
SHAPED: set[str] = set()  # those that ask for the shape of an input


class Unread(Exception):
    """What cannot be read, though its operator is known: the text says why."""


def contrib(*names: str, shaped: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what these operators mean.  shaped: the function asks for the shape of an input."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            CONTRIB[name] = function
            if shaped:
                SHAPED.add(name)
        return function

    return register


def rank_of(x: Value, what: str) -> int:
    if x.rank is None:
        raise Unread(f"how many axes its {what} has is not known; give the shapes of the model's inputs")
    return x.rank
