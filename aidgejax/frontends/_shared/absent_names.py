"""What a front end says of names that its original has and it has not, where they are imported and where they are read.

def __getattr__(name):            # at the end of a module
    raise absent_name(__name__, name, ABSENT, default="...")
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from ...errors import AidgeJaxError, about

IMPORT_FROM = dis.opmap["IMPORT_FROM"]


class AbsentImport(AidgeJaxError, ImportError):
    """`from module import name` of a name that is not there."""


class AbsentName(AidgeJaxError, AttributeError):
    """`module.name` of a name that is not there."""


class AbsentMembers:
    """A base of classes: members that the original's class has and this one has not say what to use instead.

    absent_members: {name: what to use}.  absent_error: an AttributeError, which is raised for any name.
    """

    __slots__ = ()
    absent_members: ClassVar[Mapping[str, str]] = {}
    absent_error: ClassVar[type[AidgeJaxError]] = AbsentName

    def __getattr__(self, name: str) -> Any:
        kind = type(self)
        if name in kind.absent_members:
            raise kind.absent_error(f"{kind.__name__}.{name} is not in aidgejax: {kind.absent_members[name]}")
        raise kind.absent_error(f"{kind.__name__!r} object has no attribute {name!r}")


def is_import_from(depth: int = 2) -> bool:
    """Is the frame `depth` calls up executing `from module import name`?  It asks the module as `module.name` does."""
    frame = sys._getframe(depth)
    return frame.f_code.co_code[frame.f_lasti] == IMPORT_FROM


def absent_name(module: str, name: str, known: Mapping[str, str], depth: int = 3) -> AidgeJaxError:
    """The error for `name`: what to use instead, or why it is not there, is known[name].

    An ImportError where the name is imported, an AttributeError where it is read, so that hasattr works.
    """
    short = module.removeprefix("aidgejax.frontends.")
    if name in known:
        message = f"{short}.{name} is not in aidgejax: {known[name]}"
    else:
        message = f"module {short!r} has no attribute {name!r}"
    return about("absent-name", (AbsentImport if is_import_from(depth) else AbsentName)(message))
