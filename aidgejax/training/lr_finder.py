"""Which learning rate? Loss against a rate that grows from step to step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import DataError, SettingError
from ..execution.program_like import ProgramLike
from .data import Dataset, batch_order
from .fit import fitting
from .loop import make_epoch, make_step, start
from .optim import Optimizer


def find_learning_rate(
    program: ProgramLike,
    optimizer: Optimizer,
    data: Dataset,
    *,
    batch_size: int,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    seed: int = 0,
    loss: str = "loss",
) -> tuple[np.ndarray, np.ndarray, float]:
    """(rates f32[k], losses f32[k], suggestion): one update per rate, from the graph's own weights.

    The rates grow geometrically from lowest to highest; what comes after the loss stops being finite is cut off.
    suggestion: the rate at which the smoothed loss falls fastest.  Source: Smith 2017, arXiv:1506.01186, section 3.3.
    """
    if not 0 < lowest < highest or steps < 10:
        raise SettingError(
            f"rates from {lowest} to {highest} in {steps} steps: expected 0 < lowest < highest, 10 steps"
        )
    data = fitting(program.graph, data)
    epochs = -(-steps // max(1, len(data) // batch_size))
    rows = np.concatenate([batch_order(len(data), batch_size, seed=seed, epoch=e)[0] for e in range(epochs)])[:steps]
    growth = np.log(highest / lowest) / (steps - 1)

    def rate(step: Any) -> Any:
        return lowest * jnp.exp(growth * step.astype(jnp.float32))

    epoch = make_epoch(make_step(program, optimizer, rate, loss=loss))
    _, records = epoch(start(program, optimizer, jax.random.key(seed)), rows, None, data.on_device())
    rates, losses = np.asarray(records["learning_rate"]), np.asarray(records["loss"])
    good = int(np.argmin(np.isfinite(losses))) if not np.isfinite(losses).all() else len(losses)
    if good < 5:
        raise DataError(f"the loss stops being finite at step {good + 1}, at a rate of {rates[good]:g}: start lower")
    rates, losses = rates[:good], losses[:good]
    width = max(3, good // 10)
    smooth = np.convolve(np.pad(losses, width // 2, mode="edge"), np.ones(width) / width, "valid")[:good]
    lowest_at = max(2, int(np.argmin(smooth)))
    return rates, losses, float(rates[int(np.argmin(np.gradient(smooth[: lowest_at + 1])))])
