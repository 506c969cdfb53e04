"""How operators of other domains are decomposed into ONNX's: the table, and what its functions share.

    @contrib("QuickGelu")
    def quick_gelu(op, x, *, alpha=1.702):
        return op.Mul(x, op.Sigmoid(op.Mul(x, alpha)))

A function gets the node's inputs by position and its attributes by keyword, and returns its outputs.  `shaped`
functions ask for the shape of an input.  What each means is onnxruntime's, against which the tests check it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ....graph import Value

MINE, NCHWC = "com.microsoft", "com.microsoft.nchwc"
CONTRIB: dict[tuple[str, str], Callable] = {}
SHAPED: set[tuple[str, str]] = set()
# Written by onnxruntime's tools in the default domain, where ONNX does not have them.
UNDER_ANY_NAME = ("SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "SkipLayerNormalization")


def contrib(*names: str, shaped: bool = False, domain: str = MINE) -> Callable[[Callable], Callable]:
    def register(function: Callable) -> Callable:
        for name in names:
            CONTRIB[domain, name] = function
            if shaped:
                SHAPED.add((domain, name))
        return function

    return register


def contrib_key(domain: str, op_type: str) -> tuple[str, str] | None:
    """Where in the table the operator stands; None where it is not there."""
    domain = MINE if domain == "" and op_type in UNDER_ANY_NAME else domain
    return (domain, op_type) if (domain, op_type) in CONTRIB else None


class Unread(Exception):
    """What a function of the table cannot decompose."""


def known_rank(x: Value, what: str) -> int:
    if x.rank is None:
        raise Unread(f"how many axes its {what} has is not known; give the shapes of the model's inputs")
    return x.rank


# {activation in a fused operator: the names of its numbers, in order}
NUMBERS = {
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "HardSwish": (),
}


def activated(op: Any, x: Value, activation: str, numbers: Iterable[float]) -> Value:
    if not activation:
        return x
    if activation == "Clip":
        return op.Clip(x, *map(float, numbers))
    if activation not in NUMBERS:
        raise Unread(f"its activation {activation!r} is none of Clip, {', '.join(NUMBERS)}")
    return getattr(op, activation)(x, **dict(zip(NUMBERS[activation], numbers, strict=False)))
