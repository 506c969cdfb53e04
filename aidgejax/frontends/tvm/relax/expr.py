"""The words of a Relax program: variables, calls, constants.  Nothing is computed before a BlockBuilder emits it."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, ClassVar

import numpy as np

from ....dtypes import ONNX_CODES, is_float
from ....graph import Value
from ..._shared.absent_names import AbsentMembers
from .._original_members import MEMBERS
from ..errors import RelaxTypeError, RelaxValueError
from ..runtime import unwrap
from .types import ShapeType, TensorType, TupleType, check_type, size_of

# ---- expressions --------------------------------------------------------------------------------------


class Expr(AbsentMembers):
    """Anything that stands for a tensor or a tuple of them.  Arithmetic and indexing write relax.op calls."""

    absent_members = MEMBERS["Expr"]

    @property
    def ty(self) -> Any:
        """The type, as TVM calls it since 0.25; struct_info is its older name."""
        return self.struct_info

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

    def __floordiv__(self, other: Any) -> Call:
        return floor_divide(self, other)

    def __mod__(self, other: Any) -> Call:
        return floor_mod(self, other)

    def __lt__(self, other: Any) -> Call:
        return less(self, other)

    def __gt__(self, other: Any) -> Call:
        return greater(self, other)

    def __le__(self, other: Any) -> Call:
        return less_equal(self, other)

    def __ge__(self, other: Any) -> Call:
        return greater_equal(self, other)

    def __neg__(self) -> Call:
        return negative(self)

    def astype(self, dtype: Any) -> Call:
        """The same numbers in another dtype."""
        return astype(self, dtype)

    def same_as(self, other: Any) -> bool:
        return self is other

    @property
    def expr_ty(self) -> Any:
        """Its type."""
        return self.struct_info

    span = None

    def __getitem__(self, index: int) -> Expr:
        return TupleGetItem(self, index)

    def __iter__(self) -> Any:
        raise RelaxTypeError("an expression cannot be iterated over; take its fields by number, e.g. t[0], t[1]")


class Var(Expr):
    """A named tensor, or a tuple of them: a parameter of a function, or what a BlockBuilder has emitted."""

    def __init__(
        self, name: Any = None, ty: Any = None, span: Any = None, *, name_hint: Any = None, struct_info: Any = None
    ) -> None:
        """name_hint, struct_info: TVM's older words for name and ty."""
        self.name_hint = name if name_hint is None else name_hint
        self.struct_info = check_type(ty if struct_info is None else struct_info, f"the type of Var {self.name_hint!r}")

    @property
    def name(self) -> str:
        return self.name_hint

    @property
    def type(self) -> Any:
        return self.struct_info

    def __repr__(self) -> str:
        return f"{self.name_hint}: {self.struct_info}"


class DataflowVar(Var):
    """A Var of a dataflow block."""


class Constant(Expr):
    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    @property
    def value(self) -> np.ndarray:
        """Its numbers, as TVM calls them since 0.26; `data` is the older name."""
        return self.data

    @property
    def struct_info(self) -> TensorType:
        return TensorType(self.data.shape, self.data.dtype.name)


class Tuple(Expr):
    def __init__(self, fields: Iterable[Any]) -> None:
        self.fields = tuple(fields)

    @property
    def struct_info(self) -> TupleType:
        return TupleType(f.struct_info for f in self.fields)


class TupleGetItem(Expr):
    """Field `index` of a tuple."""

    def __init__(self, tuple_value: Expr, index: int) -> None:
        self.tuple_value, self.index = tuple_value, operator.index(index)

    @property
    def struct_info(self) -> Any:
        return self.tuple_value.struct_info.fields[self.index]


