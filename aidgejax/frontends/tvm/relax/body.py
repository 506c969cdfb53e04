"""How a function was stated: blocks of bindings, and what it returns.  Its Graph says what is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .expr import Call, Expr, MatchCast, Tuple, TupleGetItem, Var


@dataclass
class VarBinding:
    """`var = value`; is_output: the dataflow block hands it out."""

    var: Var
    value: Any
    is_output: bool = False


@dataclass
class BindingBlock:
    """Bindings in order."""

    bindings: list[VarBinding] = field(default_factory=list)

    @property
    def dataflow(self) -> bool:
        """Is it a dataflow block?"""
        return isinstance(self, DataflowBlock)


class DataflowBlock(BindingBlock):
    """Bindings of a dataflow block."""


def block(dataflow: bool) -> BindingBlock:
    """A block without bindings yet."""
    return DataflowBlock() if dataflow else BindingBlock()


@dataclass
class If:
    """One of two sequences of bindings, as a condition says."""

    cond: Any
    true_branch: SeqExpr
    false_branch: SeqExpr


@dataclass
class SeqExpr:
    """All blocks of a function, and the expression that it returns."""

    blocks: list[BindingBlock]
    body: Any = None

    @property
    def is_written(self) -> bool:
        """Is everything in it an operator of relax.op, so that it can be written as TVMScript?"""
        return all(c.applied is not None for c in calls_in(self))


def calls_in(value: Any) -> Iterator[Call]:
    """The calls that an expression is made of."""
    return (e for e in expressions_in(value) if isinstance(e, Call))


def expressions_in(value: Any) -> Iterator[Any]:
    """What an expression is made of, operands first; the Vars that bindings define too."""
    for v in _inside(value):
        yield from expressions_in(v)
    if isinstance(value, Expr | If | SeqExpr):
        yield value


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Call):
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
        inside = [v for block in value.blocks for b in block.bindings for v in (b.value, b.var)]
        inside.append(value.body)
    elif isinstance(value, tuple | list):
        inside = value
    else:
        inside = ()
    return inside
