"""aihwkit.nn: analog layers for scripts.

    layer = AnalogLinear(4, 3, bias=True, rpu_config=config)
    y = layer(x)                         # JAX or NumPy arrays; the layer keeps what its backward needs
    dx = layer.backward(dy)              # gradients add up in layer.grads
    optimizer.step()                     # see aihwkit.optim

There is no tape: `backward` of a layer, or of an AnalogSequential, takes the gradient of its last output.
"""

from .layers import AnalogConv1d, AnalogConv2d, AnalogConv3d, AnalogLinear
from .sequential import AnalogSequential, Flatten, ReLU, Sigmoid, Tanh

__all__ = [
    "AnalogConv1d",
    "AnalogConv2d",
    "AnalogConv3d",
    "AnalogLinear",
    "AnalogSequential",
    "Flatten",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
