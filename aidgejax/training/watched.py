"""Epochs that stop at a number that is not finite, and cost no more than those that do not look.

The guard inside `make_epoch` holds every update back until all of it has been checked, about a tenth of a small step.
Here an epoch runs without it and is looked at afterwards; only where something is not finite is it walked through
again, with the guard, from the state that it began with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .guard import all_finite, nonfinite
from .loop import make_epoch


def make_watched_epoch(step: Callable) -> Callable:
    """epoch(state, batches, weights, data, last) -> (state, history), as make_epoch(step, on_nonfinite="raise").

    history["nonfinite"] is there where a step was not finite.  The guarded program may round otherwise in the last bit,
    so that no sound step is taken by it, however short the epoch: a run would not resume to the same bits.
    """
    guarded, plain = make_epoch(step, on_nonfinite="raise"), make_epoch(step)
    copies = jax.jit(lambda state: jax.tree.map(jnp.copy, state))  # one call: device_put costs one for each array
    sound = jax.jit(lambda history, state: ~nonfinite(history) & all_finite(getattr(state, "params", ())))

    def epoch(state: Any, batches: Any, weights: Any = None, data: Any = None, last: Any = True) -> Any:
        before = copies(state)
        state, history = plain(state, batches, weights, data, last)
        if sound(history, state):
            return state, history
        return guarded(before, batches, weights, data, last)

    return epoch
