"""The types of Relax: tensors, tuples of them, shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import RelaxTypeError, RelaxValueError


class Sizes(tuple[Any, ...]):
    """A shape as a type has it: sizes, or names of symbolic ones."""

    __slots__ = ()

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(self)


class Type:
    """What types have in common."""

    span = None

    def same_as(self, other: Any) -> bool:
        return self is other

    def is_base_of(self, derived: Any) -> bool:
        """Is everything of the other type of this one as well?  (A symbolic size is every size.)"""
        return bool(self == derived)

    def script(self, *_: Any, **__: Any) -> str:
        """As TVMScript."""
        return str(self)

    def show(self, *_: Any, **__: Any) -> None:
        print(self)


class TensorType(Type):
    """The type of a tensor.  shape: sizes, or names (a str, a tir.Var) for symbolic sizes.

    is_known: whether a shape was given; otherwise its sizes have names that mean nothing elsewhere.
    """

    def __init__(
        self, shape: Sequence[Any] | None = None, dtype: str = "float32", vdevice: Any = None, ndim: int = -1
    ) -> None:
        if shape is None and ndim < 0:
            raise RelaxValueError(
                "a tensor here needs a shape: give every size as a number or a name, "
                "e.g. TensorType(('n', 3), 'float32')"
            )
        self.is_known = shape is not None
        if shape is None:
            shape = [f"dim{k}" for k in range(ndim)]
        self.shape = Sizes(size_of(d) for d in getattr(shape, "values", shape))
        self.vdevice = vdevice
        self.dtype = str(dtype) if str(dtype) == "bfloat16" else np.dtype(dtype).name

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def is_base_of(self, derived: Any) -> bool:
        """Is every tensor of the other type of this one as well?"""
        if not isinstance(derived, TensorType) or (self.dtype, self.ndim) != (derived.dtype, derived.ndim):
            return False
        return not self.is_known or all(
            a == b or isinstance(a, str) for a, b in zip(self.shape, derived.shape, strict=True)
        )

    @property
    def is_static(self) -> bool:
        return all(isinstance(d, int) for d in self.shape)

    @property
    def is_float(self) -> bool:
        return "float" in self.dtype

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorType) and (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.shape)) + ("," if len(self.shape) == 1 else "")
        return f'R.Tensor(({inner}), dtype="{self.dtype}")'

    __repr__ = __str__


class TupleType(Type):
    """The type of a tuple of tensors and tuples."""

    def __init__(self, fields: Iterable[TensorType | TupleType]) -> None:
        self.fields = tuple(fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TupleType) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    def __str__(self) -> str:
        return f"R.Tuple({', '.join(map(str, self.fields))})"

    __repr__ = __str__


class ShapeType(Type):
    """The type of a shape."""

    def __init__(self, values: Sequence[Any] | None = None, ndim: int = -1) -> None:
        """values: sizes or their names; or how many there are, which names them."""
        given = values if values is not None else [f"dim{k}" for k in range(max(ndim, 0))]
        self.values = tuple(size_of(d) for d in given)

    @property
    def ndim(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeType) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __str__(self) -> str:
        return f"R.Shape([{', '.join(map(str, self.values))}])"

    __repr__ = __str__


def size_of(d: Any) -> int | str:
    """A size as a number, or the name or formula of a symbolic one.  d: also a tir.Var, an IntImm, a TypeVar."""
    if isinstance(d, int | np.integer):
        return int(d)
    return d if isinstance(d, str) else getattr(d, "name", None) or getattr(d, "__name__", None) or str(d)


def check_type(type_: Any, what: str) -> Any:
    if not isinstance(type_, TensorType | TupleType | ShapeType):
        raise RelaxTypeError(
            f"{what} should be a TensorType (TensorStructInfo) or a TupleType, got {type(type_).__name__}"
        )
    return type_


def with_sizes(type_: Any, numbers: Mapping[str, int]) -> Any:
    """The type with numbers in the place of some symbolic sizes."""
    if isinstance(type_, TupleType):
        return TupleType(with_sizes(t, numbers) for t in type_.fields)
    if isinstance(type_, ShapeType):
        return ShapeType([numbers.get(str(d), d) for d in type_.values])
    return TensorType([numbers.get(str(d), d) for d in type_.shape], type_.dtype) if type_.is_known else type_
