"""Many small parameters, updated as one vector: XLA compiles the rule once, not once for each of them.

Adam's bias corrections cost as much to compile for one number as for a matrix, and training with quantization has a
parameter for every step.  Where a rule moves each number by itself, the numbers are the same.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ops.materialize import materialize
from .optim import Optimizer

MULTIPLE = 64  # a longer vector is filled up with zeros, so that its devices divide it


def joined(optimizer: Optimizer) -> Optimizer:
    """The same optimizer for a dict of parameters, all of one dtype joined to one vector in the order of their names.

    The state is {dtype: the state of that vector, which zeros may follow}, with one count of updates.  An optimizer
    that does not move each number by itself comes back as it is.
    """
    if not optimizer.elementwise:
        return optimizer

    def init(params: Any) -> Any:
        return optimizer.init({dtype: _filled(params, names) for dtype, names in _by_dtype(params).items()})

    def update(params: Any, grads: Any, state: Any, lr: Any) -> tuple[Any, Any]:
        groups = _by_dtype(params)
        old = {dtype: _filled(params, names) for dtype, names in groups.items()}
        slopes = {
            dtype: _filled({k: jnp.zeros_like(params[k]) if grads[k] is None else grads[k] for k in names}, names)
            for dtype, names in groups.items()
        }
        # What is sliced from it would be computed again with every slice.
        new, moved = materialize(optimizer.update, old, slopes, state, lr)
        found = dict(params)
        for dtype, names in groups.items():
            still = np.concatenate([np.full(np.shape(params[k]), grads[k] is None).reshape(-1) for k in names])
            still = np.concatenate([still, np.zeros(old[dtype].size - still.size, bool)])
            if still.any():
                moved[dtype] = jax.tree.map(
                    lambda b, a: jnp.where(still, a, b) if a.shape == still.shape else b,  # noqa: B023
                    moved[dtype],
                    state[dtype],
                )
            ends = np.cumsum([0, *(params[k].size for k in names)])
            for k, start, end in zip(names, ends, ends[1:], strict=False):
                if grads[k] is not None:
                    found[k] = new[dtype][start:end].reshape(jnp.shape(params[k]))
        return found, moved

    return Optimizer(init, update, elementwise=True)


def with_joined(grads: Any, together: frozenset[str]) -> Any:
    """The same numbers, those of these names as one vector of each dtype."""
    small = {k: g for k, g in grads.items() if k in together and g is not None}
    rest = {k: g for k, g in grads.items() if k not in small}
    return rest, [_vector(small, names) for names in _by_dtype(small).values()]


def _by_dtype(arrays: Any) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for k in sorted(arrays):
        groups.setdefault(str(jnp.result_type(arrays[k])), []).append(k)
    return groups


def _vector(arrays: Any, names: list[str]) -> Any:
    return jnp.concatenate([jnp.reshape(arrays[k], -1) for k in names])


def _filled(arrays: Any, names: list[str]) -> Any:
    vector = _vector(arrays, names)
    return jnp.pad(vector, (0, -vector.size % MULTIPLE)) if vector.size > MULTIPLE else vector
