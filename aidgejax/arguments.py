"""What a function that users call says of arguments that it does not have, or that are of another kind."""

from __future__ import annotations

import difflib
import inspect
import operator
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from .errors import SettingError
from .graph import Graph

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


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


def checked_call(function: F) -> F:
    """A function that looks at its arguments before it begins: SettingError for a name that it does not have (with the
    nearest that it has), for one too few or too many, and for anything but a Graph where its annotation says Graph."""
    signature = inspect.signature(function)
    graphs = [k for k, p in signature.parameters.items() if p.annotation in ("Graph", Graph)]

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = _bound(function.__name__, signature, args, kwargs)
        for k in graphs:
            if k in given and not isinstance(given[k], Graph):
                what = f"{function.__name__} was given {str(given[k])[:60]!r}"
                kind = "" if k == "graph" else f" as {k}"
                raise SettingError(f"{what}{kind}, expected a Graph: aidgejax.onnxio.read makes one of a file")
        return function(*args, **kwargs)

    return cast(F, checked)


def checked_fields(cls: C) -> C:
    """A dataclass whose construction looks at the names of its arguments, as `checked_call` does."""
    made: Any = cls
    original = made.__init__
    signature = inspect.signature(cls)

    @wraps(original)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        _bound(cls.__name__, signature, args, kwargs)
        original(self, *args, **kwargs)

    made.__init__ = checked
    return cls


def _bound(name: str, signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """{parameter: what it was given}"""
    there = list(signature.parameters)
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        for k in kwargs:
            if k not in there:
                near = difflib.get_close_matches(k, there, 1, 0.7)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise SettingError(f"{name} takes no {k!r}{hint}; it takes {', '.join(there)}") from None
        raise SettingError(f"{name}: {error}; it takes {', '.join(there) or 'nothing'}") from None


def whole_number(name: str, value: Any, least: int) -> int:
    """A setting that has to be a whole number, `least` or more; NumPy's integers are taken.  Raises SettingError."""
    try:
        found = operator.index(value)
    except TypeError:
        found = least - 1
    if isinstance(value, bool) or found < least:
        raise SettingError(f"{name} is {value!r}: expected a whole number, {least} or more")
    return found
