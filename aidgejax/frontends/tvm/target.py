"""tvm.target: the platform that a module is built for."""

from __future__ import annotations

from typing import Any, ClassVar

from .._shared.absent_names import AbsentMembers
from ._original_members import MEMBERS
from .errors import RelaxValueError

PLATFORMS = {
    "llvm": "cpu",
    "c": "cpu",
    "cpu": "cpu",
    "cuda": "cuda",
    "gpu": "cuda",
    "rocm": "rocm",
    "tpu": "tpu",
    "metal": "METAL",
}


class Kind(str):
    """The kind of a target: its name."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return str.__str__(self)


class Target(AbsentMembers):
    """tvm.target.Target: names the platform that a module is built for."""

    absent_members = MEMBERS["Target"]
    _open: ClassVar[list[Target]] = []

    def __init__(self, target: Any, host: Any = None) -> None:
        self.kind = Kind(
            str(target.get("kind", "llvm") if isinstance(target, dict) else target).split()[0].removeprefix("nvidia/")
        )
        if self.kind not in PLATFORMS:
            raise RelaxValueError(f"no target {self.kind!r}; the targets are {', '.join(PLATFORMS)}")

    @property
    def platform(self) -> str:
        return PLATFORMS[self.kind]

    def __enter__(self) -> Target:
        self._open.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        self._open.pop()

    @staticmethod
    def current(allow_none: bool = True) -> Target | None:
        """The target of the innermost `with Target(...):`, for which is built what names no other.

        Raises RelaxValueError where there is none and allow_none is False.
        """
        if Target._open:
            return Target._open[-1]
        if allow_none:
            return None
        raise RelaxValueError("Target context required: put this inside `with tvm.target.Target(name):`")

    def __str__(self) -> str:
        return self.kind


__all__ = ["Target"]
