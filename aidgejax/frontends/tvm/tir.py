"""tvm.tir, as far as shapes and attributes need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Var:
    """A symbolic size: `TensorType((tir.Var("n", "int64"), 3))`."""

    name: str
    dtype: str = "int64"

    def __add__(self, other: Any) -> Var:
        return Var(f"{self.name} + {_shown(other)}", self.dtype)

    def __radd__(self, other: Any) -> Var:
        return Var(f"{_shown(other)} + {self.name}", self.dtype)

    def __sub__(self, other: Any) -> Var:
        return Var(f"{self.name} - {_shown(other)}", self.dtype)

    def __mul__(self, other: Any) -> Var:
        return Var(f"{self.name} * {_shown(other)}", self.dtype)

    def __rmul__(self, other: Any) -> Var:
        return Var(f"{_shown(other)} * {self.name}", self.dtype)

    def __floordiv__(self, other: Any) -> Var:
        return Var(f"{self.name} // {_shown(other)}", self.dtype)


def _shown(size: Any) -> str:
    return getattr(size, "name", None) or str(size)


@dataclass(frozen=True)
class IntImm:
    """An integer attribute: `mod.with_attr("param_num", tir.IntImm("int64", 2))`."""

    dtype: str
    value: int

    def __int__(self) -> int:
        return self.value

    __index__ = __int__


@dataclass(frozen=True)
class FloatImm:
    """A number of a dtype: `T.float32(0.5)` in a script."""

    dtype: str
    value: float

    def __float__(self) -> float:
        return self.value
