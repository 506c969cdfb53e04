"""What a function that users call says of a first argument of another kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from .errors import SettingError
from .graph import Graph

F = TypeVar("F", bound=Callable[..., Any])


def takes_graph(function: F) -> F:
    """A function whose first argument is a Graph: SettingError says what makes one of whatever else it is given."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else kwargs.get("graph")
        if given is not None and not isinstance(given, Graph):
            what = f"{function.__name__} was given {str(given)[:60]!r}"
            raise SettingError(f"{what}, expected a Graph: aidgejax.onnxio.read makes one of a file")
        return function(*args, **kwargs)

    return cast(F, checked)
