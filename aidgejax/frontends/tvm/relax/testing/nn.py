"""tvm.relax.testing.nn: helpers that mark what a backward pass computes again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import NotReady, RelaxValueError
from .. import op
from ..block_builder import BlockBuilder
from ..expr import Expr, Tuple, Var

__all__ = ["checkpoint", "emit", "emit_checkpoint", "emit_checkpoint_sequential"]


def _builder() -> BlockBuilder:
    builder = BlockBuilder.current()
    if builder is None:
        raise NotReady("this belongs inside `with bb.function(name, params):`")
    return builder


def emit(expr: Any, name_hint: str = "") -> Var:
    """Bind an expression in the function that is being stated."""
    return _builder().emit(expr, name_hint)


def checkpoint(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """func(*args, **kwargs), of which the backward pass keeps the Vars among the arguments and the result alone.

    Everything between is computed again.  func returns an expression, or a tuple of them.
    """
    marked = [op.grad.start_checkpoint(a) if isinstance(a, Expr) else a for a in args]
    options = {k: op.grad.start_checkpoint(v) if isinstance(v, Expr) else v for k, v in kwargs.items()}
    return _ended(func(*marked, **options))


def _ended(result: Any) -> Any:
    if isinstance(result, tuple | list):
        return tuple(_ended(r) for r in result)
    if isinstance(result, Tuple):
        return Tuple(_ended(r) for r in result.fields)
    return op.grad.end_checkpoint(result if isinstance(result, Var) else emit(result))


def emit_checkpoint(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The same with every mark bound to a Var of its own."""
    marked = [emit(op.grad.start_checkpoint(a)) if isinstance(a, Expr) else a for a in args]
    options = {k: emit(op.grad.start_checkpoint(v)) if isinstance(v, Expr) else v for k, v in kwargs.items()}
    return _emitted(func(*marked, **options))


def _emitted(result: Any) -> Any:
    if isinstance(result, tuple | list):
        return tuple(_emitted(r) for r in result)
    if isinstance(result, Tuple):
        return Tuple(_emitted(r) for r in result.fields)
    return emit(op.grad.end_checkpoint(result if isinstance(result, Var) else emit(result)))


def emit_checkpoint_sequential(
    functions: Sequence[Callable[..., Any]], segments: int | Sequence[int], input: Any, checkpoint_last: bool = False
) -> Any:
    """functions one after the other, cut into segments each of which is a checkpoint.

    segments: how many, of nearly the same length, or the index of the last function of each.  checkpoint_last: the
    last segment too, whose backward pass comes first anyway.
    """
    count = len(functions)
    if isinstance(segments, int):
        if not 0 < segments <= count:
            raise RelaxValueError(f"{count} functions cannot be cut into {segments} segments")
        size = count // segments
        ends = [size * (k + 1) for k in range(segments - 1)] + [count]
    else:
        ends = [int(s) + 1 for s in segments]
        ends += [count] if not ends or ends[-1] != count else []
        if sorted(set(ends)) != ends or ends[0] < 1 or ends[-1] > count:
            raise RelaxValueError(f"segments are {list(segments)}; expected rising indices of {count} functions")

    def run(start: int, end: int) -> Callable[[Any], Any]:
        def forward(x: Any) -> Any:
            for f in functions[start:end]:
                x = f(x)
            return x

        return forward

    start, x = 0, input
    for k, end in enumerate(ends):
        last = k == len(ends) - 1
        x = run(start, end)(x) if last and not checkpoint_last else emit_checkpoint(run(start, end), x)
        start = end
    return x
