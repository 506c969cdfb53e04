"""onnxruntime.training.onnxblock.blocks: one node each, most of them."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from onnx import helper

from .._errors import TrainingError, WrongType
from .model_accessor import accessor
from .onnxblock import Block


class _Unary(Block):
    _op = ""

    def build(self, input_name: str) -> str:
        return self._node(self._op, input_name)


class _Binary(Block):
    _op = ""

    def build(self, input_name1: str, input_name2: str) -> str:
        return self._node(self._op, input_name1, input_name2)


class Add(_Binary):
    """a + b"""

    _op = "Add"


class Sub(_Binary):
    """a - b"""

    _op = "Sub"


class Mul(_Binary):
    """a * b"""

    _op = "Mul"


class Div(_Binary):
    """a / b"""

    _op = "Div"


class Sigmoid(_Unary):
    _op = "Sigmoid"


class Log(_Unary):
    _op = "Log"


class Neg(_Unary):
    _op = "Neg"


class Abs(_Unary):
    _op = "Abs"


class Pow(Block):
    """x ** exponent"""

    def __init__(self, exponent: float) -> None:
        super().__init__()
        self._exponent = exponent

    def build(self, pow_input_name: str) -> str:
        return self._node("Pow", pow_input_name, self._constant(self._exponent, "pow_exponent"))


class _Reduce(Block):
    _op = ""

    def __init__(self, keepdims: bool = True) -> None:
        super().__init__()
        self._keepdims = int(keepdims)

    def build(self, input_name: str) -> str:
        return self._node(self._op, input_name, keepdims=self._keepdims)


class ReduceMean(_Reduce):
    """The mean of all elements."""

    _op = "ReduceMean"


class ReduceSum(_Reduce):
    """The sum of all elements."""

    _op = "ReduceSum"


class Constant(Block):
    """A number, as a tensor of shape [1]."""

    def __init__(self, value_float: float) -> None:
        super().__init__()
        if not isinstance(value_float, Real):
            raise WrongType(f"Constant takes a number, got {value_float!r}")
        self._value: float = float(value_float)

    def build(self) -> str:
        return self._constant([self._value], "constant")


class SequenceConstruct(Block):
    """A sequence of tensors."""

    def build(self, *sequence_input_names: str) -> str:
        return self._node("SequenceConstruct", *sequence_input_names)


class ReduceAllL2(Block):
    """The Euclidean norm of all tensors taken as one vector, f[]."""

    def build(self, *reduce_node_input_names: str) -> str:
        squares = [self._node("ReduceSum", self._node("Mul", n, n), keepdims=0) for n in reduce_node_input_names]
        return self._node("Sqrt", squares[0] if len(squares) == 1 else self._node("Sum", *squares))


class Clip(Block):
    """x, at least clip_min and at most clip_max; None leaves that side open."""

    def __init__(self, clip_min: float | None = None, clip_max: float | None = None) -> None:
        super().__init__()
        if clip_min is not None and clip_max is not None and clip_min > clip_max:
            raise TrainingError(f"Clip: clip_min={clip_min!r} is above clip_max={clip_max!r}")
        self._min, self._max = clip_min, clip_max

    def build(self, clip_input_name: str) -> str:
        bounds = ["" if b is None else self._constant(b, "clip") for b in (self._min, self._max)]
        while bounds and not bounds[-1]:
            bounds.pop()
        return self._node("Clip", clip_input_name, *bounds)


class PassThrough(Block):
    """The input itself: its name, or for several the tuple of their names."""

    def build(self, *input_names: str) -> str | tuple[str, ...]:
        return input_names[0] if len(input_names) == 1 else input_names


class InputLike(Block):
    """A new graph input of the type and shape of a tensor of the graph."""

    def __init__(self, like: str) -> None:
        super().__init__()
        self._like = like

    def build(self, input_name: str | None = None) -> str:
        return self._input(input_name or accessor().fresh("input"), self._info(self._like))


class LabelEncoder(Block):
    """ai.onnx.ml's LabelEncoder: keys to values; what is no key becomes the default of the values' kind."""

    def __init__(
        self,
        default_float: float = 0.0,
        default_int64: int = -1,
        default_string: str = "_Unused",
        keys_floats: list[float] | None = None,
        keys_int64s: list[int] | None = None,
        keys_strings: list[str] | None = None,
        values_floats: list[float] | None = None,
        values_int64s: list[int] | None = None,
        values_strings: list[str] | None = None,
    ) -> None:
        super().__init__()
        self._keys = self._only("keys", keys_floats, keys_int64s, keys_strings)
        self._values = self._only("values", values_floats, values_int64s, values_strings)
        (_, keys), (kind, values) = self._keys, self._values
        if len(keys) != len(values):
            raise TrainingError(
                f"LabelEncoder needs as many values as keys, got {len(keys)} keys and {len(values)} values"
            )
        defaults = {"float": float(default_float), "int64": int(default_int64), "string": default_string}
        self._default = {f"default_{kind}": defaults[kind]}

    @staticmethod
    def _only(what: str, floats: Any, int64s: Any, strings: Any) -> tuple[str, list[Any]]:
        given = [(k, list(v)) for k, v in (("float", floats), ("int64", int64s), ("string", strings)) if v is not None]
        if len(given) != 1:
            names = ", ".join(f"{what}_{k}s" for k in ("float", "int64", "string"))
            raise TrainingError(f"LabelEncoder needs one of {names}, and was given {len(given)}")
        return given[0]

    def build(self, label_encoder_input_name: str) -> str:
        opened = accessor()
        if not any(i.domain == "ai.onnx.ml" for i in opened.model.opset_import):
            opened.model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
        attrs: dict[str, Any] = {
            f"{what}_{kind}s": held for what, (kind, held) in (("keys", self._keys), ("values", self._values))
        }
        return self._node("LabelEncoder", label_encoder_input_name, domain="ai.onnx.ml", **(attrs | self._default))


class Cast(Block):
    """x in another element type, as ONNX numbers it."""

    def __init__(self, to: int) -> None:
        super().__init__()
        if not isinstance(to, Integral):
            raise WrongType(f"Cast takes the number of an element type, onnx.TensorProto.FLOAT say; got {to!r}")
        self._to: int = int(to)

    def build(self, cast_input_name: str) -> str:
        return self._node("Cast", cast_input_name, to=self._to)


class Linear(Block):
    """alpha * x W^T + beta * b, with random weights W of shape [out_features, in_features]."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, alpha: float = 1.0, beta: float = 1.0
    ) -> None:
        super().__init__()
        if min(in_features, out_features) < 1:
            raise TrainingError(
                f"Linear: in_features={in_features!r}, out_features={out_features!r}; expected at least 1"
            )
        self._shape, self._bias, self._alpha, self._beta = (out_features, in_features), bias, alpha, beta

    def build(self, linear_input_name: str) -> str:
        bound = 1 / np.sqrt(self._shape[1])
        draw = np.random.default_rng()
        weight = self._constant(draw.uniform(-bound, bound, self._shape), "linear.weight")
        bias = [self._constant(draw.uniform(-bound, bound, self._shape[:1]), "linear.bias")] if self._bias else []
        return self._node("Gemm", linear_input_name, weight, *bias, alpha=self._alpha, beta=self._beta, transB=1)
