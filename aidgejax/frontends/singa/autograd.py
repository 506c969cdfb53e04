# ruff: noqa: F401, F403  (this module is where SINGA's users find all these names)
"""singa.autograd: operations that leave a tape, and `backward`, which walks it.

    autograd.training = True
    loss = autograd.softmax_cross_entropy(autograd.matmul(x, w), target)
    for p, g in autograd.backward(loss):
        sgd.update(p, g)

training: the flag of this module that a user sets.  While it is False (the default) operations keep nothing for a
backward, batch normalization uses its running statistics, and dropout does nothing.

Every operation is a few nodes of an aidgejax Graph, compiled once per shape; its gradient is the rules of those
operators.  `to_graph` puts the tape below a tensor together as one Graph.
"""

from functools import partial
from typing import Any

from ._elementwise import *
from ._elementwise import WRITERS, _and, _not, _or, _xor
from ._export import to_graph
from ._losses import *
from ._network import *
from ._operation import Built, Dummy, Operation, Operator, backward, gradients, infer_dependency
from ._shaping import *
from .tensor import Tensor

training = False

_LAYERS = (
    "Layer",
    "Linear",
    "Conv2d",
    "SeparableConv2d",
    "BatchNorm2d",
    "Pooling2d",
    "MaxPool2d",
    "AvgPool2d",
    "MaxPool1d",
    "AvgPool1d",
    "RNN_Base",
    "RNN",
    "LSTM",
)


def __getattr__(name: str) -> Any:
    if name in _LAYERS:  # layers are made of operations, so they are looked up when they are asked for
        from . import layer

        return getattr(layer, name)
    if name in WRITERS:  # an operation as an object: ReLU()(x)[0]
        return partial(Built, name, WRITERS[name])
    raise AttributeError(f"singa.autograd has no {name!r}")


def axis_helper(y_shape: Any, x_shape: Any) -> tuple[int, ...]:
    """The axes of y over which a gradient is summed to come back to x, which was broadcast to y."""
    missing = len(y_shape) - len(x_shape)
    return tuple(k for k, d in enumerate(y_shape) if k < missing or x_shape[k - missing] != d)


def back_broadcast(y_shape: Any, x_shape: Any, x: Any) -> Any:
    """x, an array of shape y_shape, summed back to x_shape."""
    from ._storage import raw

    return raw(x).sum(axis_helper(y_shape, x_shape)).reshape(tuple(x_shape))


def ctensor2numpy(x: Any) -> Any:
    """A raw tensor as a NumPy array."""
    import numpy as np

    from ._storage import raw

    return np.array(raw(x))
