"""Aidge's operators, each in a line or two of the core's.  Formulas and gradients stand in aidgejax/ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._errors import GraphViewError
from .dtypes import to_numpy_dtype
from .operator import Attr, Data, InputCategory, OperatorType, OptionalData, OptionalParam, Param

TYPES: dict[str, OperatorType] = {}
X = ("data_input", Data)
FLT_MAX = 3.4028234663852886e38
NO_SEED = -9223372036854775808
SAME_RANK = "same"


def define(
    name: str,
    *inputs: Any,
    outputs: tuple[str, ...] = ("data_output",),
    rank: Any = "same",
    variadic: bool = False,
    **defaults: Any,
):
    def register(emit):
        TYPES[name] = OperatorType(name, emit, inputs or (X,), outputs, defaults, variadic, rank)
        return emit

    return register


def optional(*names: str) -> tuple[tuple[str, InputCategory], ...]:
    return tuple((n, OptionalData) for n in names)


def ints(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


# ---- one to one ---------------------------------------------------------------------------------------

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
    "Identity": "Identity",
    "GlobalAveragePooling": "GlobalAveragePool",
    "GlobalMaxPooling": "GlobalMaxPool",
    "NonZero": "NonZero",
    "Size": "Size",
}
TWO_INPUTS = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "MatMul",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Equal",
    "And",
    "Or",
    "Xor",
)
ANY_NUMBER = ("Sum", "Max", "Min", "Mean")


def one_to_one(core: str):
    return lambda c, a, *inputs: c.named(core, *inputs)


for _name, _core in ONE_INPUT.items():
    define(_name)(one_to_one(_core))
for _name in TWO_INPUTS:
    define(_name, ("data_input_0", Data), ("data_input_1", Data), rank=None)(one_to_one(_name))
for _name in ANY_NUMBER:
    define(_name, X, variadic=True, rank=None)(one_to_one(_name))


# ---- activations --------------------------------------------------------------------------------------


@define("LeakyReLU", negative_slope=0.0)
def leaky_relu(c, a, x):
    return c.named("LeakyRelu", x, alpha=a.negative_slope)


@define("PReLU", X, ("slope", Param))
def prelu(c, a, x, slope):
    return c.named("PRelu", x, slope)


@define("ELU", alpha=1.0)
def elu(c, a, x):
    return c.named("Elu", x, alpha=a.alpha)


@define("SELU")
def selu(c, a, x):
    return c.named("Selu", x)


@define("GeLU", approximate="none")
def gelu(c, a, x):
    return c.named("Gelu", x, approximate=a.approximate)


@define("SiLU")
def silu(c, a, x):
    return c.named("Swish", x)


@define("HardSigmoid", alpha=0.2, beta=0.5)
def hard_sigmoid(c, a, x):
    return c.named("HardSigmoid", x, alpha=a.alpha, beta=a.beta)


@define("HardSwish", alpha=1 / 6, beta=0.5)
def hard_swish(c, a, x):
    if abs(a.alpha - 1 / 6) < 1e-6 and a.beta == 0.5:
        return c.named("HardSwish", x)
    return c.named("Mul", x, c.step("HardSigmoid", x, alpha=a.alpha, beta=a.beta))


@define("Softmax", axis=None)
def softmax(c, a, x):
    return c.named("Softmax", x, axis=a.axis)


@define("LogSoftmax", axis=None)
def log_softmax(c, a, x):
    return c.named("LogSoftmax", x, axis=a.axis)


@define("Hardmax", axis=-1)
def hardmax(c, a, x):
    return c.named("Hardmax", x, axis=a.axis)


@define("Heaviside", value=0.0)
def heaviside(c, a, x):
    return c.named("Heaviside", x, value=float(a.value))


@define("Clip", X, *optional("min_empty_tensor", "max_empty_tensor"), min=-FLT_MAX, max=FLT_MAX)
def clip(c, a, x, low, high):
    low = (None if a.min <= -FLT_MAX else float(a.min)) if low is None else low
    high = (None if a.max >= FLT_MAX else float(a.max)) if high is None else high
    return c.named("Clip", x, low, high)


ROUNDING = {"half_away_from_zero": "away", "half_to_even": "even", "half_even": "even"}


@define("Round", rounding_mode="half_away_from_zero")
def round_(c, a, x):
    mode = getattr(a.rounding_mode, "name", str(a.rounding_mode)).lower()
    if mode not in ROUNDING:
        raise GraphViewError(f"Round has no rounding_mode {a.rounding_mode!r}; it has {', '.join(ROUNDING)}")
    return c.named("Round", x, halves=ROUNDING[mode])


@define("Mod", ("data_input_0", Data), ("data_input_1", Data), rank=None, fmod=False)
def mod(c, a, x, y):
    return c.named("Mod", x, y, fmod=int(a.fmod))


@define("BitShift", ("data_input_0", Data), ("data_input_1", Data), rank=None, direction="right", rounding=False)
def bit_shift(c, a, x, y):
    return c.named("BitShift", x, y, direction=str(a.direction).upper())


# ---- linear -------------------------------------------------------------------------------------------


@define("FC", X, ("weight", Param), ("bias", OptionalParam), rank=2)
def fc(c, a, x, w, b):
    """x W^T + b; everything behind the batch is taken as features."""
    if c.rank(x) != 2:
        x = c.step("Flatten", x, axis=1)
    return c.named("Gemm", x, w, b, transB=1)


@define("Gemm", X, ("weight", Param), ("bias", OptionalParam), rank=2, alpha=1.0, beta=1.0, transA=False, transB=False)
def gemm(c, a, x, w, b):
    return c.named("Gemm", x, w, b, alpha=a.alpha, beta=a.beta, transA=int(a.transA), transB=int(a.transB))


def convolution(c, a, x, w, b, pads=None, core="Conv", group=1):
    attrs = {"strides": ints(a.stride_dims), "dilations": ints(a.dilation_dims), "kernel_shape": ints(a.kernel_dims)}
    if group != 1:
        attrs["group"] = group
    if pads is not None and any(pads):
        attrs["pads"] = ints(pads)
    return c.named(core, x, w, b, **attrs)


def _convolutions() -> None:
    inputs = (X, ("weight", Param), ("bias", OptionalParam))
    for d in (1, 2, 3):
        window = {"stride_dims": (1,) * d, "dilation_dims": (1,) * d, "kernel_dims": ()}
        padded = {**window, "padding_dims": (0,) * (2 * d)}
        define(f"Conv{d}D", *inputs, **window)(convolution)
        define(f"PaddedConv{d}D", *inputs, **padded)(lambda c, a, x, w, b: convolution(c, a, x, w, b, a.padding_dims))
        define(f"ConvDepthWise{d}D", *inputs, nb_channels=0, **window)(
            lambda c, a, x, w, b: convolution(c, a, x, w, b, group=c.size(w, 0))
        )
        define(f"PaddedConvDepthWise{d}D", *inputs, nb_channels=0, **padded)(
            lambda c, a, x, w, b: convolution(c, a, x, w, b, a.padding_dims, group=c.size(w, 0))
        )
        define(f"ConvTranspose{d}D", *inputs, **window)(
            lambda c, a, x, w, b: convolution(c, a, x, w, b, core="ConvTranspose")
        )
        define(f"PaddedConvTranspose{d}D", *inputs, **padded)(
            lambda c, a, x, w, b: convolution(c, a, x, w, b, a.padding_dims, core="ConvTranspose")
        )


_convolutions()


# ---- pooling ------------------------------------------------------------------------------------------


def window_of(a: Any, pads: Any = None) -> dict[str, Any]:
    found = {
        "kernel_shape": ints(a.kernel_dims),
        "strides": ints(a.stride_dims),
        "dilations": ints(a.dilations),
        "ceil_mode": int(a.ceil_mode),
    }
    if pads is not None and any(pads):
        found["pads"] = ints(pads)
    return found


def max_pooling(c, a, x, pads=None):
    return c.named("MaxPool", x, storage_order=int(a.storage_order), outputs=2, **window_of(a, pads))


def average_pooling(c, a, x, pads=None):
    attrs = window_of(a, pads)
    if pads is not None:
        attrs["count_include_pad"] = int(a.count_include_pad)
    return c.named("AveragePool", x, **attrs)


def lp_pooling(c, a, x):
    return c.named("LpPool", x, p=int(a.p), **window_of(a))


def _pools() -> None:
    for d in (1, 2, 3):
        window = {"stride_dims": (1,) * d, "dilations": (1,) * d, "kernel_dims": (), "ceil_mode": False}
        pads = {"padding_dims": (0,) * (2 * d)}
        two = ("data_output", "indices_output")
        define(f"MaxPooling{d}D", outputs=two, storage_order=False, **window)(max_pooling)
        define(f"PaddedMaxPooling{d}D", outputs=two, storage_order=False, **window, **pads)(
            lambda c, a, x: max_pooling(c, a, x, a.padding_dims)
        )
        define(f"AvgPooling{d}D", rounding_mode="half_away_from_zero", **window)(average_pooling)
        define(f"PaddedAvgPooling{d}D", rounding_mode="half_away_from_zero", count_include_pad=True, **window, **pads)(
            lambda c, a, x: average_pooling(c, a, x, a.padding_dims)
        )
        define(f"LpPooling{d}D", p=2, **window)(lp_pooling)


_pools()


# ---- normalisation ------------------------------------------------------------------------------------


def batch_norm(c, a, x, scale, shift, mean, variance):
    return c.named(
        "BatchNormalization",
        x,
        scale,
        shift,
        mean,
        variance,
        epsilon=a.epsilon,
        momentum=a.momentum,
        training_mode=int(a.training_mode),
    )


for _d in (1, 2, 3):
    define(
        f"BatchNorm{_d}D",
        X,
        ("scale", Param),
        ("shift", Param),
        ("mean", Attr),
        ("variance", Attr),
        epsilon=1e-5,
        momentum=0.9,
        training_mode=False,
    )(batch_norm)


@define("InstanceNorm", X, ("scale", Param), ("bias", Param), epsilon=1e-5)
def instance_norm(c, a, x, scale, bias):
    return c.named("InstanceNormalization", x, scale, bias, epsilon=a.epsilon)


@define("LayerNorm", X, ("scale", Param), ("bias", Param), axis=-1, epsilon=1e-5)
def layer_norm(c, a, x, scale, bias):
    return c.named("LayerNormalization", x, scale, bias, axis=a.axis, epsilon=a.epsilon)


@define("GroupNorm", X, ("scale", Param), ("bias", Param), num_groups=1, epsilon=1e-5)
def group_norm(c, a, x, scale, bias):
    return c.named("GroupNormalization", x, scale, bias, num_groups=a.num_groups, epsilon=a.epsilon)


@define("LRN", size=1, alpha=1e-4, beta=0.75, bias=1.0)
def lrn(c, a, x):
    return c.named("LRN", x, size=a.size, alpha=a.alpha, beta=a.beta, bias=a.bias)


@define(
    "Dropout",
    X,
    *optional("probability"),
    outputs=("data_output", "mask_output"),
    probability=0.5,
    training_mode=True,
    seed=NO_SEED,
)
def dropout(c, a, x, p):
    attrs = {} if a.seed == NO_SEED else {"seed": float(a.seed)}
    return c.named("Dropout", x, float(a.probability) if p is None else p, bool(a.training_mode), outputs=2, **attrs)


# ---- shapes -------------------------------------------------------------------------------------------


@define("Flatten", rank=2, axis=1)
def flatten(c, a, x):
    return c.named("Flatten", x, axis=a.axis)


@define("Reshape", X, *optional("shape"), rank=None, shape=(), allowzero=False)
def reshape(c, a, x, shape):
    return c.named("Reshape", x, ints(a.shape) if shape is None else shape, allowzero=int(a.allowzero))


@define("Transpose", output_dims_order=())
def transpose(c, a, x):
    return c.named("Transpose", x, perm=ints(a.output_dims_order)) if a.output_dims_order else c.named("Transpose", x)


@define("Squeeze", X, *optional("axes_input"), rank=None, axes=())
def squeeze(c, a, x, axes):
    return c.named("Squeeze", x, (ints(a.axes) or None) if axes is None else axes)


@define("Unsqueeze", X, *optional("axes_input"), rank=None, axes=())
def unsqueeze(c, a, x, axes):
    return c.named("Unsqueeze", x, ints(a.axes) if axes is None else axes)


@define("Concat", X, variadic=True, axis=0)
def concat(c, a, *xs):
    return c.named("Concat", *xs, axis=a.axis)


@define("Split", X, *optional("split"), rank="same", axis=0, split=())
def split(c, a, x, sizes):
    sizes = (ints(a.split) or None) if sizes is None else sizes
    more = {"num_outputs": c.outputs} if sizes is None else {}
    return c.named("Split", x, sizes, axis=a.axis, outputs=c.outputs, **more)


@define("Slice", X, *optional("starts", "ends", "axes", "steps"), starts=(), ends=(), axes=(), steps=())
def slice_(c, a, x, *given):
    own = [ints(v) or None for v in (a.starts, a.ends, a.axes, a.steps)]
    return c.named("Slice", x, *[g if g is not None else o for g, o in zip(given, own, strict=True)])


PAD_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "wrap": "wrap"}


@define("Pad", pads=(), mode="constant", constant_value=0.0, axes=())
def pad(c, a, x):
    mode = getattr(a.mode, "name", str(a.mode)).lower()
    if mode not in PAD_MODES:
        raise GraphViewError(f"Pad has no mode {a.mode!r}; it has {', '.join(PAD_MODES)}")
    pads = ints(a.pads)
    axes = ints(a.axes) or tuple(range(-(len(pads) // 2), 0))
    value = float(a.constant_value) if mode == "constant" and a.constant_value else None
    return c.named("Pad", x, pads, value, axes, **({} if mode == "constant" else {"mode": mode}))


@define("Expand", X, ("shape", Data), rank=None)
def expand(c, a, x, shape):
    return c.named("Expand", x, shape)


@define("Tile", X, ("repeats", Data))
def tile(c, a, x, repeats):
    return c.named("Tile", x, repeats)


@define("Stack", X, *optional("max_elements"), rank=None, max_elements=0)
def stack(c, a, x, count):
    """Called once per element in Aidge; here a new leading axis."""
    return c.named("Unsqueeze", x, (0,))


@define("Unfold2D", rank=3, kernel_dims=(), stride_dims=(1, 1), dilation_dims=(1, 1))
def unfold(c, a, x):
    return c.named(
        "Unfold", x, kernel_shape=ints(a.kernel_dims), strides=ints(a.stride_dims), dilations=ints(a.dilation_dims)
    )


@define("Fold2D", rank=4, output_dims=(), kernel_dims=(), stride_dims=(1, 1), dilation_dims=(1, 1))
def fold(c, a, x):
    return c.named(
        "Col2Im",
        x,
        ints(a.output_dims),
        ints(a.kernel_dims),
        strides=ints(a.stride_dims),
        dilations=ints(a.dilation_dims),
    )


@define("DepthToSpace", block_size=1, mode="CRD")
def depth_to_space(c, a, x):
    return c.named("DepthToSpace", x, blocksize=a.block_size, mode=a.mode)


@define("Trilu", X, *optional("k"), upper=True)
def trilu(c, a, x, k):
    return c.named("Trilu", x, k, upper=int(a.upper))


@define("Shape", rank=1, start=0, end=-1)
def shape(c, a, x):
    """end counts inclusively, -1 the last axis; ONNX's is exclusive."""
    return c.named("Shape", x, start=a.start, **({} if a.end == -1 else {"end": a.end + 1}))


