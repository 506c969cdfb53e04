"""Loss scaling for float16: gradients too small for its range are computed larger by a factor, and divided again.

    state = start(program, optimizer, key)             # its loss_scale is set where the graph computes in float16
    step = make_step(program, optimizer, schedule)     # follows state.loss_scale

The factor moves by itself.  Where a gradient is not finite the update is left out and the factor falls; after `period`
updates without that it grows.  Factors are powers of two, so dividing by them rounds nothing.  All of it is a pure
function of the state: it is compiled with the step, saved with the state and resumed to the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..errors import SettingError

LEAST = 1.0
# The cotangent of a float16 loss is the factor itself, and 2**16 is infinite there.
MOST_IN_FLOAT16 = 2.0**15


class LossScale(NamedTuple):
    """factor: f32[], what the loss is multiplied by.  finite: i32[], the updates since it last changed."""

    factor: Any
    finite: Any


@dataclass(frozen=True)
class LossScaling:
    """How the factor moves: from `initial`, times `growth` after `period` updates, times `backoff` at an overflow.

    It stays between 1 and `most`.  Source of the defaults: torch.amp.GradScaler, but for `initial` (2**16 there).
    """

    initial: float = 2.0**15
    growth: float = 2.0
    backoff: float = 0.5
    period: int = 2000
    most: float = 2.0**24

    def __post_init__(self) -> None:
        powers = {"initial": self.initial, "growth": self.growth, "backoff": self.backoff, "most": self.most}
        for name, value in powers.items():
            if not (0 < value < math.inf) or math.frexp(value)[0] != 0.5:
                raise SettingError(
                    f"loss scaling: {name} is {value!r}; expected a power of two, so that nothing rounds"
                )
        if not (LEAST <= self.initial <= self.most and self.growth >= 1 and self.backoff < 1 and self.period >= 1):
            raise SettingError(
                f"loss scaling: expected 1 <= initial <= most, growth >= 1, backoff < 1 and period >= 1, got {self}"
            )

    def start(self) -> LossScale:
        """The state of loss scaling before the first step."""
        return LossScale(jnp.float32(self.initial), jnp.int32(0))

    def after(self, scale: LossScale, finite: Any, dtype: Any = jnp.float32) -> LossScale:
        """The state after a step whose gradients were all finite, or not: bool[].  dtype: of the loss."""
        most = min(self.most, MOST_IN_FLOAT16) if jnp.dtype(dtype) == jnp.float16 else self.most
        count = scale.finite + 1
        grows = count >= self.period
        up = jnp.where(grows, jnp.minimum(scale.factor * self.growth, most), scale.factor)
        down = jnp.maximum(scale.factor * self.backoff, LEAST)
        return LossScale(jnp.where(finite, up, down), jnp.where(finite & ~grows, count, 0))


def needs_loss_scaling(graph: Any) -> bool:
    """Whether a node of the graph computes in float16."""
    return any(graph.value(o).dtype == "float16" for node in graph.nodes for o in node.output_names)


def scaled(cotangent: Any, scale: LossScale | None) -> Any:
    """The cotangent of the loss times the factor, in its dtype."""
    return cotangent if scale is None else (cotangent.astype(jnp.float32) * scale.factor).astype(cotangent.dtype)


def unscaled(grads: Any, scale: LossScale | None) -> Any:
    """The gradients divided by the factor, in float32 or wider."""
    if scale is None:
        return grads

    def divided(g: Any) -> Any:
        g = g.astype(jnp.promote_types(g.dtype, jnp.float32))
        return g / scale.factor.astype(g.dtype)

    return jax.tree.map(divided, grads)


def overflowed(record: Any) -> Any:
    """Whether this step left its update out for an overflow that a smaller factor may mend; bool[]."""
    if "loss_scale" not in record:
        return jnp.bool_(False)
    return ~jnp.isfinite(record["gradient_norm"]) & (record["loss_scale"] > LEAST)
