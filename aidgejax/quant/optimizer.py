"""Learned steps under any optimizer: the logarithm is trained, so that a step stays positive whatever the rate."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..arguments import checked_call
from ..errors import SettingError
from ..graph import Graph
from ..training.optim import Optimizer
from .convert import step_names

LARGEST = 0.5  # octaves by which one update may move a step
LEAST, MOST = 2.0**-60, 2.0**60


@checked_call
def with_steps(optimizer: Optimizer, graph: Graph, *, rate: float = 1.0) -> Optimizer:
    """The same optimizer, that updates the steps of this graph in their logarithm.

        u = log2 step,   du = d step * step * ln 2,   u <- the optimizer's update of u, at `rate` times its rate

    One update moves a step by half an octave at most; weight decay does not act on steps.  A gradient that is not
    finite moves nothing.  Source: Jain et al. 2020 (trained quantization thresholds).
    """
    if not callable(getattr(optimizer, "update", None)) or not callable(getattr(optimizer, "init", None)):
        raise SettingError(f"with_steps was given {str(optimizer)[:60]!r}, expected an optimizer such as optim.adam()")
    if not isinstance(rate, int | float | np.number) or not rate > 0:
        raise SettingError(f"rate is {rate!r}: expected above 0; steps that are not to move belong to step='fixed'")
    names = frozenset(step_names(graph))

    def update(params: Any, grads: Any, state: Any, lr: Any) -> tuple[Any, Any]:
        steps = {k: p for k, p in params.items() if k in names}
        rest = {k: p for k, p in params.items() if k not in names}
        rest, moved = optimizer.update(
            rest, {k: grads[k] for k in rest if k in grads}, {k: state[k] for k in rest if k in state}, lr
        )
        trained = {k: p for k, p in steps.items() if k in grads and grads[k] is not None}
        # From zero, so that decay finds nothing: what is asked of the rule is the difference.
        zeros = {k: jnp.zeros_like(p) for k, p in trained.items()}
        slopes = {k: _finite(grads[k] * p * math.log(2)).astype(p.dtype) for k, p in trained.items()}
        away, states = optimizer.update(zeros, slopes, {k: state[k] for k in trained}, lr * rate)
        new = {
            k: jnp.clip(p * jnp.exp2(jnp.clip(away[k], -LARGEST, LARGEST)), LEAST, MOST).astype(p.dtype)
            for k, p in trained.items()
        }
        params = {k: new.get(k, rest.get(k, p)) for k, p in params.items()}
        return params, {k: states.get(k, moved.get(k, s)) for k, s in state.items()}

    return Optimizer(optimizer.init, update, optimizer.post_update)


def _finite(g: Any) -> Any:
    return jnp.where(jnp.isfinite(g), g, 0)
