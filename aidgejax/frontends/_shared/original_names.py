"""What a front end says of every public name that its original has and it has not.

A front end hands over the whole list of its original's public names, module by module, and one sentence for each
module; what it has itself is never asked for, so that the list cannot go out of date.  A module's own dictionary of
absent names (see absent_names) says more of single ones.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from .absent_modules import refuse_modules
from .absent_names import AbsentImport, absent_name


def refuse_original_names(package: str, names: Mapping[str, str], why: Mapping[str, str]) -> None:
    """Names and modules of the original that are not in `package` say on import what to use instead.

    names: {module below package, "" for itself: its public names, separated by blanks}.  why: {the beginning of a
    module's path: the sentence}; the longest that fits is taken.
    """

    def reason(path: str) -> str:
        return why[max((w for w in why if not w or f"{path}.".startswith(f"{w}.")), key=len)]

    missing = {}
    for module, text in names.items():
        if _is_here(f"{package}.{module}".rstrip(".")):
            known = {name: reason(f"{module}.{name}".lstrip(".")) for name in text.split()}
            _answer(importlib.import_module(f"{package}.{module}".rstrip(".")), known)
        else:
            missing[module] = reason(module)
    refuse_modules(package, missing)


def _is_here(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except (AbsentImport, ModuleNotFoundError):
        return False


def _answer(module: Any, known: dict[str, str]) -> None:
    """Give the module a __getattr__ for these names and for those of its own ABSENT, which says more of them."""
    known = known | vars(module).get("ABSENT", {})

    def answer(name: str) -> Any:
        raise absent_name(module.__name__, name, known)

    module.__getattr__ = answer
