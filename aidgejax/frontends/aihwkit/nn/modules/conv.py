"""AnalogConv1d, 2d and 3d, and the mapped ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .....execution.run import run
from .....graph import Graph
from ...exceptions import ArgumentError, ConfigError, ModuleError
from ._compiled import LayerSpec
from ._layer import TiledLayer
from ._module import check_module
from ._numbers import sizes
from .linear import with_weights


class AnalogConvNd(TiledLayer):
    """A convolution whose windows are laid out and multiplied on tiles.  f[n, in, *d] -> f[n, out, *e].

    Ranges and noise see every window, padding included, as in aihwkit.
    """

    axes = 2
    as_array = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        rpu_config: Any = None,
        tile_module_class: Any = None,
        use_indexed: bool | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        if groups != 1 or padding_mode != "zeros":
            raise ConfigError(
                f"groups={groups}, padding_mode={padding_mode!r}: an analog convolution has one group, zeros around it"
            )
        kind = type(self).__name__
        sizes(kind, in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride,
              dilation=dilation)  # fmt: skip
        sizes(kind, least=0, padding=padding)
        for name, value in (("kernel_size", kernel_size), ("stride", stride), ("padding", padding)):
            if not isinstance(value, int) and len(value) != self.axes:
                raise ArgumentError(f"{kind} got {name}={value!r}: expected a number or {self.axes} of them")
        every = lambda v: (v,) * self.axes if isinstance(v, int) else tuple(v)
        kernel, strides, pads, dilations = every(kernel_size), every(stride), every(padding), every(dilation)
        attrs = (("kernel_shape", kernel), ("strides", strides), ("dilations", dilations), ("pads", pads * 2))
        rpu_config = self._config(rpu_config, tile_module_class)
        s = self._settings_of(rpu_config)
        block = math.prod(kernel) if self.as_array else 1
        as_array = self.as_array or rpu_config.mapping.makes_array(out_channels, in_channels * math.prod(kernel))
        if self.as_array and 0 < s.mapping.max_input_size < block:
            raise ModuleError(
                f"one kernel of {block} elements does not fit mapping.max_input_size={s.mapping.max_input_size}"
            )
        shape = (out_channels, in_channels, *kernel)
        super().__init__(LayerSpec("Conv", attrs, shape, bool(bias), s, as_array, block), rpu_config, seed)
        self.kernel_size, self.stride, self.padding, self.dilation = kernel, strides, pads, dilations
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, 1, "zeros"
        self.in_features, self.out_features = in_channels * math.prod(kernel), out_channels

    def windows(self, x: Any) -> Any:
        """f[n, positions, in]: the windows, laid out."""
        g = Graph("windows")
        a = dict(self._spec.attrs)
        value = g.input("x", self._sizes(x))
        rest = {k: a[k] for k in ("strides", "pads", "dilations")}
        g.output(g.op.Transpose(g.op.Unfold(value, kernel_shape=a["kernel_shape"], **rest), perm=(0, 2, 1)))
        return np.asarray(run(g, {"x": x})[0])

    def get_image_size(self, size: int, i: int) -> int:
        """Positions of the kernel along axis i of an input of this size."""
        extent = self.dilation[i] * (self.kernel_size[i] - 1) + 1
        return (size + 2 * self.padding[i] - extent) // self.stride[i] + 1

    def get_tile_size(self, in_channels: int, groups: int, kernel_size: Any) -> int:
        """How many inputs a window has."""
        return in_channels // groups * math.prod(kernel_size)

    def extra_repr(self) -> str:
        given = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        given += [f"padding={self.padding}"] if any(self.padding) else []
        given += [f"dilation={self.dilation}"] if set(self.dilation) != {1} else []
        given += [] if self.use_bias else ["bias=False"]
        return ", ".join([*given, type(self.rpu_config).__name__])

    @classmethod
    def from_digital(cls, module: Any, rpu_config: Any, tile_module_class: Any = None) -> Any:
        """The analog layer of a torch convolution.  ConfigError for groups, or padding other than zeros."""
        check_module(f"{cls.__name__}.from_digital", module, "in_channels", "kernel_size", "weight", "bias")
        made: Any = cls(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
            module.bias is not None,
            module.padding_mode,
            rpu_config,
            tile_module_class,
        )
        made.set_weights(module.weight, module.bias)
        return made.to(module.weight.device)

    @classmethod
    def to_digital(cls, module: Any, realistic: bool = False) -> Any:
        """The torch convolution of an analog layer, scales folded into its weight; realistic: as outputs show it."""
        import torch

        check_module(f"{cls.__name__}.to_digital", module, "in_channels", "kernel_size", "get_weights")
        kind = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[cls.axes - 1]
        made = kind(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            bias=module.use_bias,
        )
        return with_weights(made, module, realistic)


class AnalogConv1d(AnalogConvNd):
    __doc__ = AnalogConvNd.__doc__
    axes = 1


class AnalogConv2d(AnalogConvNd):
    __doc__ = AnalogConvNd.__doc__


class AnalogConv3d(AnalogConvNd):
    __doc__ = AnalogConvNd.__doc__
    axes = 3


class AnalogConvNdMapped(AnalogConvNd):
    """The same on an array of tiles, whose inputs are whole channels; its tiles stand in the layer itself.

    ModuleError where one kernel does not fit max_input_size.
    """

    as_array = True
    mapped_in_place = True


class AnalogConv1dMapped(AnalogConvNdMapped):
    __doc__ = AnalogConvNdMapped.__doc__
    axes = 1


class AnalogConv2dMapped(AnalogConvNdMapped):
    __doc__ = AnalogConvNdMapped.__doc__


class AnalogConv3dMapped(AnalogConvNdMapped):
    __doc__ = AnalogConvNdMapped.__doc__
    axes = 3
