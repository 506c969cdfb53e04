"""What a front end says of modules that its original has and it has not, where they are imported by their path."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from ...errors import about
from .absent_names import AbsentImport


class AbsentModules(MetaPathFinder):
    """The last finder that Python asks: it raises for the modules that it knows, and knows nothing of others."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.known = dict(known)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self.known:
            short = fullname.removeprefix("aidgejax.frontends.")
            raise about("absent-name", AbsentImport(f"module {short} is not in aidgejax: {self.known[fullname]}"))
        return None


def refuse_modules(package: str, known: Mapping[str, str]) -> None:
    """`import package.name` raises AbsentImport with known[name]: what to use instead, or why it is not there."""
    full = {f"{package}.{name}": advice for name, advice in known.items()}
    for finder in sys.meta_path:
        if isinstance(finder, AbsentModules):
            finder.known.update(full)
            return
    sys.meta_path.append(AbsentModules(full))
