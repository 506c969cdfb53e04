"""Fields of a config that it does not have are not set in silence."""

from __future__ import annotations

import warnings
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, ClassVar


class UnknownField(UserWarning):
    """A config was given a field that nothing reads, such as a misspelt one."""


class CheckedFields:
    """Base of the configs: setting what is no field warns UnknownField, and names the fields that are near.

    The original takes any name, so scripts go on.  Names that begin with an underscore are anybody's; a subclass that
    a script derives may hold what it likes, and is warned of near misses alone.
    """

    edits: ClassVar[int] = 0
    """How often a field of any config has been set: who has read a config and finds another number reads it again."""

    def __setattr__(self, name: str, value: Any) -> None:
        CheckedFields.edits += 1
        if name not in self.__dict__ and not name.startswith("_") and not hasattr(type(self), name):
            self._warn_of(name)
        super().__setattr__(name, value)

    def _warn_of(self, name: str) -> None:
        known = [f.name for f in fields(self)]  # type: ignore[arg-type]  # every config is a dataclass
        if name in known:
            return
        near = get_close_matches(name, known, 3, 0.75)
        if not near and not type(self).__module__.startswith("aidgejax."):
            return
        cure = f"did you mean {' or '.join(near)}?" if near else f"its fields are {', '.join(known)}"
        warnings.warn(f"{type(self).__name__} has no field {name!r}, and nothing reads it: {cure}", UnknownField, 3)
