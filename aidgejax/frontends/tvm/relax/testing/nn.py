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
    """func(*args, **kwargs), of which the backward pass keeps the expressions among the arguments and the result alone.

    Everything between is computed again.  func returns an expression, or a list or tuple of them; nothing is bound
    before it is emitted.
    """
    marked = [op.grad.start_checkpoint(a) if isinstance(a, Expr) else a for a in args]
    options = {k: op.grad.start_checkpoint(v) if isinstance(v, Expr) else v for k, v in kwargs.items()}
    return _each(func(*marked, **options), op.grad.end_checkpoint)


def _each(result: Any, mark: Callable[[Any], Any]) -> Any:
    if isinstance(result, tuple | list):
        return [_each(r, mark) for r in result]
    if isinstance(result, Tuple):
        return Tuple(_each(r, mark) for r in result.fields)
    return mark(result) if isinstance(result, Expr) else result


def emit_checkpoint(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The same with every mark bound to a Var of its own: `<name>_scp` of Vars among the arguments, `<name>_ecp`."""
    marked = [_begun(a) for a in args]
    options = {k: _begun(v) for k, v in kwargs.items()}
    return _each(func(*marked, **options), _ended)


def _begun(arg: Any) -> Any:
    return emit(op.grad.start_checkpoint(arg), f"{arg.name_hint}_scp") if isinstance(arg, Var) else arg


def _ended(result: Expr) -> Var:
    var = result if isinstance(result, Var) else emit(result)
    return emit(op.grad.end_checkpoint(var), f"{var.name_hint}_ecp")


def emit_checkpoint_sequential(
    functions: Sequence[Callable[..., Any]], segments: int | Sequence[int], input: Any, checkpoint_last: bool = False
) -> Var:
    """functions one after the other, cut into segments each of which is a checkpoint.

    segments: into how many, each of len(functions) // segments functions, and one more of what remains; or the index
    of the first function of each.  checkpoint_last: the last segment too, whose backward pass comes first anyway.
    Returns a Var.
    """
    count = len(functions)
    if isinstance(segments, int):
        if not 0 < segments <= count:
            raise RelaxValueError(f"{count} functions cannot be cut into {segments} segments")
        starts = list(range(0, count, count // segments))
    else:
        starts = [int(s) for s in segments if int(s) != count]
        if sorted(set(starts)) != starts or starts[:1] != [0] or starts[-1] >= count:
            raise RelaxValueError(f"segments are {list(segments)}; expected 0 and rising indices of {count} functions")

    def run(start: int, end: int) -> Callable[[Any], Any]:
        def forward(x: Any) -> Any:
            for f in functions[start:end]:
                x = f(x)
            return x

        return forward

    x = input
    for start, end in zip(starts, [*starts[1:], count], strict=True):
        plain = end == count and not checkpoint_last
        x = run(start, end)(x) if plain else emit_checkpoint(run(start, end), x)
    return x if isinstance(x, Var) else emit(x)
