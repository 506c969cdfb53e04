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
class If:
    """One of two sequences of bindings, as a condition says."""

    cond: Any
    true_branch: SeqExpr
    false_branch: SeqExpr


@dataclass
class SeqExpr:
    """All blocks of a function, and the expression that it returns."""

    blocks: list[Block]
    body: Any = None

    @property
    def is_written(self) -> bool:
        """Is everything in it an operator of relax.op, so that it can be written as TVMScript?"""
        return all(c.applied is not None for c in calls_in(self))


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
    elif isinstance(value, If):
        inside = (value.cond, value.true_branch, value.false_branch)
    elif isinstance(value, SeqExpr):
        inside = (*(b.value for block in value.blocks for b in block.bindings), value.body)
    elif isinstance(value, tuple | list):
        inside = value
    else:
        return
    for v in inside:
        yield from calls_in(v)
