"""tvm.transform, also tvm.ir.transform: passes of modules one after the other, and the context that they run in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..relax.function import IRModule
from ..relax.transform import Pass, Sequential


class PassContext(AbstractContextManager["PassContext"]):
    """`with PassContext(opt_level=3):`.  XLA decides what is optimized."""

    _open = threading.local()

    def __init__(
        self,
        opt_level: int = 2,
        required_pass: Sequence[str] | None = None,
        disabled_pass: Sequence[str] | None = None,
        instruments: Any = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.opt_level, self.config = opt_level, dict(config or {})
        self.required_pass, self.disabled_pass = list(required_pass or ()), list(disabled_pass or ())

    def __enter__(self) -> PassContext:
        self._open.stack = [*getattr(self._open, "stack", ()), self]
        return self

    def __exit__(self, *_: Any) -> None:
        self._open.stack = self._open.stack[:-1]

    @staticmethod
    def current() -> PassContext:
        """The innermost context that is open, or one of defaults."""
        stack = getattr(PassContext._open, "stack", ())
        return stack[-1] if stack else PassContext()


class ModulePass(Pass):
    """A pass that is a function of (module, context)."""

    def __init__(self, function: Callable[[IRModule, PassContext], IRModule], name: str) -> None:
        self._function, self.name = function, name

    def transform_module(self, mod: IRModule) -> IRModule:
        return self._function(mod, PassContext.current())


def module_pass(
    pass_func: Any = None,
    opt_level: int | None = None,
    name: str | None = None,
    required: Sequence[str] | None = None,
    traceable: bool = False,
) -> Any:
    """Makes a pass of a function of (module, context), or of a class that has `transform_module(module, context)`."""

    def made(thing: Any) -> Any:
        if not isinstance(thing, type):
            return ModulePass(thing, name or thing.__name__)

        class OfClass(ModulePass):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(thing(*args, **kwargs).transform_module, name or thing.__name__)

        OfClass.__name__, OfClass.__doc__ = thing.__name__, thing.__doc__
        return OfClass

    return made if pass_func is None else made(pass_func)


__all__ = ["ModulePass", "Pass", "PassContext", "Sequential", "module_pass"]
