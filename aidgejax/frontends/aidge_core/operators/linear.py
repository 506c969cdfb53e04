"""FC, Gemm and the convolutions: what has a weight and a bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import OrderError
from ..operator import OperatorTensor
from .definition import define, ints, no_pad_inputs


class HasWeight(OperatorTensor):
    """An operator whose channels its weight tells."""

    def weight_dims(self) -> list[int]:
        weight = self.get_input(1)
        if weight is None or not weight.dims:
            raise OrderError(
                f"operator {self.type()}: its weight (input 1) is not connected, so it has no channels yet"
            )
        return weight.dims


class OutIn(HasWeight):
    """Weights [out, in, *kernel]."""

    def in_channels(self) -> int:
        return self.weight_dims()[1]

    def out_channels(self) -> int:
        return self.weight_dims()[0]


class InOut(HasWeight):
    """Weights [in, out, *kernel]."""

    def in_channels(self) -> int:
        return self.weight_dims()[0]

    def out_channels(self) -> int:
        return self.weight_dims()[1]


class PerChannel(HasWeight):
    """Weights [channels, 1, *kernel]."""

    def nb_channels(self) -> int:
        return self.weight_dims()[0]


def _fc(in_channels: int, out_channels: int, /, no_bias: bool) -> dict[str, Any]:
    return {"w": (out_channels, in_channels), "b": None if no_bias else (out_channels,)}


@define("FC", parameters=("weight", "bias"), rank=2, weights=_fc, base=OutIn)
def fc(c: Any, data_input: Any, weight: Any, bias: Any = None, *, no_bias: bool = False) -> Any:
    """x W^T + b with W [out, in]; what stands behind the batch is flattened."""
    if c.rank(data_input) != 2:
        data_input = c.step("Flatten", data_input, axis=1)
    return c.named("Gemm", data_input, weight, bias, transB=1)


def _gemm(in_channels: int, out_channels: int, /, no_bias: bool, transB: bool) -> dict[str, Any]:  # noqa: N803
    w = (out_channels, in_channels) if transB else (in_channels, out_channels)
    return {"w": w, "b": None if no_bias else (out_channels,)}


@define("Gemm", parameters=("weight", "bias"), rank=2, weights=_gemm)
def gemm(
    c: Any,
    data_input: Any,
    weight: Any,
    bias: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    no_bias: bool = False,
    transA: bool = False,  # noqa: N803
    transB: bool = False,  # noqa: N803
) -> Any:
    """alpha * x W + beta * b with W [in, out], or [out, in] with transB."""
    return c.named("Gemm", data_input, weight, bias, alpha=alpha, beta=beta, transA=int(transA), transB=int(transB))


def _conv(in_channels: int, out_channels: int, /, kernel_dims: Sequence[int], no_bias: bool) -> dict[str, Any]:
    return {"w": (out_channels, in_channels, *kernel_dims), "b": None if no_bias else (out_channels,)}


def _depthwise(nb_channels: int, /, kernel_dims: Sequence[int], no_bias: bool) -> dict[str, Any]:
    return {"w": (nb_channels, 1, *kernel_dims), "b": None if no_bias else (nb_channels,)}


def _transposed(in_channels: int, out_channels: int, /, kernel_dims: Sequence[int], no_bias: bool) -> dict[str, Any]:
    return {"w": (in_channels, out_channels, *kernel_dims), "b": None if no_bias else (out_channels,)}


def convolution(
    c: Any,
    tensors: tuple[Any, Any, Any],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int] = (),
    core: str = "Conv",
    group: int = 1,
) -> Any:
    """The core's node; pads as Aidge has them: before each axis, then behind each."""
    attrs: dict[str, Any] = {"strides": ints(strides), "dilations": ints(dilations), "kernel_shape": ints(kernel)}
    if group != 1:
        attrs["group"] = group
    if any(pads):
        attrs["pads"] = ints(pads)
    return c.named(core, *tensors, **attrs)


