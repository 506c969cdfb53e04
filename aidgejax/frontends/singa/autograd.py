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

import sys
from types import ModuleType
from typing import Any

import numpy as np

from ._ctensor import CTensor, raw
from ._export import to_graph
from ._functional import *
from ._functional import _and, _not, _or, _xor
from ._mode import is_training, set_training
from ._operation import Dummy, Operation, Operator, backward, gradients, infer_dependency
from ._tensor import Tensor
from .layer import (
    LSTM,
    RNN,
    AvgPool1d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Layer,
    Linear,
    MaxPool1d,
    MaxPool2d,
    Pooling2d,
    RNN_Base,
    SeparableConv2d,
)

training: bool  # the flag, which _mode.py holds


class _Autograd(ModuleType):
    """This module, whose attribute `training` is the flag that operations look at."""

    @property
    def training(self) -> bool:
        return is_training()

    @training.setter
    def training(self, on: bool) -> None:
        set_training(on)


sys.modules[__name__].__class__ = _Autograd


def axis_helper(y_shape: Any, x_shape: Any) -> tuple[int, ...]:
    """The axes of y over which a gradient is summed to come back to x, which was broadcast to y."""
    missing = len(y_shape) - len(x_shape)
    return tuple(k for k, d in enumerate(y_shape) if k < missing or x_shape[k - missing] != d)


def back_broadcast(y_shape: Any, x_shape: Any, x: Any) -> Any:
    """x, an array of shape y_shape, summed back to x_shape."""
    return raw(x).sum(axis_helper(y_shape, x_shape)).reshape(tuple(x_shape))


def ctensor2numpy(x: Any) -> Any:
    """A raw tensor as a NumPy array."""
    return np.array(raw(x))
