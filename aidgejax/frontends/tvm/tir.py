"""tvm.tir, as far as shapes and attributes need it: symbolic sizes, formulas of them, and numbers of a dtype."""

from __future__ import annotations

import ast
from typing import Any, ClassVar, Self


class Var(str):
    """A symbolic size, or a formula of some: `TensorType((tir.Var("n", "int64"), 3))`.  It is its own name."""

    __slots__ = ("dtype",)
    dtype: str

    def __new__(cls, name: str, dtype: str = "int64", span: Any = None) -> Var:
        made = super().__new__(cls, name)
        made.dtype = str(dtype)
        return made

    @property
    def name(self) -> str:
        return str(self)

    @property
    def ty(self) -> str:
        """Its dtype."""
        return self.dtype

    span = None

    def same_as(self, other: Any) -> bool:
        return self is other or self == other

    def __str__(self) -> str:
        return str.__str__(self)

    def _with(self, operation: str, other: Any, reflected: bool = False) -> Var:
        left, right = (other, self) if reflected else (self, other)
        return Var(ast.unparse(ast.parse(f"({_shown(left)}) {operation} ({_shown(right)})", mode="eval")), self.dtype)

    def __add__(self, other: Any) -> Var:
        return self._with("+", other)

    def __radd__(self, other: Any) -> Var:
        return self._with("+", other, True)

    def __sub__(self, other: Any) -> Var:
        return self._with("-", other)

    def __rsub__(self, other: Any) -> Var:
        return self._with("-", other, True)

    def __mul__(self, other: Any) -> Var:  # type: ignore[override]  # a formula, where str would repeat itself
        return self._with("*", other)

    def __rmul__(self, other: Any) -> Var:  # type: ignore[override]  # as above
        return self._with("*", other, True)

    def __floordiv__(self, other: Any) -> Var:
        return self._with("//", other)

    def __rfloordiv__(self, other: Any) -> Var:
        return self._with("//", other, True)

    def __mod__(self, other: Any) -> Var:
        return self._with("%", other)


def _shown(size: Any) -> str:
    return str(size) if isinstance(size, str) else str(int(size))


class _Immediate:
    """What numbers of a dtype have in common.  number: the class of Python that they derive from, too."""

    number: ClassVar[Any]
    dtype: str
    span = None
    value: Any

    def __new__(cls, dtype: str, value: Any, span: Any = None) -> Self:
        made: Any = cls.number.__new__(cls, cls.number(value))
        made.dtype, made.value = str(dtype), cls.number(value)
        return made

    @property
    def ty(self) -> str:
        """Its dtype."""
        return self.dtype

    def same_as(self, other: Any) -> bool:
        return self is other

    def __str__(self) -> str:
        return f"T.{self.dtype}({self.value})"

    __repr__ = __str__


class IntImm(_Immediate, int):
    """An integer of a dtype: `mod.with_attr("param_num", tir.IntImm("int64", 2))`."""

    number = int


class FloatImm(_Immediate, float):
    """A number of a dtype: `T.float32(0.5)` in a script."""

    number = float
