"""Picking elements by index: Gather and its relatives, ArgMax, TopK."""

import jax.numpy as jnp

from ._operator import operator, positive_axes


def scatter_elements_vjp(op, x, indices, updates, y, dy, *, axis, reduction):
    d_updates = op.GatherElements(dy, indices, axis=axis)
    if reduction == "add":
        return dy, None, d_updates
    return op.ScatterElements(dy, indices, op.ZerosLike(updates), axis=axis), None, d_updates


@operator("ScatterElements", onnx=("", 18), vjp=scatter_elements_vjp)
def scatter_elements(x, indices, updates, *, axis=0, reduction="none"):
    """x with updates put at (or added to) the places indices[...] along axis."""
    (axis,) = positive_axes((axis,), jnp.ndim(x), "axis")
    at = jnp.asarray(x).at[along(indices, axis)]
    return at.add(updates) if reduction == "add" else at.set(updates)


def along(indices, axis):
    """The index tuple that picks x[..., indices[i, j, ...], ...]: position i, j, ... of `indices` on the other axes."""
    grid = list(jnp.indices(jnp.shape(indices), sparse=True))
    grid[axis] = indices
    return tuple(grid)
