"""relax.op.grad: marks on the program for rematerialisation, and gradients of single operators.

Between start_checkpoint and end_checkpoint nothing is kept for the backward pass: Gradient computes it again there, in
nodes named `<tensor>_cp`.  Values never change.  A compiler may still merge what one program computes
twice: XLA does on CPU.
"""

from __future__ import annotations

from typing import Any

from ..expr import Call, Expr, Op, Tuple, TupleGetItem, relax_operator
from ..types import TensorType
from . import movement, nn
from ._gradient import write_gradient


@relax_operator
def start_checkpoint(input: Any) -> Call:
    """x, kept; what is computed from it up to an end_checkpoint is computed again in the backward pass."""
    return Call("relax.grad.start_checkpoint", (input,), lambda op, x: op.Identity(x))


@relax_operator
def end_checkpoint(input: Any) -> Call:
    """x; what is computed from it is kept again."""
    return Call("relax.grad.end_checkpoint", (input,), lambda op, x: op.Identity(x))


@relax_operator
def no_grad(input: Any) -> Call:
    """x; no gradient passes."""
    return Call("relax.grad.no_grad", (input,), lambda op, x: op.StopGradient(x))


def _of_first(name: str, call: Call, output_grad: Any) -> Call:
    """The gradient of the call's first operand."""

    def write(op: Any, d: Any, *values: Any) -> Any:
        return write_gradient(op, call.write, values, d)[0]

    return Call(f"relax.grad.{name}", (output_grad, *call.args), write)


@relax_operator
def nll_loss_backward(
    output_grad: Any,
    predictions: Any,
    targets: Any,
    weights: Any = None,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Call:
    """The gradient of nn.nll_loss for its predictions."""
    return _of_first(
        "nll_loss_backward", nn.nll_loss(predictions, targets, weights, reduction, ignore_index), output_grad
    )


@relax_operator
def max_pool2d_backward(
    output_grad: Any,
    data: Any,
    pool_size: Any = (1, 1),
    strides: Any = (1, 1),
    padding: Any = (0, 0, 0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NCHW",
    out_layout: str | None = None,
) -> Call:
    """The gradient of nn.max_pool2d."""
    call = nn.max_pool2d(data, pool_size, strides, padding, dilation, ceil_mode, count_include_pad, layout, out_layout)
    return _of_first("max_pool2d_backward", call, output_grad)


@relax_operator
def avg_pool2d_backward(
    output_grad: Any,
    data: Any,
    pool_size: Any = (1, 1),
    strides: Any = (1, 1),
    padding: Any = (0, 0, 0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NCHW",
    out_layout: str | None = None,
) -> Call:
    """The gradient of nn.avg_pool2d."""
    call = nn.avg_pool2d(data, pool_size, strides, padding, dilation, ceil_mode, count_include_pad, layout, out_layout)
    return _of_first("avg_pool2d_backward", call, output_grad)


@relax_operator
def take_backward(output_grad: Any, x: Any, indices: Any, axis: int | None = None, mode: str = "fast") -> Call:
    """The gradient of take for x; elements that are taken several times add up."""
    return _of_first("take_backward", movement.take(x, indices, axis, mode or "fast"), output_grad)


def primal_gradient(orig_var: Any, orig_call: Call, output_grad: Any, ctx: Any) -> list[Expr]:
    """The gradients of a call's operands, as TVM's operators have them under "FPrimalGradient".

    output_grad: the gradient of its result.  ctx: the BlockBuilder that is to bind what they share.
    Where TVM gives none, the place holds no_grad(operand).
    """
    last = 0 if orig_call.op in WITHOUT_GRADIENT else ONLY_FIRST.get(orig_call.op, len(orig_call.args))
    wanted = [k for k, a in enumerate(orig_call.args[:last]) if isinstance(a, Expr) and _is_float(a)]
    places: dict[int, Expr] = {}
    if wanted:

        def write(op: Any, d: Any, *values: Any) -> Any:
            found = write_gradient(op, orig_call.write, values, d)
            return tuple(found[k] for k in wanted)

        shared = ctx.emit(Call(f"{orig_call.op}_backward", (output_grad, *orig_call.args), write))
        places = {k: TupleGetItem(shared, n) for n, k in enumerate(wanted)}
    return [places[k] if k in places else no_grad(a) for k, a in enumerate(orig_call.args) if isinstance(a, Expr)]


Op.attributes["FPrimalGradient"] = primal_gradient
# Operators of floating-point operands that TVM differentiates for none of them, or for the first few alone.
WITHOUT_GRADIENT = {
    f"relax.{n}"
    for n in (
        "equal", "greater", "greater_equal", "less", "less_equal", "not_equal", "full_like", "zeros_like", "ones_like",
    )
}  # fmt: skip
ONLY_FIRST = {"relax.nn.nll_loss": 1}


def _is_float(arg: Any) -> bool:
    """Is everything in an operand a floating-point tensor?"""
    if isinstance(arg, Tuple):
        return all(map(_is_float, arg.fields))
    info = getattr(arg, "struct_info", None)
    return all(t.is_float for t in getattr(info, "fields", [info]) if isinstance(t, TensorType))
