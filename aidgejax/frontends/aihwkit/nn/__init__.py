"""aihwkit.nn: analog layers, for torch tensors and for arrays.

    layer = AnalogLinear(4, 3, bias=True, rpu_config=config)
    loss(layer(tensor)).backward()       # with torch: layers are torch modules, their parameters torch's
    y = layer(array)                     # JAX or NumPy arrays; the layer keeps what its backward needs
    dx = layer.backward(dy)              # gradients add up in layer.grads
    optimizer.step()                     # see aihwkit.optim

Without torch there is no tape: `backward` of a layer, or of an AnalogSequential, takes the gradient of its last output
that was not taken yet.
"""

from .modules.container import AnalogSequential, AnalogWrapper
from .modules.conv import (
    AnalogConv1d,
    AnalogConv1dMapped,
    AnalogConv2d,
    AnalogConv2dMapped,
    AnalogConv3d,
    AnalogConv3dMapped,
)
from .modules.functions import BatchNorm2d, Dropout, Flatten, LogSoftmax, MaxPool2d, ReLU, Sigmoid, Tanh
from .modules.linear import AnalogLinear, AnalogLinearMapped
from .modules.rnn.cells import (
    AnalogGRUCell,
    AnalogLSTMCell,
    AnalogLSTMCellCombinedWeight,
    AnalogVanillaRNNCell,
)
from .modules.rnn.rnn import AnalogGRU, AnalogLSTM, AnalogRNN

__all__ = [
    "AnalogConv1d", "AnalogConv1dMapped", "AnalogConv2d", "AnalogConv2dMapped", "AnalogConv3d", "AnalogConv3dMapped",
    "AnalogGRU", "AnalogGRUCell", "AnalogLSTM", "AnalogLSTMCell", "AnalogLSTMCellCombinedWeight", "AnalogLinear",
    "AnalogLinearMapped", "AnalogRNN", "AnalogSequential", "AnalogVanillaRNNCell", "AnalogWrapper", "BatchNorm2d",
    "Dropout", "Flatten", "LogSoftmax", "MaxPool2d", "ReLU", "Sigmoid", "Tanh",
]  # fmt: skip
