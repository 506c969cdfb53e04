"""Learning-rate schedulers: a counter over one of the core's schedules, which are functions of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import SettingError
from ...training import schedule
from ..aidge_core.errors import AidgeError

CHUNK = 1024  # rates are computed so many at a time


class SchedulerError(SettingError, AidgeError):
    """A schedule that makes no sense."""


def _checked(make: Callable, *args: Any) -> Callable:
    try:
        return make(*args)
    except SettingError as e:
        raise SchedulerError(str(e)) from None


class LRScheduler:
    """learning_rate() is what the next update uses; update() goes one step on.  Made by constant_lr, step_lr ...

    With W warm-up steps: initial_lr * (k + 1) / (W + 1) up to step W, afterwards the schedule at step k; decay points
    inside the warm-up are not applied.  lr_profile and training use this same sequence.
    """

    def __init__(self, rate: Callable[[Any], Any]) -> None:
        if not callable(rate):
            raise SchedulerError("an LRScheduler is made by constant_lr, step_lr, cosine_lr or poly_lr")
        self._plain, self._rate, self._step = rate, rate, 0
        self._table = np.zeros(0, np.float32)

    @property
    def rate(self) -> Callable[[Any], Any]:
        """The schedule as the core has it: a function of the step."""
        return self._rate

    def learning_rate(self) -> float:
        return float(self._rates(self._step + 1)[self._step])

    def step(self) -> int:
        """How many updates were made."""
        return self._step

    def update(self) -> None:
        self._step += 1

    def continue_from(self, step: int) -> None:
        """So many updates were made elsewhere."""
        self._step = step

    def set_nb_warmup_steps(self, nb_warmup_steps: int) -> None:
        self._rate = _checked(schedule.warmup, self._plain, nb_warmup_steps) if nb_warmup_steps else self._plain
        self._table = self._table[:0]

    def lr_profile(self, nb_steps: int) -> list[float]:
        """The rates of the first nb_steps updates, whatever the current step."""
        if isinstance(nb_steps, bool) or not isinstance(nb_steps, int | np.integer) or nb_steps < 1:
            raise SchedulerError(f"lr_profile: the number of steps is {nb_steps!r}; expected 1 or more")
        return self._rates(int(nb_steps))[:nb_steps].tolist()

    def copy(self) -> LRScheduler:
        copy = LRScheduler(self._plain)
        copy._rate, copy._step, copy._table = self._rate, self._step, self._table
        return copy

    def _rates(self, steps: int) -> np.ndarray:
        while len(self._table) < steps:
            first = len(self._table)
            chunk = jax.jit(jax.vmap(self._rate))(jnp.arange(first, first + CHUNK))
            self._table = np.concatenate([self._table, np.asarray(chunk, np.float32)])
        return self._table

    def __repr__(self) -> str:
        return f"LRScheduler(step = {self._step}, learning_rate = {self.learning_rate():g})"


def _initial(value: Any) -> Any:
    """Aidge takes a negative rate as 0."""
    return max(0.0, value) if isinstance(value, int | float) else value


def constant_lr(initial_lr: float) -> LRScheduler:
    """initial_lr for ever."""
    return LRScheduler(_checked(schedule.constant, _initial(initial_lr)))


def step_lr(initial_lr: float, step_size: int, gamma: float = 0.1) -> LRScheduler:
    """initial_lr * gamma ** (step // step_size)."""
    return LRScheduler(_checked(schedule.step_lr, _initial(initial_lr), step_size, gamma))


def cosine_lr(initial_lr: float, max_steps: int, min_decay: float = 0.0) -> LRScheduler:
    """From initial_lr to min_decay * initial_lr (a fraction) in max_steps, along half a cosine; then up again."""
    return LRScheduler(_checked(schedule.cosine, _initial(initial_lr), max_steps, min_decay))


def poly_lr(initial_lr: float, max_steps: int, power: float = 0.0) -> LRScheduler:
    """initial_lr * (1 - step / max_steps) ** power."""
    return LRScheduler(_checked(schedule.polynomial, _initial(initial_lr), max_steps, power))
