"""One function per operator: FC(3, 2, name="fc1") is a Node, with its Producers fc1_w and fc1_b attached.

Arguments, their order and their defaults are Aidge 0.10.1's, read from the table of operators.  FCOp(), Conv2DOp(...)
are the classes of the bare operators.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .node import Node, Producer, with_producers
from .operator import OperatorType
from .operators import CLASSES, TYPES, checked_channels
from .operators.definition import bound

COUNTS = ("in_channels", "out_channels", "nb_channels", "nb_features", "hidden_channels")


def factory(kind: OperatorType) -> Callable[..., Node]:
    first = [] if kind.weights is None else list(inspect.signature(kind.weights).parameters.values())
    attributes = [*kind.signature.parameters]

    def make(*args: Any, **keywords: Any) -> Node:
        given = bound(kind.signature, kind.name, args, keywords)
        name = given["name"]
        if kind.weights is None:
            return Node(CLASSES[kind.name](**{k: given[k] for k in attributes if k != "name"}), name)
        checked_channels(kind.name, name, **{k: given[k] for k in COUNTS if k in given})
        taken = inspect.signature(CLASSES[kind.name]).parameters
        op = CLASSES[kind.name](**{k: given[k] for k in attributes if k in taken})
        own = [given[p.name] for p in first if p.kind is p.POSITIONAL_ONLY]
        return with_producers(
            op, name, kind.weights(*own, **{p.name: given[p.name] for p in first if p.kind is not p.POSITIONAL_ONLY})
        )

    make.__name__ = make.__qualname__ = kind.name
    make.__doc__ = inspect.getdoc(kind.emit) or f"{kind.name}: see aidgejax/frontends/aidge_core/operators."
    make.__module__ = "aidgejax.frontends.aidge_core"
    setattr(make, "__signature__", kind.signature)  # noqa: B010  (mypy knows no such attribute of a function)
    return make


FACTORIES: dict[str, Callable[..., Node]] = {k: factory(t) for k, t in TYPES.items() if k != "Producer"}
FACTORIES["Producer"] = Producer
globals().update(FACTORIES)
globals().update({f"{k}Op": c for k, c in CLASSES.items()})

__all__ = sorted([*FACTORIES, *(f"{k}Op" for k in CLASSES)])  # noqa: PLE0605
