"""A NumPy counterpart of every optimizer of training.optim: one array at a time, in float64, from the papers' formulas.

    rule = adam(beta1=0.9)
    memory = rule.init(p)
    p, memory = rule.update(p, g, memory, lr)

Each takes the settings of its counterpart.  The parameter keeps its dtype; what is remembered is float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Memory = dict[str, Any]


class Rule(NamedTuple):
    """init(p) -> memory;  update(p, g, memory, lr) -> (p, memory)."""

    init: Callable[[np.ndarray], Memory]
    update: Callable[[np.ndarray, np.ndarray, Memory, float], tuple[np.ndarray, Memory]]


def _rule(names: tuple[str, ...], change: Callable[..., np.ndarray], start: float = 0.0) -> Rule:
    """A rule that remembers these arrays, the number of updates, and the parameter itself before it was rounded.

    change(p, g, memory, lr) returns the new p, in float64, and writes into memory.
    """

    def init(p: np.ndarray) -> Memory:
        wide = np.asarray(p, np.float64)
        return {"updates": 0, "exact": wide.copy(), **{n: np.full_like(wide, start) for n in names}}

    def update(p: np.ndarray, g: np.ndarray, memory: Memory, lr: float) -> tuple[np.ndarray, Memory]:
        memory = {k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in memory.items()}
        dtype = np.asarray(p).dtype
        kept = memory["exact"] if np.array_equal(memory["exact"].astype(dtype), p) else np.asarray(p, np.float64)
        memory["updates"] += 1
        new = change(kept, np.asarray(g, np.float64), memory, float(lr))
        memory["exact"] = new
        return new.astype(dtype), memory

    return Rule(init, update)


def sgd(
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    *,
    first: str = "whole",
    dampen_always: bool = False,
) -> Rule:
    """Polyak 1964; Nesterov as Sutskever et al. 2013 write it; options as of the counterpart."""

    def change(p: np.ndarray, g: np.ndarray, memory: Memory, lr: float) -> np.ndarray:
        raw, g = g, g + weight_decay * p
        share = 1 - dampening if dampen_always or momentum else 1.0
        velocity = momentum * memory["velocity"] + share * g
        if memory["updates"] == 1 and first != "dampened":
            velocity = raw if first == "bare" else g
        memory["velocity"] = velocity
        return p - lr * (g + momentum * velocity if nesterov else velocity)

    return _rule(("velocity",), change)


def _moments(g: np.ndarray, memory: Memory, beta1: float, beta2: float, epsilon: float, correction: str) -> np.ndarray:
    """The direction of Adam: Kingma and Ba 2015, algorithm 1; "rate": the reordering at the end of their section 2."""
    t = memory["updates"]
    memory["mean"] = beta1 * memory["mean"] + (1 - beta1) * g
    memory["square"] = beta2 * memory["square"] + (1 - beta2) * g**2
    mean, square = memory["mean"], memory["square"]
    if correction == "none":
        return mean / (np.sqrt(square) + epsilon)
    if correction == "rate":
        return np.sqrt(1 - beta2**t) / (1 - beta1**t) * mean / (np.sqrt(square) + epsilon)
    return mean / (1 - beta1**t) / (np.sqrt(square / (1 - beta2**t)) + epsilon)


def adam(
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    *,
    bias_correction: str = "moments",
) -> Rule:
    """Kingma and Ba 2015, decay added to the gradient."""

    def change(p: np.ndarray, g: np.ndarray, memory: Memory, lr: float) -> np.ndarray:
        return p - lr * _moments(g + weight_decay * p, memory, beta1, beta2, epsilon, bias_correction)

    return _rule(("mean", "square"), change)


def adamw(
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    *,
    decay: str = "before",
    bias_correction: str | None = None,
) -> Rule:
    """Loshchilov and Hutter 2019, algorithm 2."""
    correction = bias_correction or ("moments" if decay == "before" else "rate")

    def change(p: np.ndarray, g: np.ndarray, memory: Memory, lr: float) -> np.ndarray:
        step = lr * _moments(g, memory, beta1, beta2, epsilon, correction)
        kept = 1 - lr * weight_decay
        return kept * p - step if decay == "before" else kept * (p - step)

    return _rule(("mean", "square"), change)


def _root(square: np.ndarray, epsilon: float, epsilon_at: str) -> np.ndarray:
    return np.sqrt(square + epsilon) if epsilon_at == "inside" else np.sqrt(square) + epsilon


def rmsprop(
    rho: float = 0.99, epsilon: float = 1e-8, weight_decay: float = 0.0, *, epsilon_at: str = "outside"
) -> Rule:
    """Tieleman and Hinton 2012, lecture 6.5."""

    def change(p: np.ndarray, g: np.ndarray, memory: Memory, lr: float) -> np.ndarray:
        g = g + weight_decay * p
        memory["square"] = rho * memory["square"] + (1 - rho) * g**2
        return p - lr * g / _root(memory["square"], epsilon, epsilon_at)

    return _rule(("square",), change)


def adagrad(
    epsilon: float = 1e-10, weight_decay: float = 0.0, *, initial: float = 0.0, epsilon_at: str = "outside"
) -> Rule:
    """Duchi et al. 2011, with a diagonal matrix."""

    def change(p: np.ndarray, g: np.ndarray, memory: Memory, lr: float) -> np.ndarray:
        g = g + weight_decay * p
        memory["square"] = memory["square"] + g**2
        return p - lr * g / _root(memory["square"], epsilon, epsilon_at)

    return _rule(("square",), change, initial)
