"""Aidge's ways of rounding to integers: for Round, and for averages of integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import GraphViewError

AWAY = "half_away_from_zero"
ROUNDING_MODES = (
    AWAY, "half_toward_zero", "half_to_even", "half_even", "half_to_odd", "half_up", "half_down",
    "away_from_zero", "toward_zero", "up", "down",
)  # fmt: skip


def rounding_mode_of(rounding_mode: Any) -> str:
    """The mode by name: a member of RoundingMode, or its name in either case.  Raises GraphViewError for another."""
    mode = getattr(rounding_mode, "name", str(rounding_mode)).lower()
    if mode not in ROUNDING_MODES:
        raise GraphViewError(f"there is no rounding_mode {rounding_mode!r}; it is one of {', '.join(ROUNDING_MODES)}")
    return mode


def rounded(c: Any, x: Any, rounding_mode: Any, last: Callable[..., Any]) -> Any:
    """x, rounded: f[*s] -> f[*s].

    half_...: to the nearest integer, and only what lies between two goes where the name says; up and down are towards
    plus and minus infinity.  last: c.named where this is an operator's result, else c.step.
    """
    mode = rounding_mode_of(rounding_mode)
    if mode == AWAY:
        return last("Round", x, halves="away")
    if mode in ("half_to_even", "half_even"):
        return last("Round", x, halves="even")
    if mode == "half_up":
        return last("Floor", c.step("Add", x, 0.5))
    if mode == "half_down":
        return last("Ceil", c.step("Sub", x, 0.5))
    if mode in ("down", "up"):
        return last({"down": "Floor", "up": "Ceil"}[mode], x)
    if mode in ("toward_zero", "away_from_zero", "half_toward_zero"):
        size = c.step("Abs", x)
        size = c.step("Sub", size, 0.5) if mode == "half_toward_zero" else size
        return last("Mul", c.step("Sign", x), c.step("Floor" if mode == "toward_zero" else "Ceil", size))
    low, even = c.step("Floor", x), c.step("Round", x, halves="even")
    odd = c.step("Sub", c.step("Add", low, c.step("Add", low, 1.0)), even)
    return last("Where", c.step("Equal", c.step("Sub", x, low), 0.5), odd, even)
