"""What is quantized, and how: grids of integers, and a scheme for a network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..arguments import checked_call, checked_fields, whole_number
from ..errors import SettingError

PER = ("tensor", "channel", "block")
STEPS = ("learned", "fixed", "power_of_two", "fixed_point")
METHODS = ("lsq", "lsq+", "pact", "dorefa", "sat")


@checked_fields
@dataclass(frozen=True)
class Grid:
    """The integers that a tensor may take.

    bits: 2 to 8, or 16.  per: one step for the "tensor", for each output "channel", or for each "block" of `block`
    inputs of a channel (of matrices; other weights then have one per channel).
    symmetric: the zero point is 0; else it is found with the step.  narrow: the lowest level is minus the highest.
    Unsigned levels are used where a tensor cannot be negative.
    """

    bits: int = 8
    per: str = "tensor"
    symmetric: bool = True
    narrow: bool = False
    block: int = 32

    def __post_init__(self) -> None:
        whole = int(self.bits) if isinstance(self.bits, int | np.integer) else 0
        if whole not in (*range(2, 9), 16):
            raise SettingError(f"a grid of {self.bits!r} bits: expected 2 to 8, or 16")
        object.__setattr__(self, "bits", whole)
        if self.per not in PER:
            raise SettingError(f"a grid per {self.per!r}: expected one of {', '.join(PER)}")
        whole_number("the block of a grid", self.block, 1)
        for name in ("symmetric", "narrow"):
            if not isinstance(getattr(self, name), bool):
                raise SettingError(f"a grid with {name} {getattr(self, name)!r}: expected True or False")

    def levels(self, unsigned: bool = False) -> tuple[int, int]:
        """(lowest, highest integer)"""
        if unsigned:
            return 0, 2**self.bits - 1
        half = 2 ** (self.bits - 1)
        return -half + self.narrow, half - 1


def _channel() -> Grid:
    return Grid(8, per="channel")


@checked_fields
@dataclass(frozen=True)
class Scheme:
    """How the layers of a network are quantized.

    weights, activations: their grids.  ends: the bits of the first and the last layer, weights and inputs; None: as
    the others.
    step: "learned" (trained with the weights), "fixed" (as calibrated), "power_of_two" (learned, and rounded to a power
        of two: scaling is a shift), "fixed_point" (a power of two, as calibrated).
    method: whose rule trains: "lsq" (Esser et al. 2020), "lsq+" (Bhalgat et al. 2020: activations with a learned zero
        point), "pact" (Choi et al. 2018: activations learn from what is cut off), "dorefa" (Zhou et al. 2016: weights
        through tanh on fixed steps, activations cut to [0, 1]), "sat" (Jin et al. 2019: dorefa's weights, brought back
        to the spread of their layer, and pact's activations).
    rounding: "even", halves to even, as ONNX's QuantizeLinear and every form that is written: what is trained is what
        is deployed.  Aidge's operators round halves away from zero, and are not converted to.
    """

    weights: Grid = field(default_factory=_channel)
    activations: Grid = field(default_factory=Grid)
    ends: int | None = None
    step: str = "learned"
    method: str = "lsq"
    rounding: str = "even"

    def __post_init__(self) -> None:
        for name in ("weights", "activations"):
            if not isinstance(getattr(self, name), Grid):
                raise SettingError(f"scheme with {name} {getattr(self, name)!r}: expected a Grid, such as Grid(4)")
        for name, kinds in (("step", STEPS), ("method", METHODS)):
            if getattr(self, name) not in kinds:
                raise SettingError(f"scheme with {name} {getattr(self, name)!r}: expected one of {', '.join(kinds)}")
        if self.rounding != "even":
            raise SettingError(
                f"scheme with rounding {self.rounding!r}: files and chips round halves to 'even'; a network trained "
                f"with another rounding is not the one that is deployed"
            )
        if self.activations.per != "tensor":
            raise SettingError(
                f"activations per {self.activations.per!r}: one step for the whole tensor is what integer arithmetic "
                f"has; give the weights one per channel"
            )
        if self.ends is not None:
            Grid(self.ends)

    @property
    def learned(self) -> bool:
        return self.step in ("learned", "power_of_two")

    @property
    def shifts(self) -> bool:
        """Are all steps powers of two?"""
        return self.step in ("power_of_two", "fixed_point")

    def at_end(self) -> Scheme:
        """The scheme of a first or last layer."""
        if self.ends is None:
            return self
        return replace(
            self, weights=replace(self.weights, bits=self.ends), activations=replace(self.activations, bits=self.ends)
        )

    @property
    def name(self) -> str:
        """Such as w4a8."""
        return f"w{self.weights.bits}a{self.activations.bits}"


@checked_call
def bits(weights: int, activations: int | None = None, **settings: Any) -> Scheme:
    """The usual scheme of so many bits: weights per channel, first and last layer at 8 bits where others have fewer.

    settings: of Scheme (ends, step, method, rounding).
    """
    activations = weights if activations is None else activations
    strange = sorted(set(settings) - {"ends", "step", "method", "rounding"})
    if strange:
        raise SettingError(
            f"bits({weights}) with {strange[0]!r}: expected ends, step, method or rounding; what a grid takes (per, "
            f"symmetric, narrow, block) is said by Scheme(Grid(...), Grid(...))"
        )
    grids = Grid(weights, per="channel"), Grid(activations)
    settings.setdefault("ends", 8 if min(weights, activations) < 8 else None)
    return Scheme(*grids, **settings)
