"""LinearLRScheduler: aidgejax.schedule.linear, applied to an Optimizer."""

from __future__ import annotations

from .....training.schedule import linear
from .._errors import WrongType
from .optimizer import Optimizer


class LinearLRScheduler:
    """From 0 up to initial_lr within the first warmup_step_count updates, then down to 0 at total_step_count.

    It counts the optimizer's updates; call `step` after each.  Source: ONNX Runtime's documentation, whose 1.19.2
    swaps the two counts.
    """

    def __init__(self, optimizer: Optimizer, warmup_step_count: int, total_step_count: int, initial_lr: float) -> None:
        if not isinstance(optimizer, Optimizer):
            raise WrongType(f"optimizer must be an Optimizer, got {type(optimizer).__name__}")
        self._optimizer = optimizer
        self._schedule = linear(initial_lr, total_step_count, warmup_steps=warmup_step_count)
        self.step()

    def step(self) -> None:
        """Set the learning rate of the next update."""
        self._optimizer.set_learning_rate(float(self._schedule(self._optimizer.steps_done)))
