"""A choice between two graphs, by a condition that is computed."""

from __future__ import annotations

import numpy as np

from ._definition import backward, define
from .execute import execute, gradients


@define("Conditional")
def conditional(condition, *captured, then_branch, else_branch):
    branch = then_branch if np.asarray(condition).reshape(()) else else_branch
    found = execute(branch, dict(zip(branch.inputs, captured, strict=True)))
    return tuple(found[o] for o in branch.outputs)


@backward("Conditional")
def conditional_backward(condition, *tensors, then_branch, else_branch):
    branch = then_branch if np.asarray(condition).reshape(()) else else_branch
    count, outputs = len(branch.inputs), len(branch.outputs)
    found = execute(branch, dict(zip(branch.inputs, tensors[:count], strict=True)))
    arriving = dict(zip(branch.outputs, tensors[count + outputs :], strict=True))
    shares = gradients(branch, found, arriving, branch.inputs)
    return None, *(shares[i] for i in branch.inputs)
