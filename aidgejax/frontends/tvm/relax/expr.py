"""The words of a Relax program: types, variables, calls.  Nothing is computed before a BlockBuilder emits it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ....graph import Value
from ..errors import RelaxTypeError, RelaxValueError
from ..runtime import unwrap

# ---- types --------------------------------------------------------------------------------------------


class TensorType:
    """The type of a tensor.  shape: sizes, or names (a str, a tir.Var) for symbolic sizes."""

    def __init__(
        self, shape: Sequence[Any] | None = None, dtype: str = "float32", vdevice: Any = None, ndim: int = -1
    ) -> None:
        if shape is None and ndim < 0:
            raise RelaxValueError(
                "a tensor here needs a shape: give every size as a number or a name, "
                "e.g. TensorType(('n', 3), 'float32')"
            )
        if shape is None:
            shape = [f"dim{k}" for k in range(ndim)]
        self.shape = tuple(_size(d) for d in getattr(shape, "values", shape))
        self.dtype = str(dtype) if str(dtype) == "bfloat16" else np.dtype(dtype).name

    @property
    def ndim(self) -> int:
        return len(self.shape)

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


class TupleType:
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


def _size(d: Any) -> int | str:
    if isinstance(d, int | np.integer):
        return int(d)
    return d if isinstance(d, str) else getattr(d, "name", None) or str(d)


def check_type(type_: Any, what: str) -> Any:
    if not isinstance(type_, TensorType | TupleType):
        raise RelaxTypeError(
            f"{what} should be a TensorType (TensorStructInfo) or a TupleType, got {type(type_).__name__}"
        )
    return type_


# ---- expressions --------------------------------------------------------------------------------------


class Expr:
    """Anything that stands for a tensor or a tuple of them.  Arithmetic and indexing write relax.op calls."""

    def __add__(self, other: Any) -> Call:
        return add(self, other)

    def __radd__(self, other: Any) -> Call:
        return add(other, self)

    def __sub__(self, other: Any) -> Call:
        return subtract(self, other)

    def __rsub__(self, other: Any) -> Call:
        return subtract(other, self)

    def __mul__(self, other: Any) -> Call:
        return multiply(self, other)

    def __rmul__(self, other: Any) -> Call:
        return multiply(other, self)

    def __truediv__(self, other: Any) -> Call:
        return divide(self, other)

    def __rtruediv__(self, other: Any) -> Call:
        return divide(other, self)

    def __pow__(self, other: Any) -> Call:
        return power(self, other)

    def __neg__(self) -> Call:
        return Call("relax.negative", (self,), lambda op, x: op.Neg(x))

    def __getitem__(self, index: int) -> Expr:
        return TupleGetItem(self, index)

    def __iter__(self) -> Any:
        raise RelaxTypeError("an expression cannot be iterated over; take its fields by number, e.g. t[0], t[1]")


class Var(Expr):
    """A named tensor, or a tuple of them: a parameter of a function, or what a BlockBuilder has emitted."""

    def __init__(self, name_hint: str, type: Any = None, span: Any = None) -> None:  # noqa: A002
        self.name_hint = name_hint
        self.struct_info = check_type(type, f"the type of Var {name_hint!r}")

    @property
    def type(self) -> Any:
        return self.struct_info

    ty = type

    def __repr__(self) -> str:
        return f"{self.name_hint}: {self.struct_info}"


class DataflowVar(Var):
    """A Var of a dataflow block."""


class Constant(Expr):
    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    @property
    def struct_info(self) -> TensorType:
        return TensorType(self.data.shape, self.data.dtype.name)


class Tuple(Expr):
    def __init__(self, fields: Iterable[Any]) -> None:
        self.fields = tuple(fields)


class TupleGetItem(Expr):
    """Field `index` of a tuple."""

    def __init__(self, tuple_value: Expr, index: int) -> None:
        self.tuple_value, self.index = tuple_value, operator.index(index)


class ShapeExpr(Expr):
    """A shape, where reshape and broadcast_to take one."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = tuple(_size(d) for d in values)


class Call(Expr):
    """An operator applied.  write(op, *args) writes its nodes; args: graph Values, tuples of them, plain numbers."""

    def __init__(self, op: str, args: Sequence[Any], write: Callable[..., Any]) -> None:
        self.op, self.args, self.write = op, tuple(args), write


def const(value: Any, dtype: str | None = None) -> Constant:
    """A constant; a Python number without a dtype is float32 or int32, as in TVM."""
    if dtype is None:
        dtype = {bool: "bool", int: "int32", float: "float32"}.get(type(value))
    return Constant(np.asarray(unwrap(value), dtype))


# ---- how most operators are made ------------------------------------------------------------------------


def one_tensor(name: str, onnx: str, **attrs: Any) -> Callable[[Any], Call]:
    """The operator relax.<name> of one tensor: one node of the core operator `onnx`."""

    def function(x: Any) -> Call:
        return Call(f"relax.{name}", (x,), lambda op, x: getattr(op, onnx)(x, **attrs))

    function.__name__ = function.__qualname__ = name.rsplit(".", 1)[-1]
    function.__doc__ = f"{onnx} of x."
    return function


def two_tensors(name: str, onnx: str, **attrs: Any) -> Callable[[Any, Any], Call]:
    """The same for two tensors that broadcast.  Two dtypes are refused, as in TVM."""

    def write(op: Any, a: Any, b: Any) -> Value:
        if isinstance(a, Value) and isinstance(b, Value) and a.dtype != b.dtype:
            raise RelaxTypeError(
                f"relax.{name} takes two tensors of one dtype, got {a} and {b}; convert one with relax.op.astype"
            )
        return getattr(op, onnx)(a, b, **attrs)

    def function(x1: Any, x2: Any) -> Call:
        return Call(f"relax.{name}", (x1, x2), write)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{onnx} of x1 and x2."
    return function


# The operators that arithmetic of expressions writes; relax.op exports them.
add = two_tensors("add", "Add")
subtract = two_tensors("subtract", "Sub")
multiply = two_tensors("multiply", "Mul")
divide = two_tensors("divide", "Div")
power = two_tensors("power", "Pow")
