"""What an operator is: a forward in jax.numpy, a rule in the graph's own words, a name in ONNX.

    @operator("Relu", onnx=("", 14), vjp=relu_vjp, layout="same")
    def relu(x): ...

The forward takes the node's inputs by position (None where an optional one is absent), its attributes by
keyword, and returns an array, or a tuple of them where the operator has several outputs.

A rule is `rule(op, *inputs, *outputs, *cotangents, **attributes) -> one cotangent (or None) per input`.  It gets
Values and writes nodes through `op`; a cotangent is None where nothing asked for that output.  Broadcasting,
sums over several readers and the question whether anybody needs the result belong to gradient.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ..errors import GraphError, UnknownOperator
from .control_flow import check_unrolled, is_control_flow


@dataclass(frozen=True)
class Operator:
    name: str
    forward: Callable[..., Any]
    vjp: Callable[..., tuple] | None
    onnx: tuple[str, int] | None
    decompose: Callable[..., Any] | None
    broadcasts: bool
    layout: str | tuple[tuple[int, ...], tuple[int, ...]] | None
    random: bool
    updates: dict[int, int]
    static: tuple[str, ...]
    shape_only: bool
    outputs: int | None
    residual_outputs: tuple[int, ...]
    flops: Callable[..., float] | None
    keywords: frozenset[str]
    inputs: tuple[str, ...]
    variadic: bool
    attributes: dict[str, Any]
    updates_parameters: bool = False
    straight_through: str = ""
    weights: tuple[str, ...] = ()
    integer_weights: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    index_of: dict[str, tuple[str, str | int]] = field(default_factory=dict)
    limits: Callable[[dict[str, Any]], dict[str, int]] | None = None
    gradient_exports: str = "yes"
    formerly: tuple[str, ...] = ()
    written_as: str = ""
    for_runtimes: Callable[..., Any] | None = None

    def reads_as(self, position: int) -> str | None:
        """What the forward calls its input at a position; None where it only counts them."""
        return self.inputs[position] if position < len(self.inputs) else None

    full_precision: bool = False

    def pad_inputs(self, inputs: tuple) -> tuple:
        """A node's inputs, with None for the optional ones that it leaves off."""
        return inputs if self.variadic else inputs + (None,) * (len(self.inputs) - len(inputs))

    def pad_outputs(self, outputs: tuple) -> tuple:
        return outputs if self.outputs is None else outputs + (None,) * (self.outputs - len(outputs))

    @property
    def formula(self) -> str:
        """The first paragraph of the docstring: what is computed, with shapes."""
        return " ".join((inspect.getdoc(self.forward) or "").split("\n\n", 1)[0].split())


# While only shapes are asked for, a forward need not make the tables that it would compute with: a file may claim sizes
# for which they would fill the memory.
_ONLY_SHAPES: ContextVar[bool] = ContextVar("only_shapes_wanted", default=False)


def only_shapes_wanted() -> bool:
    """Are a forward's numbers thrown away?"""
    return _ONLY_SHAPES.get()


@contextmanager
def shape_inference_only() -> Iterator[None]:
    token = _ONLY_SHAPES.set(True)
    try:
        yield
    finally:
        _ONLY_SHAPES.reset(token)


OPERATORS: dict[str, Operator] = {}
# What more than one family says of `gradient_exports`.
SPATIAL_NUMBERS = "yes, with spatial sizes that are numbers"
STEP_BY_STEP = "yes, step by step: the number of time steps is a number"
# Keywords of a forward that lowering fills in; they are not attributes.  wanted: (is output k read?, ...)
LOWERING = ("key", "wanted")


