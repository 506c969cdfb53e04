"""Recurrent cells on analog tiles, for tensors."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from ....exceptions import ModuleError
from .._module import Module, adopt_torch
from ..linear import AnalogLinear


class LSTMState(NamedTuple):
    """Hidden and cell state of an LSTM."""

    hx: Any
    cx: Any


def needed_torch(what: str) -> Any:
    """The module torch.  ModuleError without it."""
    if not adopt_torch():
        raise ModuleError(f"{what} is for torch tensors: import torch first (pip install torch)")
    return sys.modules["torch"]


class Cell(Module):
    """gates: how many blocks of hidden_size outputs its products have."""

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, rpu_config: Any = None, tile_module_class: Any = None
    ) -> None:
        needed_torch(type(self).__name__)
        super().__init__()
        self.input_size, self.hidden_size, self.bias, self.rpu_config = input_size, hidden_size, bias, rpu_config
        self.weight_ih = self.linear(input_size, self.gates * hidden_size, bias, rpu_config, tile_module_class)
        self.weight_hh = self.linear(hidden_size, self.gates * hidden_size, bias, rpu_config, tile_module_class)

    def linear(self, inputs: int, outputs: int, bias: bool, rpu_config: Any, tile_module_class: Any) -> Any:
        """A layer of tiles; torch's own where there is no config, as in aihwkit."""
        if rpu_config is None:
            return sys.modules["torch"].nn.Linear(inputs, outputs, bias)
        return AnalogLinear(inputs, outputs, bias, rpu_config, tile_module_class)

    def get_zero_state(self, batch_size: int) -> Any:
        """The state before the first input."""
        return sys.modules["torch"].zeros(batch_size, self.hidden_size)


class AnalogVanillaRNNCell(Cell):
    """h' = tanh(W x + b + V h + c)"""

    def forward(self, input_: Any, state: Any) -> tuple[Any, Any]:
        h = (self.weight_ih(input_) + self.weight_hh(state)).tanh()
        return h, h


class AnalogLSTMCell(Cell):
    """i, f, g, o = W x + b + V h + c;  c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')"""

    gates = 4

    def get_zero_state(self, batch_size: int) -> Any:
        zeros = super().get_zero_state(batch_size)
        return LSTMState(zeros, zeros.clone())

    def products(self, x: Any, h: Any) -> Any:
        return self.weight_ih(x) + self.weight_hh(h)

    def forward(self, input_: Any, state: Any) -> tuple[Any, Any]:
        h, c = state
        i, f, g, o = self.products(input_, h).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h, LSTMState(h, c)


class AnalogLSTMCellCombinedWeight(AnalogLSTMCell):
    """The same with one layer for [x, h]."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, rpu_config: Any = None, tile_module_class: Any = None
    ) -> None:
        needed_torch(type(self).__name__)
        Module.__init__(self)
        self.input_size, self.hidden_size, self.bias, self.rpu_config = input_size, hidden_size, bias, rpu_config
        self.weight = self.linear(input_size + hidden_size, 4 * hidden_size, bias, rpu_config, tile_module_class)

    def products(self, x: Any, h: Any) -> Any:
        return self.weight(sys.modules["torch"].cat((x, h), 1))


class AnalogGRUCell(Cell):
    """r, z, n of W x + b and V h + c: h' = n + sigmoid(z) (h - n), n = tanh(n_x + sigmoid(r) n_h)"""

    gates = 3

    def linear(self, inputs: int, outputs: int, bias: bool, rpu_config: Any, tile_module_class: Any) -> Any:
        return AnalogLinear(inputs, outputs, bias, rpu_config, tile_module_class)

    def forward(self, input_: Any, state: Any) -> tuple[Any, Any]:
        r_x, z_x, n_x = self.weight_ih(input_).chunk(3, 1)
        r_h, z_h, n_h = self.weight_hh(state).chunk(3, 1)
        n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
        h = n + (z_x + z_h).sigmoid() * (state - n)
        return h, h
