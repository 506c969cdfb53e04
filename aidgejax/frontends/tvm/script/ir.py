"""tvm.script.ir, usually imported as I: modules."""

from __future__ import annotations

import sys
from typing import Any

from ..relax.function import GlobalVar, IRModule
from ._reader import module_of_class

__all__ = ["GlobalVar", "ir_module", "module_attrs", "module_get_attr", "module_global_infos", "pyfunc"]


def ir_module(mod: type | None = None, check_well_formed: bool = True, **_: Any) -> Any:
    """Decorates a class whose methods are functions of a module; the class becomes the IRModule.

    Raises ScriptError, naming file and line, for what is no TVMScript.
    """
    frame = sys._getframe(1)
    if mod is not None:
        return module_of_class(mod, frame)

    def decorate(cls: type) -> IRModule:
        return module_of_class(cls, sys._getframe(1))

    return decorate


def module_attrs(attrs: dict[str, Any], allow_overwrite: bool = False) -> None:
    """Attributes of the module, in the class.  (They are read from its source.)"""


def module_get_attr(attr_key: str) -> Any:
    """Nothing while the class is executed: attributes are read from its source."""


def module_global_infos(global_infos: dict[str, Any]) -> None:
    """Accepted; there is one device here."""


def pyfunc(func: Any) -> Any:
    """A Python function of a module: out of scope, the function is left alone."""
    return func