@define("ConstantOfShape", ("shape", Data), rank=None, value=0.0)
def constant_of_shape(c, a, shape):
    value = a.value if hasattr(a.value, "__array__") else np.float32(a.value)
    return c.named("ConstantOfShape", shape, value=np.asarray(value).reshape(1))


@define("Cast", target_type="float32")
def cast(c, a, x):
    return c.named("Cast", x, to=c.onnx_dtype(to_numpy_dtype(a.target_type)))


@define("CastLike", X, ("like", Data))
def cast_like(c, a, x, like):
    return c.named("CastLike", x, like)


# ---- picking ------------------------------------------------------------------------------------------


def indices_of(c, a, given):
    if given is not None:
        return given
    return c.constant("indices", np.asarray(a.indices, np.int64).reshape(ints(a.gathered_shape)))


def _gathers() -> None:
    gathered = {"indices": (), "gathered_shape": ()}
    define("Gather", X, *optional("indices"), rank=None, axis=0, **gathered)(
        lambda c, a, x, i: c.named("Gather", x, indices_of(c, a, i), axis=a.axis)
    )
    define("GatherElements", X, *optional("indices"), axis=0, **gathered)(
        lambda c, a, x, i: c.named("GatherElements", x, indices_of(c, a, i), axis=a.axis)
    )
    define("GatherND", X, *optional("indices"), rank=None, batch_dims=0, **gathered)(
        lambda c, a, x, i: c.named("GatherND", x, indices_of(c, a, i), batch_dims=a.batch_dims)
    )


