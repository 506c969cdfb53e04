"""Learning-rate schedules by name, as the command line has them: from a highest rate, over a number of updates."""

from __future__ import annotations

from collections.abc import Callable

from ..training import schedule

SCHEDULES: dict[str, Callable[[float, int], schedule.Schedule]] = {
    "constant": lambda lr, steps: schedule.constant(lr),
    "step": lambda lr, steps: schedule.step_lr(lr, max(1, steps // 3)),
    "cosine": lambda lr, steps: schedule.cosine(lr, steps, periodic=False),
    "linear": lambda lr, steps: schedule.linear(lr, steps),
    "exponential": lambda lr, steps: schedule.exponential(lr, steps, 0.01),
    "polynomial": lambda lr, steps: schedule.polynomial(lr, steps, 2.0),
}


def schedule_named(name: str, lr: float, steps: int, warmup: int | None = None) -> schedule.Schedule:
    """The schedule `name` of `steps` updates from the rate `lr`, behind so many updates of linear warm-up."""
    rate = SCHEDULES[name](lr, steps)
    return schedule.warmup(rate, warmup) if warmup else rate
