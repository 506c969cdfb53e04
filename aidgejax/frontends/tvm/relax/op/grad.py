"""relax.op.grad: marks on the program for rematerialisation.

Between start_checkpoint and end_checkpoint nothing is kept for the backward pass: Gradient computes it again there, in
nodes named `<tensor>_cp`.  Values never change.  A compiler may still merge what one program computes
twice: XLA does on CPU.
"""

from __future__ import annotations

from typing import Any

from ..expr import Call, relax_operator


@relax_operator
def start_checkpoint(x: Any) -> Call:
    """x, kept; what is computed from it up to an end_checkpoint is computed again in the backward pass."""
    return Call("relax.grad.start_checkpoint", (x,), lambda op, x: op.Identity(x))


@relax_operator
def end_checkpoint(x: Any) -> Call:
    """x; what is computed from it is kept again."""
    return Call("relax.grad.end_checkpoint", (x,), lambda op, x: op.Identity(x))