_gathers()


@define("Scatter", X, ("indices", Data), ("updates", Data), axis=0, reduction="none")
def scatter(c, a, x, indices, updates):
    return c.named("ScatterElements", x, indices, updates, axis=a.axis, reduction=str(a.reduction).lower())


@define("OneHot", X, rank=None, depth=0, values=(0.0, 1.0), axis=-1)
def one_hot(c, a, x):
    values = c.constant("values", np.asarray(a.values, np.float32))
    return c.named("OneHot", x, c.constant("depth", np.asarray(a.depth, np.int64)), values, axis=a.axis)


@define("TopK", X, ("k", Data), outputs=("values", "indices"), axis=-1, largest=True, sorted=True)
def top_k(c, a, x, k):
    return c.named("TopK", x, k, axis=a.axis, largest=int(a.largest), sorted=int(a.sorted), outputs=2)


@define("ArgMax", rank=None, axis=0, keep_dims=True, select_last_index=False)
def arg_max(c, a, x):
    return c.named("ArgMax", x, axis=a.axis, keepdims=int(a.keep_dims), select_last_index=int(a.select_last_index))


@define("Where", ("condition", Data), ("data_input_1", Data), ("data_input_2", Data), rank=None)
def where(c, a, condition, x, y):
    return c.named("Where", condition, x, y)


