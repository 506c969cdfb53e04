"""What a chip or a runtime can do, and whether a deployed graph asks for more.

scheme = targets["cortex-m"].scheme(8)
print(misfits(integers, "cortex-m"))       # [] where it fits
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import checked_call, checked_fields
from ..errors import SettingError
from ..graph import Graph
from .proof import largest_sums
from .reading import grids_of
from .scheme import Grid, Scheme
from .sites import LAYERS

ARITHMETIC = (
    *LAYERS, "Add", "Sub", "Concat", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
    "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Pad",
)  # fmt: skip


@checked_fields
@dataclass(frozen=True)
class Target:
    """weights, activations: the bits there are.  accumulator: bits of a sum.  scales: "any" or "power_of_two".
    per_channel: may a weight have a step per channel?  operators: those that there are, None for any.
    form: what is written for it (forms.py); packed: weights of at most 4 bits two to a byte."""

    name: str
    weights: tuple[int, ...] = (8,)
    activations: tuple[int, ...] = (8,)
    accumulator: int = 32
    scales: str = "any"
    per_channel: bool = True
    operators: tuple[str, ...] | None = None
    form: str = "qdq"
    packed: bool = False

    def __post_init__(self) -> None:
        for name in ("weights", "activations"):
            there = getattr(self, name)
            if not isinstance(there, tuple | list) or not there or not all(isinstance(b, int) for b in there):
                raise SettingError(f"target {self.name!r} with {name} {there!r}: expected bits, such as (4, 8)")

    def scheme(self, bits: int, activations: int | None = None, **settings: Any) -> Scheme:
        """A scheme that the target can compute; the bits must be among its own.  settings: as Scheme's."""
        activations = activations or bits
        for what, asked, there in (("weights", bits, self.weights), ("activations", activations, self.activations)):
            if asked not in there:
                raise SettingError(
                    f"target {self.name!r} has no {what} of {asked} bits; it has {', '.join(map(str, there))}"
                )
        if self.scales == "power_of_two" and settings.setdefault("step", "power_of_two") not in (
            "power_of_two",
            "fixed_point",
        ):
            raise SettingError(f"target {self.name!r} scales by shifts: step has to be 'power_of_two' or 'fixed_point'")
        per = "channel" if self.per_channel else "tensor"
        if max(self.weights) >= 8 and max(self.activations) >= 8 and min(bits, activations) < 8:
            settings.setdefault("ends", 8)
        return Scheme(Grid(bits, per=per), Grid(activations), **settings)


FEW = tuple(range(2, 9))


class _Targets(dict[str, Target]):
    def __missing__(self, name: str) -> Target:
        raise _no_target(name)


def _no_target(name: object) -> SettingError:
    return SettingError(f"there is no target {name!r}; there are {', '.join(targets)}, or make a Target")


targets: dict[str, Target] = _Targets(
    (t.name, t)
    for t in (
        Target("onnxruntime", FEW, (*FEW, 16)),
        Target("cortex-m", FEW, FEW, operators=ARITHMETIC, form="c"),  # smaller ones lie in bytes
        Target("shift", FEW, FEW, scales="power_of_two", operators=ARITHMETIC, form="c"),
        Target("aidge", FEW, FEW, per_channel=False, form="aidge"),
        Target("finn", FEW, FEW, form="qonnx"),
    )
)


def target_called(target: Target | str) -> Target:
    """The target of this name; a Target is itself.  Raises SettingError."""
    if isinstance(target, Target):
        return target
    if not isinstance(target, str) or target not in targets:
        raise _no_target(target)
    return targets[target]


@checked_call
def misfits(integers: Graph, target: Target | str) -> list[str]:
    """What of a deployed graph a target cannot do, each with its node or tensor; empty where it fits."""
    target = target_called(target)
    found = []
    for t, grid in grids_of(integers).items():
        held = integers.producers.get(grid.integers)
        if held is not None and held.data.dtype == np.int32:
            continue  # a bias
        there = target.weights if held is not None else target.activations
        if not _fits(grid.low, grid.high, there):
            found.append(f"{t}: levels {grid.low} to {grid.high} take more than {max(there)} bits")
        if grid.step.size > 1 and not target.per_channel:
            found.append(f"{t}: {grid.step.size} steps, where the target has one per tensor")
        if target.scales == "power_of_two" and not np.all(np.frexp(grid.step)[0] == 0.5):
            found.append(f"{t}: its step is no power of two")
    for name, most in largest_sums(integers).items():
        if most >= 2 ** (target.accumulator - 1):
            found.append(f"{name}: its sums may reach {most}, beyond {target.accumulator} bits")
    if target.operators is not None:
        found += _operators(integers, (*target.operators, "QuantizeLinear", "DequantizeLinear"))
    return found


def _operators(integers: Graph, there: Iterable[str]) -> list[str]:
    known = set(there)
    return [f"{n.name}: the target has no {n.op}" for n in integers.nodes if n.op not in known]


def _fits(low: int, high: int, bits: tuple[int, ...]) -> bool:
    most = max(bits)
    return (low >= 0 and high < 2**most) or (low >= -(2 ** (most - 1)) and high < 2 ** (most - 1))
