"""Cells run over time: forwards, backwards, both.  Inputs are [time, batch, features]."""

from __future__ import annotations

import sys
from typing import Any

from .._module import Module
from .._tile_array import module_list


class AnalogRNNLayer(Module):
    """A cell from the first input to the last: (outputs, last state)."""

    reversed = False

    def __init__(self, cell: Any, *cell_args: Any) -> None:
        super().__init__()
        self.cell = cell(*cell_args)

    def get_zero_state(self, batch_size: int) -> Any:
        return self.cell.get_zero_state(batch_size)

    def forward(self, input_: Any, state: Any) -> tuple[Any, Any]:
        outputs = []
        for x in reversed(input_.unbind(0)) if self.reversed else input_.unbind(0):
            y, state = self.cell(x, state)
            outputs.append(y)
        return sys.modules["torch"].stack(outputs[::-1] if self.reversed else outputs), state


class AnalogReverseRNNLayer(AnalogRNNLayer):
    """The same from the last input to the first."""

    reversed = True


class AnalogBidirRNNLayer(Module):
    """Both; outputs side by side, states in a list of two."""

    def __init__(self, cell: Any, *cell_args: Any) -> None:
        super().__init__()
        self.directions = module_list([AnalogRNNLayer(cell, *cell_args), AnalogReverseRNNLayer(cell, *cell_args)])

    def get_zero_state(self, batch_size: int) -> Any:
        return [d.get_zero_state(batch_size) for d in self.directions]

    def forward(self, input_: Any, states: Any) -> tuple[Any, Any]:
        found = [d(input_, s) for d, s in zip(self.directions, states, strict=True)]
        return sys.modules["torch"].cat([y for y, _ in found], -1), [s for _, s in found]