def _convolutions(d: int) -> None:
    one, none = (1,) * d, (0,) * 2 * d
    pair = ("weight", "bias")

    @define(f"Conv{d}D", parameters=pair, weights=_conv, base=OutIn)
    def conv(
        c: Any, data_input: Any, weight: Any, bias: Any = None,
        *, kernel_dims: Any, name: str = "", stride_dims: Any = one, dilation_dims: Any = one, no_bias: bool = False,
    ) -> Any:  # fmt: skip
        """Weights [out, in, *kernel], no padding."""
        return convolution(c, (data_input, weight, bias), kernel_dims, stride_dims, dilation_dims)

    @define(f"PaddedConv{d}D", parameters=pair, weights=_conv, base=OutIn)
    def padded_conv(
        c: Any, data_input: Any, weight: Any, bias: Any = None,
        pads: Any = None, constant_value: Any = None, axes: Any = None,
        *, kernel_dims: Any, name: str = "", stride_dims: Any = one, padding_dims: Any = none,
        dilation_dims: Any = one, no_bias: bool = False,
    ) -> Any:  # fmt: skip
        """Weights [out, in, *kernel]; padding_dims: before each axis, then behind each."""
        no_pad_inputs(c, pads, constant_value, axes)
        return convolution(c, (data_input, weight, bias), kernel_dims, stride_dims, dilation_dims, padding_dims)

    @define(f"ConvDepthWise{d}D", parameters=pair, weights=_depthwise, base=PerChannel)
    def depthwise(
        c: Any, data_input: Any, weight: Any, bias: Any = None,
        *, kernel_dims: Any, name: str = "", stride_dims: Any = one, dilation_dims: Any = one, no_bias: bool = False,
    ) -> Any:  # fmt: skip
        """Weights [channels, 1, *kernel], no padding."""
        group = c.size(weight, 0)
        return convolution(c, (data_input, weight, bias), kernel_dims, stride_dims, dilation_dims, group=group)

    @define(f"PaddedConvDepthWise{d}D", parameters=pair, weights=_depthwise, base=PerChannel)
    def padded_depthwise(
        c: Any, data_input: Any, weight: Any, bias: Any = None,
        pads: Any = None, constant_value: Any = None, axes: Any = None,
        *, kernel_dims: Any, name: str = "", stride_dims: Any = one, padding_dims: Any = none,
        dilation_dims: Any = one, no_bias: bool = False,
    ) -> Any:  # fmt: skip
        """Weights [channels, 1, *kernel]; padding_dims: before each axis, then behind each."""
        no_pad_inputs(c, pads, constant_value, axes)
        group, tensors = c.size(weight, 0), (data_input, weight, bias)
        return convolution(c, tensors, kernel_dims, stride_dims, dilation_dims, padding_dims, group=group)

    @define(f"ConvTranspose{d}D", parameters=pair, weights=_transposed, base=InOut)
    def transposed(
        c: Any, data_input: Any, weight: Any, bias: Any = None,
        *, kernel_dims: Any, stride_dims: Any = one, dilation_dims: Any = one, no_bias: bool = False,
    ) -> Any:  # fmt: skip
        """Weights [in, out, *kernel]."""
        tensors = (data_input, weight, bias)
        return convolution(c, tensors, kernel_dims, stride_dims, dilation_dims, core="ConvTranspose")

    @define(f"PaddedConvTranspose{d}D", parameters=pair, weights=_transposed, base=InOut)
    def padded_transposed(
        c: Any, data_input: Any, weight: Any, bias: Any = None,
        *, kernel_dims: Any, stride_dims: Any = one, dilation_dims: Any = one, no_bias: bool = False,
        padding_dims: Any = none,
    ) -> Any:  # fmt: skip
        """Weights [in, out, *kernel]; padding_dims is cut off the result."""
        tensors = (data_input, weight, bias)
        return convolution(c, tensors, kernel_dims, stride_dims, dilation_dims, padding_dims, core="ConvTranspose")


for _d in (1, 2, 3):
    _convolutions(_d)
