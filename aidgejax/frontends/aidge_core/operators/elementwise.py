"""Element by element: functions of one tensor, of two, and of any number."""

from __future__ import annotations

from typing import Any

from ..dtypes import to_numpy_dtype
from .definition import FLT_MAX, NO_SEED, define
from .rounding import AWAY, rounded

ONE_INPUT = {
    "ReLU": "Relu",
    "Sigmoid": "Sigmoid",
    "Tanh": "Tanh",
    "Exp": "Exp",
    "Ln": "Log",
    "Sqrt": "Sqrt",
    "Reciprocal": "Reciprocal",
    "Neg": "Neg",
    "Abs": "Abs",
    "Erf": "Erf",
    "Sin": "Sin",
    "Cos": "Cos",
    "Tan": "Tan",
    "Asin": "Asin",
    "Acos": "Acos",
    "Atan": "Atan",
    "Sinh": "Sinh",
    "Cosh": "Cosh",
    "Asinh": "Asinh",
    "Acosh": "Acosh",
    "Atanh": "Atanh",
    "Floor": "Floor",
    "Ceil": "Ceil",
    "Sign": "Sign",
    "Softplus": "Softplus",
    "Softsign": "Softsign",
    "Mish": "Mish",
    "Not": "Not",
    "GlobalMaxPooling": "GlobalMaxPool",
    "NonZero": "NonZero",
    "Size": "Size",
    "SELU": "Selu",
    "SiLU": "Swish",
}
TWO_INPUTS = {
    k: k
    for k in (
        *("Add", "Sub", "Mul", "Div", "Pow", "MatMul"),
        *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Xor"),
    )
}
ANY_NUMBER = ("Sum", "Max", "Min", "Mean")


def _one_input(name: str, core: str) -> None:
    @define(name)
    def emit(c: Any, data_input: Any) -> Any:
        return c.named(core, data_input)


def _two_inputs(name: str, core: str) -> None:
    @define(name, rank=None)
    def emit(c: Any, data_input_0: Any, data_input_1: Any) -> Any:
        return c.named(core, data_input_0, data_input_1)


def _any_number(name: str) -> None:
    @define(name, rank=None, counts="nb_inputs")
    def emit(c: Any, *data_input: Any) -> Any:
        return c.named(name, *data_input)


for _name, _core in ONE_INPUT.items():
    _one_input(_name, _core)
for _name, _core in TWO_INPUTS.items():
    _two_inputs(_name, _core)
for _name in ANY_NUMBER:
    _any_number(_name)


@define("Identity")
def identity(c: Any, data_input: Any, *, name: str = "", producer: bool = False) -> Any:
    return c.named("Identity", data_input)


@define("LeakyReLU")
def leaky_relu(c: Any, data_input: Any, *, negative_slope: float = 0.0) -> Any:
    return c.named("LeakyRelu", data_input, alpha=negative_slope)


def _slopes(nb_channels: int = 1, /) -> dict[str, Any]:
    return {"slope": (1,) if nb_channels == 1 else (nb_channels, 1, 1)}


@define("PReLU", parameters=("slope",), weights=_slopes)
def prelu(c: Any, data_input: Any, slope: Any) -> Any:
    """x where x > 0, else slope * x; one learned slope, or one per channel of an image (name_slope)."""
    return c.named("PRelu", data_input, slope)


@define("ELU")
def elu(c: Any, data_input: Any, *, alpha: float = 1.0) -> Any:
    return c.named("Elu", data_input, alpha=alpha)


@define("GeLU")
def gelu(c: Any, data_input: Any, *, approximate: str = "none") -> Any:
    return c.named("Gelu", data_input, approximate=approximate)


@define("HardSigmoid")
def hard_sigmoid(c: Any, data_input: Any, *, name: str = "", alpha: float = 0.2, beta: float = 0.5) -> Any:
    return c.named("HardSigmoid", data_input, alpha=alpha, beta=beta)


@define("HardSwish")
def hard_swish(c: Any, data_input: Any, *, alpha: float = 1 / 6, beta: float = 0.5) -> Any:
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return c.named("HardSwish", data_input)
    return c.named("Mul", data_input, c.step("HardSigmoid", data_input, alpha=alpha, beta=beta))


@define("Softmax")
def softmax(c: Any, data_input: Any, *, axis: int) -> Any:
    return c.named("Softmax", data_input, axis=axis)


@define("LogSoftmax")
def log_softmax(c: Any, data_input: Any, *, axis: int) -> Any:
    return c.named("LogSoftmax", data_input, axis=axis)


@define("Hardmax")
def hardmax(c: Any, data_input: Any, *, axis: int) -> Any:
    return c.named("Hardmax", data_input, axis=axis)


@define("Heaviside")
def heaviside(c: Any, data_input: Any, *, value: float) -> Any:
    return c.named("Heaviside", data_input, value=float(value))


@define("Clip")
def clip(
    c: Any,
    data_input: Any,
    min_empty_tensor: Any = None,
    max_empty_tensor: Any = None,
    *,
    name: str = "",
    min: float = -FLT_MAX,
    max: float = FLT_MAX,
) -> Any:
    low = (None if min <= -FLT_MAX else float(min)) if min_empty_tensor is None else min_empty_tensor
    high = (None if max >= FLT_MAX else float(max)) if max_empty_tensor is None else max_empty_tensor
    return c.named("Clip", data_input, low, high)


@define("Round")
def round_(c: Any, data_input: Any, *, name: str = "", rounding_mode: Any = AWAY) -> Any:
    """To integers, in one of Aidge's ten RoundingModes."""
    return rounded(c, data_input, rounding_mode, c.named)


@define("Mod", rank=None)
def mod(c: Any, data_input_0: Any, data_input_1: Any, *, name: str = "", fmod: bool = False) -> Any:
    return c.named("Mod", data_input_0, data_input_1, fmod=int(fmod))


@define("BitShift", rank=None)
def bit_shift(c: Any, data_input_0: Any, data_input_1: Any, *, direction: Any = "right", rounding: bool = False) -> Any:
    towards = getattr(direction, "name", str(direction)).upper()
    if not rounding or towards != "RIGHT":
        return c.named("BitShift", data_input_0, data_input_1, direction=towards)
    half = c.step("BitShift", c.step("BitShift", 1, data_input_1, direction="LEFT"), 1, direction="RIGHT")
    return c.named("BitShift", c.step("Add", data_input_0, half), data_input_1, direction=towards)


@define("Cast")
def cast(c: Any, data_input: Any, *, target_type: Any) -> Any:
    return c.named("Cast", data_input, to=c.onnx_dtype(to_numpy_dtype(target_type)))


@define("CastLike")
def cast_like(c: Any, data_input: Any, like: Any) -> Any:
    return c.named("CastLike", data_input, like)


@define("Where", rank=None)
def where(c: Any, condition: Any, data_input_1: Any, data_input_2: Any) -> Any:
    return c.named("Where", condition, data_input_1, data_input_2)


@define("Dropout", outputs=("data_output", "mask_output"))
def dropout(
    c: Any,
    data_input: Any,
    probability_: Any = None,
    training_mode_: Any = None,
    *,
    probability: float = 0.5,
    training_mode: bool = True,
    seed: int = NO_SEED,
) -> Any:
    attrs = {} if seed == NO_SEED else {"seed": float(seed)}
    ratio = float(probability) if probability_ is None else probability_
    mode = bool(training_mode) if training_mode_ is None else training_mode_
    return c.named("Dropout", data_input, ratio, mode, outputs=2, **attrs)
