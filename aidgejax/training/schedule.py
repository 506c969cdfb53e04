"""Learning-rate schedules: functions of the step, i[] (updates made so far) -> f32[].

    rate = warmup(cosine(0.1, max_steps=1000), 50)
    rate(0), rate(1000)
    lr_profile(rate, 1000)

No object, no hidden counter: the training loop holds the step.  Each function jits, scans and vmaps.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..errors import SettingError
from .recipes import reproducible

Schedule = Callable[[Any], Any]


@reproducible
def constant(initial_lr: Any) -> Schedule:
    """initial_lr at every step."""
    _check_rate(initial_lr)
    return lambda step: jnp.full_like(_float(step), initial_lr)


def schedule_of(rate: Schedule | float) -> Schedule:
    """A schedule as it is; a number as `constant`, which refuses what is none."""
    return rate if callable(rate) else constant(rate)


@reproducible
def step_lr(initial_lr: Any, step_size: Any, gamma: float = 0.1, skip: int = 0) -> Schedule:
    """initial_lr * gamma ** (step // step_size): a decay point every step_size steps.

    skip: the decay points up to this step are not applied, now or later; `warmup` uses it.
    """
    _check_rate(initial_lr)
    _check_count("step_size", step_size, least=1)
    _check_count("skip", skip)
    _check_number("gamma", gamma)

    def decayed(step: Any) -> Any:
        decays = jnp.maximum(_int(step) // step_size - skip // step_size, 0)
        return initial_lr * jnp.power(jnp.float32(gamma), _float(decays))

    def after_warmup(steps: int) -> Schedule:
        return step_lr(initial_lr, step_size, gamma, skip=max(skip, steps))

    schedule: Any = decayed
    schedule.after_warmup = after_warmup  # for `warmup`
    return schedule


@reproducible
def exponential(initial_lr: Any, decay_steps: Any, decay_rate: Any, staircase: bool = False) -> Schedule:
    """initial_lr * decay_rate ** (step / decay_steps); staircase: with the quotient rounded down.

    Source: singa.opt.ExponentialDecay.
    """
    _check_rate(initial_lr)
    _check_count("decay_steps", decay_steps, least=1)
    _check_number("decay_rate", decay_rate, least=0.0)

    def schedule(step: Any) -> Any:
        decays = _int(step) // decay_steps if staircase else _float(step) / decay_steps
        return initial_lr * jnp.power(jnp.float32(decay_rate), _float(decays))

    return schedule


@reproducible
def cosine(initial_lr: Any, max_steps: Any, min_decay: float = 0.0, periodic: bool = True) -> Schedule:
    """initial_lr * (d + (1 - d) * (1 + cos(pi * step / max_steps)) / 2), and d = min_decay.

    min_decay: the lowest rate as a FRACTION of initial_lr, reached at max_steps.
    periodic: the rate rises again after max_steps, as in Aidge and torch; False: it stays at its lowest.
    """
    _check_rate(initial_lr)
    _check_count("max_steps", max_steps, least=1)
    _check_number("min_decay", min_decay, least=0.0, most=1.0)

    def schedule(step: Any) -> Any:
        # The remainder is taken in integers: float32 would round pi * step after some million steps.
        step = _int(step) % (2 * max_steps) if periodic else jnp.minimum(_int(step), max_steps)
        fall = (1 + jnp.cos(math.pi * _float(step) / max_steps)) / 2
        return initial_lr * (min_decay + (1 - min_decay) * fall)

    return schedule


@reproducible
def polynomial(initial_lr: Any, max_steps: Any, power: float = 1.0) -> Schedule:
    """initial_lr * (1 - step / max_steps) ** power; 0 ** power from max_steps on (Aidge: negative, or NaN)."""
    _check_rate(initial_lr)
    _check_count("max_steps", max_steps, least=1)
    _check_number("power", power, least=0.0)
    return lambda step: initial_lr * jnp.power(_float(jnp.maximum(max_steps - _int(step), 0)) / max_steps, power)


@reproducible
def linear(initial_lr: Any, max_steps: Any, final_lr: float = 0.0, warmup_steps: int = 0) -> Schedule:
    """From initial_lr straight to final_lr, reached at max_steps and kept.

    warmup_steps: before that, from 0 to initial_lr, as Hugging Face and ONNX Runtime count it: step k < warmup_steps
    has initial_lr * k / warmup_steps, so the very first update has rate 0.  (`warmup` starts above 0.)
    Source: onnxruntime.training.api.LinearLRScheduler, with its two counts in the documented order.
    """
    _check_rate(initial_lr)
    _check_rate(final_lr, "final_lr")
    _check_count("max_steps", max_steps, least=1)
    _check_count("warmup_steps", warmup_steps)
    if warmup_steps >= max_steps:
        raise SettingError(
            f"warmup_steps is {warmup_steps} and max_steps is {max_steps}: the warm-up is part of "
            f"max_steps, and something must be left to descend"
        )

    def schedule(step: Any) -> Any:
        step = _float(step)
        down = jnp.clip((step - warmup_steps) / (max_steps - warmup_steps), 0, 1)
        up = step / max(warmup_steps, 1)
        return jnp.where(step < warmup_steps, initial_lr * up, initial_lr + (final_lr - initial_lr) * down)

    return schedule


@reproducible
def warmup(schedule: Any, steps: Any) -> Schedule:
    """schedule(0) * (step + 1) / (steps + 1) up to step `steps`; afterwards `schedule` at that step.

    The rate is never 0, and reaches its peak at step `steps`.  A decay point of `step_lr` that falls inside the ramp is
    not applied later.  Source: aidge_learning's lr_profile (its training loop is off by one: it never peaks).
    """
    _check_count("steps", steps)
    after = schedule.after_warmup(steps) if hasattr(schedule, "after_warmup") else schedule

    def warmed(step: Any) -> Any:
        ramp = schedule(0) * (_float(step) + 1) / (steps + 1)
        return jnp.where(_int(step) <= steps, ramp, after(step))

    return warmed


def lr_profile(schedule: Any, steps: Any) -> Any:
    """The rates of the first `steps` updates, f32[steps]: something to plot before training."""
    _check_count("steps", steps)
    return jax.vmap(schedule)(jnp.arange(steps))


# ---- inside -------------------------------------------------------------------------------------------


def _int(step: Any) -> Any:
    return jnp.minimum(step, 2**31 - 1).astype(jnp.int32)


def _float(step: Any) -> Any:
    return jnp.asarray(step, jnp.float32)


def _check_rate(value: Any, name: str = "initial_lr") -> None:
    _check_number(name, value, least=0.0)


def _check_number(name: Any, value: Any, least: Any = -math.inf, most: Any = math.inf) -> None:
    if isinstance(value, jax.Array):  # may be traced: then nobody can look at it
        return
    known = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not known or not least <= value <= most:
        high = "" if most == math.inf else f" and at most {most:g}"
        low = "" if least == -math.inf else f" of at least {least:g}"
        raise SettingError(f"{name} is {value!r}: expected a finite number{low}{high}")


def _check_count(name: Any, value: Any, least: int = 0) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise SettingError(f"{name} is {value!r}: expected a whole number of steps, {least} or more")
