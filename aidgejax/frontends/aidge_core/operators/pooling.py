"""Pooling: over windows, and over whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .definition import define, ints, no_pad_inputs
from .rounding import AWAY, rounding_mode_of


def window_of(
    kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], ceil: bool, pads: Sequence[int] = ()
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kernel_shape": ints(kernel),
        "strides": ints(strides),
        "dilations": ints(dilations),
        "ceil_mode": int(ceil),
    }
    return found | ({"pads": ints(pads)} if any(pads) else {})


@define("GlobalAveragePooling")
def global_average(c: Any, data_input: Any, *, name: str = "", rounding_mode: Any = AWAY) -> Any:
    rounding_mode_of(rounding_mode)
    return c.named("GlobalAveragePool", data_input)


def _pools(d: int) -> None:
    one, none, two = (1,) * d, (0,) * 2 * d, ("data_output", "indices_output")

    @define(f"MaxPooling{d}D", outputs=two)
    def max_pooling(
        c: Any, data_input: Any, *, kernel_dims: Any, name: str = "", stride_dims: Any = one, dilations: Any = one,
        ceil_mode: bool = False, storage_order: bool = False,
    ) -> Any:  # fmt: skip
        window = window_of(kernel_dims, stride_dims, dilations, ceil_mode)
        return c.named("MaxPool", data_input, storage_order=int(storage_order), outputs=2, **window)

    @define(f"PaddedMaxPooling{d}D", outputs=two)
    def padded_max_pooling(
        c: Any, data_input: Any, pads: Any = None, constant_value: Any = None, axes: Any = None,
        *, kernel_dims: Any, name: str = "", stride_dims: Any = one, dilations: Any = one,
        padding_dims: Any = none, ceil_mode: bool = False, storage_order: bool = False,
    ) -> Any:  # fmt: skip
        no_pad_inputs(c, pads, constant_value, axes)
        window = window_of(kernel_dims, stride_dims, dilations, ceil_mode, padding_dims)
        return c.named("MaxPool", data_input, storage_order=int(storage_order), outputs=2, **window)

    @define(f"AvgPooling{d}D")
    def average_pooling(
        c: Any, data_input: Any, *, kernel_dims: Any, name: str = "", stride_dims: Any = one, dilations: Any = one,
        ceil_mode: bool = False, rounding_mode: Any = AWAY,
    ) -> Any:  # fmt: skip
        rounding_mode_of(rounding_mode)
        return c.named("AveragePool", data_input, **window_of(kernel_dims, stride_dims, dilations, ceil_mode))

    @define(f"PaddedAvgPooling{d}D")
    def padded_average_pooling(
        c: Any, data_input: Any, pads: Any = None, constant_value: Any = None, axes: Any = None,
        *, kernel_dims: Any, name: str = "", stride_dims: Any = one, dilations: Any = one,
        padding_dims: Any = none, ceil_mode: bool = False, count_include_pad: bool = True, rounding_mode: Any = AWAY,
    ) -> Any:  # fmt: skip
        no_pad_inputs(c, pads, constant_value, axes)
        rounding_mode_of(rounding_mode)
        window = window_of(kernel_dims, stride_dims, dilations, ceil_mode, padding_dims)
        return c.named("AveragePool", data_input, count_include_pad=int(count_include_pad), **window)

    @define(f"LpPooling{d}D")
    def lp_pooling(
        c: Any, data_input: Any, *, kernel_dims: Any, name: str = "", stride_dims: Any = one, dilations: Any = one,
        ceil_mode: bool = False, p: int = 2,
    ) -> Any:  # fmt: skip
        return c.named("LpPool", data_input, p=int(p), **window_of(kernel_dims, stride_dims, dilations, ceil_mode))


for _d in (1, 2, 3):
    _pools(_d)
