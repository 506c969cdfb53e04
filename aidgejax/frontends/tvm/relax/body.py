"""How a function was stated: blocks of bindings, and what it returns.  Its Graph says what is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .expr import Call, MatchCast, Tuple, TupleGetItem, Var


@dataclass
class Binding:
    """`var = value`; is_output: the dataflow block hands it out."""

    var: Var
    value: Any
    is_output: bool = False


@dataclass
class Block:
    """Bindings in order; dataflow: in a dataflow block."""

    dataflow: bool
    bindings: list[Binding] = field(default_factory=list)


@dataclass
class SeqExpr:
    """All blocks of a function, and the expression that it returns."""

    blocks: list[Block]
    body: Any = None

    @property
    def is_written(self) -> bool:
        """Is everything in it an operator of relax.op, so that it can be written as TVMScript?"""
        values = [b.value for block in self.blocks for b in block.bindings]
        return all(c.applied is not None for v in (*values, self.body) for c in calls_in(v))


def calls_in(value: Any) -> Iterator[Call]:
    """The calls that an expression is made of."""
    if isinstance(value, Call):
        yield value
        inside: Any = value.applied.arguments.values() if value.applied is not None else value.args
    elif isinstance(value, Tuple):
        inside = value.fields
    elif isinstance(value, TupleGetItem):
        inside = (value.tuple_value,)
    elif isinstance(value, MatchCast):
        inside = (value.value,)
    elif isinstance(value, tuple | list):
        inside = value
    else:
        return
    for v in inside:
        yield from calls_in(v)
