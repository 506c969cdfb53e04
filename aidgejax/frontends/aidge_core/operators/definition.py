"""How a row of the table is written, and read: everything Aidge says of an operator stands in one signature.

    @define("Gather", rank=None)
    def gather(c, data_input, indices_=None, *, axis=0, indices=(), gathered_shape=()): ...

Positional parameters behind `c` are its inputs, those with a default optional (a trailing underscore keeps the name
apart from an attribute's).  Keyword-only parameters are its attributes, in Aidge's order; `name` and `no_bias` mark
their place in the order of the factory's arguments, where it is not the last.  What only the factory takes, such as
in_channels, are the positional-only parameters of `weights`, which gives the shapes of the Producers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import GraphViewError, TensorTypeError
from ..names import INPUT_NAMES, OUTPUT_NAMES
from ..operator import Attr, Data, InputCategory, Operator, OperatorTensor, OperatorType, Param

FLT_MAX = 3.4028234663852886e38
NO_SEED = -9223372036854775808
SAME_RANK = "same"
PLACES = ("name", "no_bias", "nobias")  # arguments of the factory that are no attributes

TYPES: dict[str, OperatorType] = {}
ATTRIBUTES: dict[str, list[str]] = {}
CLASSES: dict[str, type[OperatorTensor]] = {}

Emit = Callable[..., Any]


def define(
    name: str,
    *,
    parameters: Sequence[str] = (),
    statistics: Sequence[str] = (),
    outputs: tuple[str, ...] = ("data_output",),
    rank: Any = SAME_RANK,
    counts: str = "",
    weights: Callable[..., dict[str, Any]] | None = None,
    base: type[OperatorTensor] = OperatorTensor,
) -> Callable[[Emit], Emit]:
    """Register the function as the operator `name`.

    parameters, statistics: the inputs of category Param and Attr.  counts: "nb_inputs" or "nb_outputs", which the
    factory then takes first.  base: the class whose methods the operator has.
    """

    def register(emit: Emit) -> Emit:
        signature = inspect.signature(emit)
        given = list(signature.parameters.values())[1:]
        settings = [p for p in given if p.kind is p.KEYWORD_ONLY]
        inputs = tuple(
            (p.name.rstrip("_"), _category(p, parameters, statistics)) for p in given if p.kind is not p.KEYWORD_ONLY
        )
        variadic = any(p.kind is p.VAR_POSITIONAL for p in given)
        attributes = [p for p in settings if p.name not in PLACES]
        first = [] if weights is None else [p for p in inspect.signature(weights).parameters.values() if _is_first(p)]
        first += [inspect.Parameter(counts, inspect.Parameter.POSITIONAL_OR_KEYWORD)] if counts else []
        known = {p.name for p in first}
        arguments = [*first, *(p for p in settings if p.name not in known)]
        if not any(p.name == "name" for p in arguments):
            arguments.append(_NAME)
        kind = OperatorType(
            name,
            emit,
            inputs,
            outputs,
            {p.name: p.default for p in attributes if p.default is not p.empty},
            variadic,
            rank,
            _leading(name),
            _signature(arguments),
            weights,
        )
        ATTRIBUTES[name] = _ordered(kind, [p.name for p in attributes])
        TYPES[name] = kind
        bare = [p for p in first if p.name == counts] + attributes
        CLASSES[name] = _operator_class(kind, _signature(bare), base)
        return emit

    return register


_NAME = inspect.Parameter("name", inspect.Parameter.POSITIONAL_OR_KEYWORD, default="")


def _leading(name: str) -> tuple[str, ...]:
    """The attributes that Aidge has before those with defaults."""
    if name == "Fold2D":
        return ("output_dims",)
    return ("kernel_dims",) if "Conv" in name or "Pooling" in name else ()


def _ordered(kind: OperatorType, attributes: Sequence[str]) -> list[str]:
    """All attributes: the leading ones, those with defaults, the others."""
    return list(dict.fromkeys([*(k for k in kind.leading if k in attributes), *kind.defaults, *attributes]))


def _is_first(p: inspect.Parameter) -> bool:
    return p.kind is p.POSITIONAL_ONLY


def _signature(arguments: Sequence[inspect.Parameter]) -> inspect.Signature:
    return inspect.Signature([p.replace(kind=p.POSITIONAL_OR_KEYWORD, annotation=p.empty) for p in arguments])


def _category(p: inspect.Parameter, parameters: Sequence[str], statistics: Sequence[str]) -> InputCategory:
    found = Param if p.name in parameters else Attr if p.name in statistics else Data
    if p.default is p.empty:
        return found
    return InputCategory.OptionalAttr if p.name in SETTINGS else found | InputCategory.Optional


# Optional inputs that stand for an attribute.
SETTINGS = frozenset(
    "pads pads_ constant_value constant_value_ axes axes_ axes_input starts_ ends_ steps_ shape_ split_ indices_ roi_ "
    "scales sizes probability_ training_mode_ min_empty_tensor max_empty_tensor k max_elements_".split()
)


def bound(signature: inspect.Signature, what: str, args: tuple, keywords: dict[str, Any]) -> dict[str, Any]:
    """{argument: value}, defaults included, tuples as lists.  Raises TensorTypeError for arguments that do not fit."""
    try:
        found = signature.bind(*args, **keywords)
    except TypeError as e:
        raise TensorTypeError(f"{what}{signature}: {e}") from None
    found.apply_defaults()
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.arguments.items()}


def _operator_class(
    kind: OperatorType, signature: inspect.Signature, base: type[OperatorTensor]
) -> type[OperatorTensor]:
    """The class <name>Op."""

    def __init__(self: OperatorTensor, *args: Any, **keywords: Any) -> None:
        given = bound(signature, f"{kind.name}Op", args, keywords)
        checked_window(kind.name, given)
        inputs = outputs = None
        if kind.variadic:
            inputs = tuple((f"data_input_{k}", Data) for k in range(_count(kind.name, "nb_inputs", given)))
        if "nb_outputs" in given:
            outputs = tuple(f"data_output_{k}" for k in range(_count(kind.name, "nb_outputs", given)))
        Operator.__init__(self, kind, given, inputs=inputs, outputs=outputs)

    return type(
        f"{kind.name}Op",
        (base,),
        {
            "__init__": __init__,
            "__doc__": inspect.getdoc(kind.emit),
            "__signature__": signature,
            "__module__": "aidgejax.frontends.aidge_core",
            "Type": kind.name,
            "get_inputs_name": staticmethod(lambda: list(INPUT_NAMES.get(kind.name, [i for i, _ in kind.inputs]))),
            "get_outputs_name": staticmethod(lambda: list(OUTPUT_NAMES.get(kind.name, kind.outputs))),
            "attributes_name": staticmethod(lambda: list(ATTRIBUTES[kind.name])),
        },
    )


def _count(kind: str, what: str, given: dict[str, Any]) -> int:
    count = given.pop(what)
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise GraphViewError(f"{kind} needs {what} of 1 or more, got {count!r}")
    return int(count)


def make_operator(kind: str, *args: Any, **attrs: Any) -> Operator:
    """The operator of this type: make_operator("Softmax", axis=1)."""
    return CLASSES[kind](*args, **attrs)


def checked_window(kind: str, given: dict[str, Any]) -> None:
    """Kernels, strides and dilations are positive and as many as there are axes."""
    if kind[-2:] not in ("1D", "2D", "3D"):
        return
    axes = int(kind[-2])
    for key in ("kernel_dims", "stride_dims", "dilation_dims", "dilations", "output_dims"):
        if key in given:
            value = given[key]
            if not isinstance(value, list | tuple | np.ndarray) or len(value) != axes or any(v < 1 for v in value):
                raise GraphViewError(f"{kind}: {key} is {value!r}; expected {axes} numbers of 1 or more")
            given[key] = [int(v) for v in value]
    if "padding_dims" in given:
        value = given["padding_dims"]
        if len(value) != 2 * axes or any(v < 0 for v in value):
            raise GraphViewError(
                f"{kind}: padding_dims is {value!r}; expected {2 * axes} numbers of 0 or more: "
                f"what is added before each axis, then what is added behind each"
            )


def checked_channels(kind: str, name: str, **counts: Any) -> None:
    """Numbers of channels are 1 or more."""
    for what, n in counts.items():
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise GraphViewError(f"{kind} {name!r}: {what} is {n!r}; expected 1 or more")


def ints(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def no_pad_inputs(c: Any, *inputs: Any) -> None:
    """The optional inputs of a Padded operator's Pad, which only a Pad of its own can take."""
    if any(i is not None for i in inputs):
        raise GraphViewError(f"node {c.name!r}: padding given as an input; call expand_metaops first")
