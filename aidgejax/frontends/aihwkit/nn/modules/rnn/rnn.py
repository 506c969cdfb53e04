"""AnalogRNN: layers of analog cells."""

from __future__ import annotations

import math
import sys
import warnings
from typing import Any

from ....exceptions import ModuleError
from .._module import Module, is_tensor
from .._numbers import sizes
from .._tile_array import module_list
from ..container import AnalogContainerBase
from .cells import AnalogGRUCell, AnalogLSTMCell, needed_torch
from .layers import AnalogBidirRNNLayer, AnalogRNNLayer


class ModularRNN(Module):
    """Layers one above the other, with dropout between."""

    def __init__(self, num_layers: int, layer: Any, dropout: float, first: tuple, others: tuple) -> None:
        super().__init__()
        self.layers = module_list([layer(*(others if k else first)) for k in range(num_layers)])
        self.num_layers, self.dropout = num_layers, float(dropout)
        if dropout > 0 and num_layers == 1:
            warnings.warn("dropout acts between layers: with num_layers=1 it does nothing", UserWarning, stacklevel=3)

    def get_zero_state(self, batch_size: int) -> list[Any]:
        return [layer.get_zero_state(batch_size) for layer in self.layers]

    def forward(self, input_: Any, states: Any) -> tuple[Any, list[Any]]:
        new, y = [], input_
        for k, (layer, state) in enumerate(zip(self.layers, states, strict=True)):
            y, state = layer(y, state)
            if k + 1 < self.num_layers and self.dropout:
                y = sys.modules["torch"].nn.functional.dropout(y, self.dropout, self.training)
            new.append(state)
        return y, new


class AnalogRNN(AnalogContainerBase):
    """(outputs, states of each layer) of x [time, batch, features].

    cell: AnalogVanillaRNNCell, AnalogLSTMCell, AnalogLSTMCellCombinedWeight or AnalogGRUCell.  Weights and biases start
    uniform within 1 / sqrt(hidden_size); xavier: as torch's xavier_uniform_, biases 0.  For tensors.
    """

    def __init__(
        self,
        cell: Any,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        rpu_config: Any = None,
        tile_module_class: Any = None,
        xavier: bool = False,
        num_layers: int = 1,
        bidir: bool = False,
        dropout: float = 0.0,
    ) -> None:
        needed_torch(type(self).__name__)
        if not isinstance(cell, type):
            raise ModuleError(f"{type(self).__name__} got the cell {cell!r}: expected a class, such as AnalogLSTMCell")
        sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        super().__init__()
        rest = (hidden_size, bias, rpu_config, tile_module_class)
        kind = AnalogBidirRNNLayer if bidir else AnalogRNNLayer
        width = 2 * hidden_size if bidir else hidden_size
        self.rnn = ModularRNN(num_layers, kind, dropout, (cell, input_size, *rest), (cell, width, *rest))
        self.hidden_size, self.num_layers, self.bidir = hidden_size, num_layers, bidir
        self.reset_parameters(xavier)

    def reset_parameters(self, xavier: bool = False) -> None:
        torch = sys.modules["torch"]
        bound = 1 / math.sqrt(self.hidden_size)
        with torch.no_grad():
            for module in self.modules():
                analog = not getattr(module, "IS_CONTAINER", True)
                if not analog and not isinstance(module, torch.nn.Linear):
                    continue
                weight, bias = module.get_weights() if analog else (module.weight, module.bias)
                if xavier:
                    torch.nn.init.xavier_uniform_(weight)
                else:
                    weight.uniform_(-bound, bound)
                if bias is not None:
                    bias.zero_() if xavier else bias.uniform_(-bound, bound)
                if analog:
                    module.set_weights(weight, bias)

    def get_zero_state(self, batch_size: int) -> list[Any]:
        return self.rnn.get_zero_state(batch_size)

    def forward(self, input_: Any, states: Any = None) -> tuple[Any, list[Any]]:
        name = type(self).__name__
        if not is_tensor(input_) or input_.ndim != 3:
            got = list(input_.shape) if is_tensor(input_) else type(input_).__name__
            raise ModuleError(f"{name} got {got}: expected a tensor of shape [time, batch, features]")
        zeros = self.get_zero_state(input_.shape[1])
        if states is not None:
            check_states(f"the states of {name}", states, zeros)
        return self.rnn(input_, zeros if states is None else states)


def check_states(what: str, states: Any, zeros: Any) -> None:
    """ModuleError that names the place unless states has the parts and shapes of get_zero_state's."""
    if is_tensor(zeros):
        if not is_tensor(states):
            got = type(states).__name__
        elif states.shape != zeros.shape:
            got = f"the shape {list(states.shape)}"
        else:
            return
        raise ModuleError(f"{what}: got {got}, expected a tensor of shape {list(zeros.shape)}")
    if not isinstance(states, list | tuple) or len(states) != len(zeros):
        got = f"{len(states)} parts" if isinstance(states, list | tuple) else f"a {type(states).__name__}"
        raise ModuleError(f"{what}: got {got}, expected {len(zeros)}, as get_zero_state(batch_size) has them")
    for k, (state, zero) in enumerate(zip(states, zeros, strict=True)):
        check_states(f"{what}, part {k}", state, zero)


class AnalogLSTM(AnalogRNN):
    """AnalogRNN of AnalogLSTMCell; not one of aihwkit's names."""

    def __init__(self, input_size: int, hidden_size: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(AnalogLSTMCell, input_size, hidden_size, *args, **kwargs)


class AnalogGRU(AnalogRNN):
    """AnalogRNN of AnalogGRUCell; not one of aihwkit's names."""

    def __init__(self, input_size: int, hidden_size: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(AnalogGRUCell, input_size, hidden_size, *args, **kwargs)
