"""singa.layer: layers, whose parameters exist from the first call on.

    linear = Linear(10)
    y = linear(x)                      # now linear.W and linear.b exist
    linear.get_params()                # {"W": ..., "b": ...}

The old constructors with the input size in front, Linear(in, out) and Conv2d(in, out, k), work too.
"""

from __future__ import annotations

from typing import Any

from . import _functional as F
from ._errors import BadSetting, BadType, DoesNotFit
from ._layer_base import Layer, LayerMeta
from ._layers_cudnn import CudnnRNN
from ._layers_image import (
    AvgPool1d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    MaxPool1d,
    MaxPool2d,
    Pooling2d,
    SeparableConv2d,
)
from ._layers_recurrent import LSTM, RNN, RNN_Base
from ._tensor import Tensor

__all__ = [
    "LSTM",
    "RNN",
    "Add",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm2d",
    "BinaryCrossEntropy",
    "Cat",
    "Conv2d",
    "CrossEntropy",
    "CudnnRNN",
    "Dropout",
    "Embedding",
    "Flatten",
    "Gemm",
    "Layer",
    "LayerMeta",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "MeanSquareError",
    "Pooling2d",
    "RNN_Base",
    "ReLU",
    "Reshape",
    "SeparableConv2d",
    "Sigmoid",
    "SoftMax",
    "SoftMaxCrossEntropy",
]


class Linear(Layer):
    """x W + b, with W [in, out].  Linear(out_features, bias=True), or Linear(in_features, out_features[, bias]).

    An input of more than two axes is flattened from axis 1.  W ~ N(0, 2 / (in + out)), b = 0.
    """

    def __init__(self, out_features: int, *args: Any, bias: bool = True, **kwargs: Any) -> None:
        super().__init__()
        refuse_keywords(kwargs)
        self.in_features = None
        if args and not isinstance(args[0], bool):
            self.in_features, out_features = out_features, args[0]
            bias = args[1] if len(args) > 1 else bias
        elif args:
            bias = args[0]
        self.out_features, self.bias = out_features, bias

    def initialize(self, x: Tensor) -> None:
        self.in_features = _columns(x)
        self.W = self.param((self.in_features, self.out_features), x)
        self.W.gaussian(0.0, (2.0 / (self.in_features + self.out_features)) ** 0.5)
        if self.bias:
            self.b = self.param((self.out_features,), x)
            self.b.set_value(0.0)

    def forward(self, x: Tensor) -> Tensor:
        if _columns(x) != self.W.shape[0]:
            raise DoesNotFit(
                f"layer {self.name!r}: Linear layer expects input features size {self.W.shape[0]} "
                f"received {_columns(x)} (from {x.name} of shape {list(x.shape)})"
            )
        x = F.flatten(x) if x.ndim() > 2 else x
        y = F.matmul(x, self.W)
        return F.add_bias(y, self.b, axis=0) if self.bias else y


def _columns(x: Tensor) -> int:
    if x.ndim() < 2:
        raise DoesNotFit(f"Linear takes [n, features], got {x.name} of shape {list(x.shape)}")
    return Tensor(x.shape).size() // x.shape[0] if x.shape[0] else 0


class Gemm(Layer):
    """alpha * x' W' + beta * b; a prime transposes where transA, transB say so.  b has shape (1, nb_kernels)."""

    def __init__(
        self,
        nb_kernels: int,
        alpha: float = 1.0,
        beta: float = 1.0,
        transA: bool = False,
        transB: bool = True,
        bias: bool = True,
        bias_shape: Any = None,
    ) -> None:
        super().__init__()
        self.nb_kernels, self.alpha, self.beta = nb_kernels, alpha, beta
        self.transA, self.transB = int(transA), int(transB)
        self.bias, self.bias_shape = bias, bias_shape

    def initialize(self, x: Tensor) -> None:
        features = x.shape[0] if self.transA else x.shape[-1]
        self.W = self.param((self.nb_kernels, features) if self.transB else (features, self.nb_kernels), x)
        self.W.gaussian(0.0, (2.0 / (features + self.nb_kernels)) ** 0.5)
        if self.bias:
            self.b = self.param(tuple(self.bias_shape) if self.bias_shape else (1, self.nb_kernels), x)
            self.b.set_value(0.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.gemm(x, self.W, self.b if self.bias else None, self.alpha, self.beta, self.transA, self.transB)


class Embedding(Layer):
    """Rows of a table [input_dim, output_dim], one per index.  initializer: "gaussian", or a function of a Tensor."""

    def __init__(self, input_dim: int, output_dim: int, initializer: Any = "gaussian") -> None:
        super().__init__()
        self.input_dim, self.output_dim, self.initializer = input_dim, output_dim, initializer

    def initialize(self, x: Tensor) -> None:
        self._make(x)

    def _make(self, x: Tensor) -> None:
        self.W = self.param((self.input_dim, self.output_dim), x)
        if callable(self.initializer):
            self.initializer(self.W)
        elif self.initializer == "uniform":
            self.W.uniform(-1.0, 1.0)
        elif self.initializer == "gaussian":
            self.W.gaussian(0.0, 1.0)
        else:
            raise BadSetting(
                f"Embedding: initializer is {self.initializer!r}; expected 'gaussian', 'uniform' or a "
                f"function of a Tensor"
            )

    def from_pretrained(self, W: Any, freeze: bool = True) -> Embedding:
        """Take a table that exists; freeze: leave it as it is."""
        W = W if isinstance(W, Tensor) else Tensor(data=W)
        self.input_dim, self.output_dim = W.shape
        self.W = Tensor(device=W.device, data=W.array, requires_grad=not freeze, stores_grad=not freeze)
        self._initialized = True
        return self

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(x, self.W)


# ---- without parameters ---------------------------------------------------------------------------------


class ReLU(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class Sigmoid(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class Add(Layer):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.add(a, b)


class Flatten(Layer):
    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, self.axis)


class SoftMax(Layer):
    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.axis)


class SoftMaxCrossEntropy(Layer):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return F.softmax_cross_entropy(x, t)


class MeanSquareError(Layer):
    """autograd.MeanSquareError: the target may broadcast to x."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return F.MeanSquareError(t)(x)[0]


class CrossEntropy(Layer):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(x, t)


class BinaryCrossEntropy(Layer):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return F.binary_cross_entropy(x, t)


class Dropout(Layer):
    """ratio: the fraction that is dropped in training.  (SINGA takes it for a seed, and always drops half.)"""

    def __init__(self, ratio: float = 0.5) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, ratio=self.ratio)


class Cat(Layer):
    def __init__(self, axis: int = 0) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, xs: Any) -> Tensor:
        return F.cat(xs, self.axis)


class Reshape(Layer):
    def forward(self, x: Tensor, shape: Any) -> Tensor:
        return F.reshape(x, shape)


def refuse_keywords(kwargs: dict[str, Any]) -> None:
    for name in kwargs:
        raise BadType("Keyword argument not understood:", name)
