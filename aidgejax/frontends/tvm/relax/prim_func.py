"""Functions of TIR in a module: kept as they are written, and never run."""

from __future__ import annotations

from typing import Any

from ..errors import TirIsOutOfScope

CURE = (
    "functions of TIR are out of scope here, where XLA compiles: a module keeps them as they are written; to compute "
    "with one, write it with operators of relax (R.add, R.matmul, ...)"
)


class PrimFunc:
    """tvm.tir.PrimFunc: the source of a function of TIR, which a module prints again.

    Whatever asks for its parameters, for its graph or for a call gets TirIsOutOfScope, which says what to do.
    """

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def script(self, *_: Any, **__: Any) -> str:
        """Its source."""
        return self.source

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise TirIsOutOfScope(f"function {self.name!r} cannot be called: {CURE}")

    def __getattr__(self, name: str) -> Any:
        raise TirIsOutOfScope(f"function {self.name!r} has no {name!r}: {CURE}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrimFunc) and self.source == other.source

    def __hash__(self) -> int:
        return hash(self.source)

    def __repr__(self) -> str:
        return f"<PrimFunc {self.name!r}>"