def operator(
    name: str,
    *,
    onnx: tuple[str, int] | None = None,
    vjp: Callable[..., tuple] | None = None,
    decompose: Callable[..., Any] | None = None,
    broadcasts: bool = False,
    layout: str | tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    random: bool = False,
    updates: dict[int, int] | None = None,
    static: tuple[str, ...] = (),
    shape_only: bool = False,
    outputs: int | None = 1,
    residual_outputs: tuple[int, ...] = (),
    flops: Callable[..., float] | None = None,
    updates_parameters: bool = False,
    straight_through: str = "",
    weights: tuple[str, ...] = (),
    integer_weights: tuple[str, ...] = (),
    settings: tuple[str, ...] = (),
    index_of: dict[str, tuple[str, str | int]] | None = None,
    limits: Callable[[dict[str, Any]], dict[str, int]] | None = None,
    gradient_exports: str = "yes",
    formerly: tuple[str, ...] = (),
    written_as: str = "",
    for_runtimes: Callable[..., Any] | None = None,
    full_precision: bool = False,
):
    """Register a forward function as an operator.

    onnx: (domain, the opset that gave it today's form).  Without one, `decompose(op, *inputs, **attributes)`
    decomposes the operator into standard ones, written like a rule.
    broadcasts: its tensors follow NumPy's broadcasting; gradient.py then sums a cotangent back to its input.
    layout: how it treats channels-last images.  "same": element by element, any layout will do.
    "stored": each input comes as it is stored, and the first output is stored as the first input is.
    ((inputs), (outputs)): these are images, and the forward takes `layout="NCHW" | "NHWC"`.
    random: the forward takes `key=`.
    static: inputs whose values must be compile-time constants (a Reshape's target); they come as NumPy.
    shape_only: the result depends on the shapes of the inputs alone.
    outputs: how many there are at most; None where the node says so itself (Split).
    residual_outputs: outputs that the rule reads, so that they are computed even where the node does not name them.
    updates: {input: output}; in training, output is the next value of the buffer that feeds input.
    updates_parameters: what `updates` names may be a parameter too, which the forward then moves (an input range).
    straight_through: "starts" where integers that stand for floats are made (QuantizeLinear), "passes" where they are
    handed on: such integers carry a gradient, in floats, straight through their rounding.
    weights: inputs that are weights wherever they are stored: exporters write some as Constant nodes.
    integer_weights: inputs at which integers are weights that passes.float_weights can make floats of.
    settings: inputs that are settings of the node and not weights, though they may be floating.
    index_of: {input of integers: (what it picks from, along which axis: a number or an attribute's name)}.
    limits(attributes): {input: the largest number that is believed of a file}, where more would cost time and memory.
    gradient_exports: under which conditions its gradient can be written into a training artifact.
    formerly: what older opsets called it.
    written_as: what ONNX calls it, where that is not the last part of its name.
    for_runtimes(op, *inputs, outputs=, **attributes): writes the node in a form that runtimes execute, where ONNX
    allows more than they do.  outputs: how many the node has.
    full_precision: in mixed precision it stays float32 (norms, softmax, losses, sums, quantizers).
    flops(inputs, outputs, attributes), shapes given: for `inspect`; without it one operation per output element.
    """

    # Of an operator on images lowering chooses the layout; elsewhere, in LSTM, it is an attribute of ONNX's.
    filled = ("layout", *LOWERING) if layout else LOWERING

    def register(forward: Callable[..., Any]) -> Callable[..., Any]:
        params = inspect.signature(forward).parameters.values()
        OPERATORS[name] = Operator(
            name,
            forward,
            vjp,
            onnx,
            decompose,
            broadcasts,
            layout,
            random,
            dict(updates or {}),
            static,
            shape_only,
            outputs,
            residual_outputs,
            flops,
            keywords=frozenset(p.name for p in params if p.kind is p.KEYWORD_ONLY),
            inputs=tuple(p.name for p in params if p.kind is p.POSITIONAL_OR_KEYWORD),
            variadic=any(p.kind is p.VAR_POSITIONAL for p in params),
            attributes={p.name: p.default for p in params if p.kind is p.KEYWORD_ONLY and p.name not in filled},
            updates_parameters=updates_parameters,
            straight_through=straight_through,
            weights=weights,
            integer_weights=integer_weights,
            settings=settings,
            index_of=dict(index_of or {}),
            limits=limits,
            gradient_exports=gradient_exports,
            formerly=formerly,
            written_as=written_as,
            for_runtimes=for_runtimes,
            full_precision=full_precision,
        )
        return forward

    return register


def lookup(name: str) -> Operator:
    if name not in OPERATORS:
        raise UnknownOperator(f"no operator {name!r} in aidgejax; `python -m aidgejax ops` lists those there are")
    return OPERATORS[name]


def check_known(nodes: Iterable[Any], where: str) -> None:
    """Raise UnknownOperator that lists every operator of `nodes` that is not registered, and where it is met; and
    GraphError for control flow that is still to be unrolled."""
    unknown: dict[str, list[str]] = {}
    nodes = list(nodes)
    for n in nodes:
        if n.op not in OPERATORS and not is_control_flow(n):
            unknown.setdefault(f"{n.domain}::{n.op}" if n.domain else n.op, []).append(n.name)
    if unknown:
        listed = "; ".join(
            f"{op} (node {', '.join(map(repr, names[:3]))}{', ...' if len(names) > 3 else ''})"
            for op, names in sorted(unknown.items())
        )
        raise UnknownOperator(
            f"{where} uses {len(unknown)} operator(s) that aidgejax does not have: {listed}. "
            f"Add them in aidgejax/ops/, or replace those nodes; "
            f"`python -m aidgejax ops` lists the operators there are"
        )
    check_unrolled(nodes, where)


def positive_axes(axes: Iterable[int], rank: int, what: str = "axes") -> tuple[int, ...]:
    """Axes counted from the front, each within the rank."""
    found = []
    for a in axes:
        if not -rank <= a < rank:
            raise GraphError(f"{what}: axis {a} is outside a tensor of rank {rank} ({-rank} to {rank - 1})")
        found.append(a % rank)
    return tuple(found)


def broadcasts_to(shape: tuple, target: tuple) -> bool:
    """Does a tensor of this shape broadcast to `target` without making it larger?"""
    aligned = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(d in (1, whole) for d, whole in aligned)
