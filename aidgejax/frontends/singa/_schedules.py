"""Schedules: numbers that depend on the step.  The formulas are aidgejax.schedule's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...training import schedule
from ._errors import BadType, Unsupported
from ._tensor import Tensor


class DecayScheduler:
    """A number that depends on the step: subclass it with `call(step)`, from a Tensor of shape (1,) to another."""

    def __init__(self, init_value: float) -> None:
        self.init_value = init_value

    def __call__(self, step: Any) -> Any:
        """A Tensor of shape (1,) for one; for a number or an array, an array of shape (1,)."""
        if isinstance(step, Tensor):
            return self.call(step)
        return self.call(Tensor(data=jnp.reshape(jnp.asarray(step, jnp.float32), (1,)))).array

    def call(self, step: Tensor) -> Tensor:
        raise Unsupported(f"{type(self).__name__} has no call(step): write one that returns a Tensor")


class Constant(DecayScheduler):
    """init_value, always."""

    def call(self, step: Tensor) -> Tensor:
        return _through(schedule.constant(self.init_value), step)


class ExponentialDecay(DecayScheduler):
    """init_value * decay_rate ** (step / decay_steps); staircase: with the quotient rounded down."""

    def __init__(self, init_value: float, decay_steps: int, decay_rate: float, staircase: bool = False) -> None:
        super().__init__(init_value)
        self.decay_steps, self.decay_rate, self.staircase = decay_steps, decay_rate, staircase
        self._rate = schedule.exponential(init_value, decay_steps, decay_rate, staircase)

    def call(self, step: Tensor) -> Tensor:
        return _through(self._rate, step)


def _through(rate: Callable[[Any], Any], step: Tensor) -> Tensor:
    return Tensor(device=step.device, data=jnp.reshape(rate(step.array), (1,)), requires_grad=False)


def setting(value: Any, what: str) -> DecayScheduler:
    if isinstance(value, DecayScheduler):
        return value
    if type(value) in (int, float) and math.isfinite(value):
        return Number(value)
    raise BadType(
        f"Wrong {what} type: {value!r} ({type(value).__name__}); expected a finite int or float, or a DecayScheduler"
    )


class Number(Constant):
    """A plain number; it may be negative until the optimizer has looked at it."""

    def call(self, step: Tensor) -> Tensor:
        return Tensor(device=step.device, data=np.full((1,), self.init_value, np.float32), requires_grad=False)