class ShapeExpr(Expr):
    """A shape, where reshape and broadcast_to take one."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = tuple(size_of(d) for d in values)

    @property
    def struct_info(self) -> ShapeType:
        return ShapeType(self.values)


class MatchCast(Expr):
    """A tensor, said to be of a type; what is known already is checked when it is emitted."""

    def __init__(self, value: Expr, ty: TensorType) -> None:
        self.value, self.struct_info = value, check_type(ty, "the type of match_cast")


class Op(str):
    """The name of an operator, as calls have it.  attributes: what every operator has, by name."""

    attributes: ClassVar[dict[str, Any]] = {}

    @staticmethod
    def get(op_name: str) -> Op:
        """The operator of this name."""
        return Op(op_name)

    def get_attr(self, attr_name: str) -> Any:
        """The attribute of this name; None where there is none."""
        return self.attributes.get(attr_name)

    @property
    def name(self) -> str:
        return str(self)


class Applied:
    """How a call is written: the operator's name in relax.op, and its arguments by name."""

    def __init__(self, name: str, arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.name, self.arguments, self.defaults = name, dict(arguments), dict(defaults)


class Call(Expr):
    """An operator applied.  write(op, *args) writes its nodes; args: graph Values, tuples of them, plain numbers."""

    def __init__(self, op: str, args: Sequence[Any], write: Callable[..., Any]) -> None:
        self.op, self.args, self.write = Op(op), tuple(args), write
        self.applied: Applied | None = None


def const(value: Any, dtype: str | None = None) -> Constant:
    """A constant; a Python number without a dtype is float32 or int32, as in TVM."""
    if dtype is None:
        dtype = {bool: "bool", int: "int32", float: "float32"}.get(type(value))
    return Constant(np.asarray(unwrap(value), dtype))


# ---- how operators are made -----------------------------------------------------------------------------


def relax_operator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function of relax.op: the call that it returns knows how it was written."""
    file = function.__module__.rsplit(".", 1)[-1].partition("_")[0]
    return _recorded(function, f"{file}." if file in ("nn", "grad", "image") else "")


def _recorded(function: Callable[..., Any], prefix: str) -> Callable[..., Any]:
    signature = inspect.signature(function)
    defaults = {k: p.default for k, p in signature.parameters.items() if p.default is not p.empty}

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        call = function(*args, **kwargs)
        if isinstance(call, Call):
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            call.applied = Applied(prefix + function.__name__, bound.arguments, defaults)
        return call

    return called


def one_tensor(name: str, onnx: str, **attrs: Any) -> Callable[[Any], Call]:
    """The operator relax.<name> of one tensor: one node of the core operator `onnx`."""

    def of(x: Any) -> Call:
        return Call(f"relax.{name}", (x,), lambda op, x: getattr(op, onnx)(x, **attrs))

    def of_data(data: Any) -> Call:
        return of(data)

    function = of_data if name.startswith("nn.") else of  # TVM's words for the operand

    prefix, _, function.__name__ = name.rpartition(".")
    function.__qualname__ = function.__name__
    function.__doc__ = f"{onnx} of x."
    return _recorded(function, prefix + "." if prefix else "")


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
    return _recorded(function, "")


# The operators that expressions write by themselves; relax.op exports them.
add = two_tensors("add", "Add")
subtract = two_tensors("subtract", "Sub")
multiply = two_tensors("multiply", "Mul")
divide = two_tensors("divide", "Div")
power = two_tensors("power", "Pow")
negative = one_tensor("negative", "Neg")
greater = two_tensors("greater", "Greater")
greater_equal = two_tensors("greater_equal", "GreaterOrEqual")
less = two_tensors("less", "Less")
less_equal = two_tensors("less_equal", "LessOrEqual")


@relax_operator
def floor_mod(x1: Any, x2: Any) -> Call:
    """x1 - x2 floor(x1 / x2), which has the sign of x2."""
    return Call("relax.floor_mod", (x1, x2), _floor_mod)


@relax_operator
def floor_divide(x1: Any, x2: Any) -> Call:
    """floor(x1 / x2), of whole numbers too."""

    def write(op: Any, a: Any, b: Any) -> Value:
        return op.Floor(op.Div(a, b)) if _is_float(a, b) else op.Div(op.Sub(a, op.Mod(a, b)), b)

    return Call("relax.floor_divide", (x1, x2), write)


def _floor_mod(op: Any, a: Any, b: Any) -> Value:
    return op.Sub(a, op.Mul(op.Floor(op.Div(a, b)), b)) if _is_float(a, b) else op.Mod(a, b)


def _is_float(*operands: Any) -> bool:
    return any(is_float(v.dtype) for v in operands if hasattr(v, "dtype"))


@relax_operator
def astype(x: Any, dtype: Any) -> Call:
    """The same numbers in another dtype."""
    if str(dtype) not in ONNX_CODES:
        raise RelaxValueError(f"relax.astype knows no dtype {str(dtype)!r}; the dtypes are {', '.join(ONNX_CODES)}")
    return Call("relax.astype", (x,), lambda op, x: op.Cast(x, to=ONNX_CODES[str(dtype)]))


ABSENT = {
    **dict.fromkeys(("Function", "GlobalVar"), "take it from tvm.relax"),
    **dict.fromkeys(
        ("Binding", "BindingBlock", "DataflowBlock", "SeqExpr", "VarBinding"),
        "function.body holds the blocks and bindings, function.graph the graph",
    ),
}