@define("Range", *optional("start", "limit", "delta"), rank=1, start=None, limit=None, delta=None)
def range_(c, a, *given):
    def bound(name, value):
        kind = np.float32 if isinstance(value, float) else np.int64
        return c.constant(name, np.asarray(value, kind))

    own = [
        g if g is not None else bound(n, getattr(a, n)) for n, g in zip(("start", "limit", "delta"), given, strict=True)
    ]
    return c.named("Range", *own)


# ---- reductions ---------------------------------------------------------------------------------------

REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")


def reduction(core: str):
    def emit(c, a, x, axes):
        axes = (ints(a.axes) or None) if axes is None else axes
        return c.named(core, x, axes, keepdims=int(a.keep_dims), noop_with_empty_axes=int(a.noop_with_empty_axes))

    return emit


for _name in REDUCTIONS:
    define(_name, X, *optional("axes_input"), rank=None, axes=(), keep_dims=True, noop_with_empty_axes=False)(
        reduction(_name)
    )


# ---- images -------------------------------------------------------------------------------------------

INTERPOLATION = {
    "round_prefer_floor": {"mode": "nearest", "nearest_mode": "round_prefer_floor"},
    "round_prefer_ceil": {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
    "floor": {"mode": "nearest", "nearest_mode": "floor"},
    "ceil": {"mode": "nearest", "nearest_mode": "ceil"},
    "linear": {"mode": "linear"},
    "cubic": {"mode": "cubic"},
}


@define(
    "Resize",
    X,
    *optional("roi", "scales", "sizes"),
    roi=(),
    scale=(),
    size=(),
    axes=(),
    coord_transfo_mode="half_pixel",
    interpolation_mode="round_prefer_floor",
    cubic_interpolation_coefficient_a=-0.75,
    extrapolation_value=0.0,
    padding_mode="edge",
    aspect_ratio="stretch",
    antialias=False,
    exclude_outside=False,
)
def resize(c, a, x, roi, scales, sizes):
    how = getattr(a.interpolation_mode, "name", str(a.interpolation_mode)).lower()
    if how not in INTERPOLATION:
        raise GraphViewError(
            f"Resize has no interpolation_mode {a.interpolation_mode!r}; it has {', '.join(INTERPOLATION)}"
        )
    transform = getattr(a.coord_transfo_mode, "name", str(a.coord_transfo_mode)).lower()
    if roi is None and len(a.roi):
        roi = c.constant("roi", np.asarray(a.roi, np.float32))
    if scales is None and len(a.scale):
        scales = c.constant("scales", np.asarray(a.scale, np.float32))
    if sizes is None and len(a.size):
        sizes = ints(a.size)
    attrs = {
        "coordinate_transformation_mode": transform,
        "cubic_coeff_a": a.cubic_interpolation_coefficient_a,
        "extrapolation_value": a.extrapolation_value,
        "antialias": int(a.antialias),
        "exclude_outside": int(a.exclude_outside),
        "keep_aspect_ratio_policy": str(a.aspect_ratio),
        **INTERPOLATION[how],
    }
    if len(a.axes):
        attrs["axes"] = ints(a.axes)
    return c.named("Resize", x, roi, scales, sizes, **attrs)


GRID_MODES = {"bilinear": "linear", "bicubic": "cubic"}


@define("GridSample", X, ("grid_field", Data), mode="linear", padding_mode="zeros", align_corners=False)
def grid_sample(c, a, x, grid):
    mode = str(a.mode).lower()
    return c.named(
        "GridSample",
        x,
        grid,
        mode=GRID_MODES.get(mode, mode),
        padding_mode=str(a.padding_mode).lower(),
        align_corners=int(a.align_corners),
    )


# ---- leaves -------------------------------------------------------------------------------------------


@define("Producer", constant=False)
def producer(c, a, x):
    raise GraphViewError("a Producer is not computed")


TYPES["Producer"] = OperatorType("Producer", producer, (), ("data_output",), {"constant": False})
