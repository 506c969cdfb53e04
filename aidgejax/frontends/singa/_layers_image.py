"""Layers on images: convolutions, pools, batch normalization."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import _functional as F
from ._errors import BadSetting, BadType, DoesNotFit
from ._layer_base import Layer
from ._network import SAME, BatchNormHandle, ConvHandle, PoolingHandle, Window
from ._tensor import Tensor

PAD_MODES = ("NOTSET", "VALID", *SAME)


def _pair(value: Any, what: str) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if isinstance(value, tuple | list) and len(value) == 2:
        return int(value[0]), int(value[1])
    raise BadType(f"Wrong {what} type. {what} is {value!r}; expected an integer or two of them")


def _padding(value: Any) -> tuple[int, int, int, int]:
    """(top, bottom, left, right)"""
    if isinstance(value, tuple | list) and len(value) == 4:
        top, bottom, left, right = (int(v) for v in value)
        return top, bottom, left, right
    rows, columns = _pair(value, "padding")
    return rows, rows, columns, columns


def _window(kernel: Any, stride: Any, padding: Any, pad_mode: str) -> Window:
    if pad_mode not in PAD_MODES:
        raise BadSetting(f"pad_mode is {pad_mode!r}; expected one of {', '.join(PAD_MODES)}")
    return Window(_pair(kernel, "kernel_size"), _pair(stride, "stride"), _padding(padding), pad_mode)


class Conv2d(Layer):
    """Convolution.  Conv2d(nb_kernels, kernel_size, ...), or Conv2d(in, out, kernel_size[, stride[, padding]]).

    Two numbers are the new form: Conv2d(3, 3) has 3 kernels of 3 x 3.  padding: a number, (rows, columns), or (top,
    bottom, left, right); pad_mode: NOTSET, SAME_UPPER or SAME_LOWER; activation: NOTSET or RELU; group: in how many
    parts the channels are taken.  W [out, in / group, kh, kw] ~ N(0, 2 / (in / group * kh * kw + out)), b = 0.
    """

    def __init__(
        self,
        nb_kernels: int,
        kernel_size: Any,
        *args: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        group: int = 1,
        bias: bool = True,
        pad_mode: str = "NOTSET",
        activation: str = "NOTSET",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        for name in kwargs:
            raise BadType("Keyword argument not understood:", name)
        if args:
            nb_kernels, kernel_size = kernel_size, args[0]
            stride = args[1] if len(args) > 1 else stride
            padding = args[2] if len(args) > 2 else padding
        if activation not in ("NOTSET", "RELU"):
            raise BadSetting(f"Conv2d: activation is {activation!r}; expected 'NOTSET' or 'RELU'")
        self.nb_kernels, self.group, self.bias, self.activation = nb_kernels, group, bias, activation
        window = replace(_window(kernel_size, stride, padding, pad_mode), dilation=_pair(dilation, "dilation"))
        self.handle = ConvHandle(window, group)

    def initialize(self, x: Tensor) -> None:
        if x.ndim() != 4 or x.shape[1] % self.group or self.nb_kernels % self.group:
            raise DoesNotFit(
                f"layer {self.name!r}: Conv2d with group {self.group} and {self.nb_kernels} kernels takes "
                f"images [n, channels, height, width] whose channels it divides, got {x.name} of shape "
                f"{list(x.shape)}"
            )
        height, width = self.handle.window.kernel
        channels = x.shape[1] // self.group
        self.W = self.param((self.nb_kernels, channels, height, width), x)
        self.W.gaussian(0.0, (2.0 / (channels * height * width + self.nb_kernels)) ** 0.5)
        if self.bias:
            self.b = self.param((self.nb_kernels,), x)
            self.b.set_value(0.0)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(self.handle, x, self.W, self.b if self.bias else None)
        return F.relu(y) if self.activation == "RELU" else y


class SeparableConv2d(Layer):
    """A convolution of each channel on its own, then a 1 x 1 convolution that mixes them."""

    def __init__(
        self, nb_kernels: int, kernel_size: Any, *args: Any, stride: Any = 1, padding: Any = 0, bias: bool = False
    ) -> None:
        super().__init__()
        if args:
            nb_kernels, kernel_size = kernel_size, args[0]
            stride = args[1] if len(args) > 1 else stride
            padding = args[2] if len(args) > 2 else padding
        self.nb_kernels, self.kernel_size = nb_kernels, kernel_size
        self.stride, self.padding, self.bias = stride, padding, bias

    def initialize(self, x: Tensor) -> None:
        channels = x.shape[1]
        self.depthwise_conv = Conv2d(
            channels, self.kernel_size, stride=self.stride, padding=self.padding, group=channels, bias=self.bias
        )
        self.point_conv = Conv2d(self.nb_kernels, 1, bias=self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.point_conv(self.depthwise_conv(x))


class BatchNorm2d(Layer):
    """scale * (x - mean) / sqrt(var + 1e-5) + bias per channel, of [n, c] or [n, c, h, w].

    In training mean and (biased) variance are the batch's, and running_mean and running_var become (1 - momentum) of
    themselves plus momentum of the batch's mean and unbiased variance; otherwise they serve.  The number of channels
    may stand in front; what follows it is ignored, as in SINGA.
    """

    state_names = ("running_mean", "running_var")

    def __init__(self, *args: Any, momentum: float = 0.9) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise BadSetting(
                f"BatchNorm2d: Illegal momentum {momentum!r}; expected a number from 0 to 1, the weight "
                f"of the new batch"
            )
        self.channels, self.momentum = args[0] if args else None, momentum
        self.handle = BatchNormHandle(momentum)

    def initialize(self, x: Tensor) -> None:
        if x.ndim() < 2:
            raise DoesNotFit(
                f"layer {self.name!r}: BatchNorm2d takes [n, c] or [n, c, h, w], got {x.name} of shape {list(x.shape)}"
            )
        self.channels = x.shape[1]
        self.scale, self.bias = (self.param((self.channels,), x) for _ in range(2))
        self.scale.set_value(1.0)
        self.bias.set_value(0.0)
        for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
            setattr(self, name, Tensor((self.channels,), x.device, self.scale.dtype, requires_grad=False))
            getattr(self, name).set_value(value)

    def forward(self, x: Tensor) -> Tensor:
        return F.batchnorm_2d(self.handle, x, self.scale, self.bias, self.running_mean, self.running_var)


class Pooling2d(Layer):
    """The largest of each window, or its mean without the padding.  stride None: the kernel's size."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, is_max: bool = True, pad_mode: str = "NOTSET"
    ) -> None:
        super().__init__()
        self.handle = PoolingHandle(
            _window(kernel_size, kernel_size if stride is None else stride, padding, pad_mode), is_max
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.pooling_2d(self.handle, x)


class MaxPool2d(Pooling2d):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, pad_mode: str = "NOTSET") -> None:
        super().__init__(kernel_size, stride, padding, True, pad_mode)


class AvgPool2d(Pooling2d):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, pad_mode: str = "NOTSET") -> None:
        super().__init__(kernel_size, stride, padding, False, pad_mode)


class MaxPool1d(Pooling2d):
    """Along the last axis of an image."""

    def __init__(self, kernel_size: int, stride: Any = None, padding: int = 0, pad_mode: str = "NOTSET") -> None:
        super().__init__((1, kernel_size), (1, kernel_size if stride is None else stride), (0, padding), True, pad_mode)


class AvgPool1d(Pooling2d):
    """Along the last axis of an image."""

    def __init__(self, kernel_size: int, stride: Any = None, padding: int = 0, pad_mode: str = "NOTSET") -> None:
        super().__init__(
            (1, kernel_size), (1, kernel_size if stride is None else stride), (0, padding), False, pad_mode
        )
