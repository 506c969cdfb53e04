"""Learned steps under any optimizer: the logarithm is trained, so that a step stays positive whatever the rate."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..arguments import checked_call
from ..errors import SettingError
from ..graph import Graph
from ..training.joined_update import joined
from ..training.optim import Optimizer
from .convert import step_names

LARGEST = 0.5  # octaves by which one update may move a step
LEAST, MOST = 2.0**-60, 2.0**60
SMALL = 1024  # numbers, up to which a parameter goes with others


@checked_call
def with_steps(optimizer: Optimizer, graph: Graph, *, rate: float = 1.0) -> Optimizer:
    """The same optimizer, that updates the steps of this graph in their logarithm.

        u = log2 step,   du = d step * step * ln 2,   u <- the optimizer's update of u, at `rate` times its rate

    One update moves a step by half an octave at most; weight decay does not act on steps.  A gradient that is not
    finite moves nothing.  A rule that moves each number by itself keeps and moves all steps as one vector, and all
    parameters of at most 1024 numbers as another: most of what XLA compiles would otherwise be their updates.
    Source: Jain et al. 2020 (trained quantization thresholds).
    """
    if not callable(getattr(optimizer, "update", None)) or not callable(getattr(optimizer, "init", None)):
        raise SettingError(f"with_steps was given {str(optimizer)[:60]!r}, expected an optimizer such as optim.adam()")
    if not isinstance(rate, int | float | np.number) or not rate > 0:
        raise SettingError(f"rate is {rate!r}: expected above 0; steps that are not to move belong to step='fixed'")
    names = frozenset(step_names(graph))
    few = (k for k, p in graph.params.items() if optimizer.elementwise and np.size(p) <= SMALL)
    small = frozenset(few) - names  # of one that looks at all gradients, such as their norm, nothing is kept apart
    rules = {"steps": joined(_by_logarithm(optimizer, rate)), "small": joined(optimizer), "large": optimizer}

    def parted(tree: Any) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {kind: {} for kind in rules}
        for k, v in tree.items():
            found["steps" if k in names else "small" if k in small else "large"][k] = v
        return found

    def init(params: Any) -> Any:
        return {kind: rules[kind].init(part) for kind, part in parted(params).items()}

    def update(params: Any, grads: Any, state: Any, lr: Any) -> tuple[Any, Any]:
        slopes = parted({k: grads.get(k) for k in params})
        new: dict[str, Any] = {}
        states: dict[str, Any] = {}
        for kind, part in parted(params).items():
            part, states[kind] = rules[kind].update(part, slopes[kind], state[kind], lr)
            new |= part
        return {k: new[k] for k in params}, states

    together = names | small if optimizer.elementwise else frozenset()
    return Optimizer(init, update, optimizer.post_update, together=together)


def _by_logarithm(optimizer: Optimizer, rate: float) -> Optimizer:
    """The optimizer, that moves the logarithm of all that it is given."""

    def update(steps: Any, grads: Any, state: Any, lr: Any) -> tuple[Any, Any]:
        # From zero, so that decay finds nothing: what is asked of the rule is the difference.
        zeros = {k: jnp.zeros_like(p) for k, p in steps.items()}
        slopes = {k: None if grads[k] is None else _slope(p, grads[k]) for k, p in steps.items()}
        away, state = optimizer.update(zeros, slopes, state, lr * rate)
        return {k: p if grads[k] is None else _multiplied(p, away[k]) for k, p in steps.items()}, state

    return Optimizer(optimizer.init, update, elementwise=optimizer.elementwise)


def _slope(step: Any, g: Any) -> Any:
    slope = g * step * math.log(2)
    return jnp.where(jnp.isfinite(slope), slope, 0).astype(step.dtype)


def _multiplied(step: Any, octaves: Any) -> Any:
    octaves = jnp.clip(octaves, -LARGEST, LARGEST)
    return jnp.clip(step * jnp.exp2(octaves), LEAST, MOST).astype(step.dtype)
