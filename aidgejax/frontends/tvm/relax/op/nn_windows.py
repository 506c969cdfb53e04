"""Operators of relax.op.nn that move a window over one or three axes, transposed convolutions, adaptive means."""

from __future__ import annotations

from typing import Any

import numpy as np

from .....graph import Value
from ...errors import RelaxValueError
from ..expr import Call, relax_operator
from ._call import pair

LAYOUTS = {1: ("NCW", "OIW", "IOW"), 2: ("NCHW", "OIHW", "IOHW"), 3: ("NCDHW", "OIDHW", "IODHW")}


def _window(name: str, rank: int, strides: Any, padding: Any, dilation: Any) -> dict[str, tuple[int, ...]]:
    """Strides, pads and dilations as ONNX has them; padding: a number, one per axis, or all in front and all behind."""
    pads = (padding,) if isinstance(padding, int | np.integer) else tuple(padding)
    if len(pads) not in (1, rank, 2 * rank):
        raise RelaxValueError(
            f"relax.nn.{name}: padding is {list(pads)}; expected a number, {rank} or {2 * rank} of them"
        )
    return {
        "strides": pair("strides", strides, rank),
        "pads": tuple(int(p) for p in pads * (2 * rank // len(pads))),
        "dilations": pair("dilation", dilation, rank),
    }


def _check_layouts(name: str, rank: int, data: str, out: str | None, kernel: str, transposed: bool = False) -> None:
    of_data, of_kernel, of_transposed = LAYOUTS[rank]
    of_kernel = of_transposed if transposed else of_kernel
    if (data, kernel) != (of_data, of_kernel) or out not in (None, "", of_data):
        raise RelaxValueError(
            f"relax.nn.{name}: layouts {data}, {kernel}, {out}; expected {of_data} and {of_kernel}; "
            f"use relax.op.permute_dims"
        )


# ---- convolutions ---------------------------------------------------------------------------------------


@relax_operator
def conv1d(
    data: Any,
    weight: Any,
    strides: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    data_layout: str = "NCW",
    kernel_layout: str = "OIW",
    out_layout: str | None = None,
    out_dtype: str | None = None,
) -> Call:
    """padding: a number, or [in front, behind]."""
    _check_layouts("conv1d", 1, data_layout, out_layout, kernel_layout)
    window = _window("conv1d", 1, strides, padding, dilation)
    return Call("relax.nn.conv1d", (data, weight), lambda op, x, w: op.Conv(x, w, group=groups, **window))


@relax_operator
def conv3d(
    data: Any,
    weight: Any,
    strides: Any = (1, 1, 1),
    padding: Any = (0, 0, 0),
    dilation: Any = (1, 1, 1),
    groups: int = 1,
    data_layout: str = "NCDHW",
    kernel_layout: str = "OIDHW",
    out_layout: str | None = None,
    out_dtype: str | None = None,
) -> Call:
    """padding: a number, three, or six (all in front, then all behind)."""
    _check_layouts("conv3d", 3, data_layout, out_layout, kernel_layout)
    window = _window("conv3d", 3, strides, padding, dilation)
    return Call("relax.nn.conv3d", (data, weight), lambda op, x, w: op.Conv(x, w, group=groups, **window))


def _transposed(name: str, rank: int, operands: tuple[Any, Any], more: Any, group: int, window: dict[str, Any]) -> Call:
    added = pair("output_padding", more, rank)

    def write(op: Any, x: Any, w: Any) -> Value:
        return op.ConvTranspose(x, w, group=group, output_padding=added, **window)

    return Call(f"relax.nn.{name}", operands, write)


@relax_operator
def conv1d_transpose(
    data: Any,
    weight: Any,
    strides: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    data_layout: str = "NCW",
    kernel_layout: str = "IOW",
    out_layout: str | None = None,
    out_dtype: str | None = None,
) -> Call:
    """The gradient of conv1d for its data, as a layer; weight [in, out / groups, width]."""
    _check_layouts("conv1d_transpose", 1, data_layout, out_layout, kernel_layout, transposed=True)
    window = _window("conv1d_transpose", 1, strides, padding, dilation)
    return _transposed("conv1d_transpose", 1, (data, weight), output_padding, groups, window)


@relax_operator
def conv2d_transpose(
    data: Any,
    weight: Any,
    strides: Any = (1, 1),
    padding: Any = (0, 0),
    output_padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    data_layout: str = "NCHW",
    kernel_layout: str = "IOHW",
    out_layout: str | None = None,
    out_dtype: str | None = None,
) -> Call:
    """The gradient of conv2d for its data, as a layer; weight [in, out / groups, height, width]."""
    _check_layouts("conv2d_transpose", 2, data_layout, out_layout, kernel_layout, transposed=True)
    window = _window("conv2d_transpose", 2, strides, padding, dilation)
    return _transposed("conv2d_transpose", 2, (data, weight), output_padding, groups, window)


@relax_operator
def conv3d_transpose(
    data: Any,
    weight: Any,
    strides: Any = (1, 1, 1),
    padding: Any = (0, 0, 0),
    output_padding: Any = (0, 0, 0),
    dilation: Any = (1, 1, 1),
    groups: int = 1,
    data_layout: str = "NCDHW",
    kernel_layout: str = "IODHW",
    out_layout: str | None = None,
    out_dtype: str | None = None,
) -> Call:
    """The gradient of conv3d for its data, as a layer; weight [in, out / groups, depth, height, width]."""
    _check_layouts("conv3d_transpose", 3, data_layout, out_layout, kernel_layout, transposed=True)
    window = _window("conv3d_transpose", 3, strides, padding, dilation)
    return _transposed("conv3d_transpose", 3, (data, weight), output_padding, groups, window)


# ---- pooling --------------------------------------------------------------------------------------------


def _pooled(
    name: str,
    rank: int,
    size: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    layout: str,
    out: str | None,
) -> dict[str, Any]:
    """The attributes of ONNX's pooling operators."""
    _check_layouts(name, rank, layout, out, LAYOUTS[rank][1])
    window = _window(name, rank, strides, padding, dilation)
    return window | {"kernel_shape": pair("pool_size", size, rank), "ceil_mode": int(ceil_mode)}


@relax_operator
def max_pool1d(
    data: Any,
    pool_size: Any = (1,),
    strides: Any = (1,),
    padding: Any = (0, 0),
    dilation: Any = (1,),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NCW",
    out_layout: str | None = None,
) -> Call:
    """The largest of every window; on a tie the first gets the gradient."""
    window = _pooled("max_pool1d", 1, pool_size, strides, padding, dilation, ceil_mode, layout, out_layout)
    return Call("relax.nn.max_pool1d", (data,), lambda op, x: op.MaxPool(x, **window))


@relax_operator
def max_pool3d(
    data: Any,
    pool_size: Any = (1, 1, 1),
    strides: Any = (1, 1, 1),
    padding: Any = (0, 0, 0),
    dilation: Any = (1, 1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NCDHW",
    out_layout: str | None = None,
) -> Call:
    """The largest of every window; on a tie the first gets the gradient."""
    window = _pooled("max_pool3d", 3, pool_size, strides, padding, dilation, ceil_mode, layout, out_layout)
    return Call("relax.nn.max_pool3d", (data,), lambda op, x: op.MaxPool(x, **window))


@relax_operator
def avg_pool1d(
    data: Any,
    pool_size: Any = (1,),
    strides: Any = (1,),
    padding: Any = (0, 0),
    dilation: Any = (1,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    layout: str = "NCW",
    out_layout: str | None = None,
) -> Call:
    """The mean of every window; count_include_pad: of what was padded too."""
    window = _pooled("avg_pool1d", 1, pool_size, strides, padding, dilation, ceil_mode, layout, out_layout)
    window["count_include_pad"] = int(count_include_pad)
    return Call("relax.nn.avg_pool1d", (data,), lambda op, x: op.AveragePool(x, **window))


@relax_operator
def avg_pool3d(
    data: Any,
    pool_size: Any = (1, 1, 1),
    strides: Any = (1, 1, 1),
    padding: Any = (0, 0, 0),
    dilation: Any = (1, 1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    layout: str = "NCDHW",
    out_layout: str | None = None,
) -> Call:
    """The mean of every window; count_include_pad: of what was padded too."""
    window = _pooled("avg_pool3d", 3, pool_size, strides, padding, dilation, ceil_mode, layout, out_layout)
    window["count_include_pad"] = int(count_include_pad)
    return Call("relax.nn.avg_pool3d", (data,), lambda op, x: op.AveragePool(x, **window))


# ---- means over as many windows as are wanted -------------------------------------------------------------


def window_means(size: int, count: int) -> np.ndarray:
    """f[size, count]: the matrix whose column k takes the mean from floor(k size / count) to the next one's end.

    Window k ends before ceil((k + 1) size / count), so that windows overlap where count does not divide size.
    """
    matrix = np.zeros((size, count), np.float32)
    for k in range(count):
        first, last = k * size // count, -(-(k + 1) * size // count)
        matrix[first:last, k] = 1 / (last - first)
    return matrix


def _adaptive(name: str, rank: int, data: Any, output_size: Any, layout: str, out_layout: str | None) -> Call:
    channels_first = LAYOUTS[rank][0]
    channels_last = channels_first[0] + channels_first[2:] + "C"
    if layout not in (channels_first, channels_last) or out_layout not in (None, "", channels_first, channels_last):
        raise RelaxValueError(f"layout {layout!r}: expected {channels_first} or {channels_last}")
    to_first = (0, rank + 1, *range(1, rank + 1))
    to_last = (0, *range(2, rank + 2), 1)

    def write(op: Any, given: Any) -> Value:
        x = given if layout == channels_first else op.Transpose(given, perm=to_first)
        image = given.shape[2:] if layout == channels_first else given.shape[1:-1]
        wanted = image if output_size is None else pair("output_size", output_size, rank)
        y = _means(op, x, name, image, wanted)
        return y if (out_layout or layout) == channels_first else op.Transpose(y, perm=to_last)

    return Call(f"relax.nn.{name}", (data,), write)


def _means(op: Any, x: Any, name: str, size: tuple[Any, ...], wanted: tuple[Any, ...]) -> Value:
    if all(n == 1 for n in wanted):
        return op.GlobalAveragePool(x)
    if not all(isinstance(n, int) for n in size):
        raise RelaxValueError(f"relax.nn.{name} to {list(wanted)} needs an image whose sizes are numbers, got {x}")
    if all(n % k == 0 for n, k in zip(size, wanted, strict=True)):
        kernel = tuple(n // k for n, k in zip(size, wanted, strict=True))
        return op.AveragePool(x, kernel_shape=kernel, strides=kernel)
    rank = len(size)
    for axis, (n, k) in enumerate(zip(size, wanted, strict=True)):
        swapped = list(range(rank + 2))
        swapped[axis + 2], swapped[-1] = swapped[-1], swapped[axis + 2]
        straight = axis == rank - 1
        moved = x if straight else op.Transpose(x, perm=tuple(swapped))
        moved = op.MatMul(moved, op.CastLike(window_means(n, k), moved))
        x = moved if straight else op.Transpose(moved, perm=tuple(swapped))
    return x


@relax_operator
def adaptive_avg_pool1d(data: Any, output_size: Any = None, layout: str = "NCW", out_layout: str | None = None) -> Call:
    """Means over so many windows, which overlap where their number does not divide the width."""
    return _adaptive("adaptive_avg_pool1d", 1, data, output_size, layout, out_layout)


@relax_operator
def adaptive_avg_pool2d(
    data: Any, output_size: Any = None, layout: str = "NCHW", out_layout: str | None = None
) -> Call:
    """Means over so many windows, which overlap where their number does not divide the image."""
    return _adaptive("adaptive_avg_pool2d", 2, data, output_size, layout, out_layout)


@relax_operator
def adaptive_avg_pool3d(
    data: Any, output_size: Any = None, layout: str = "NCDHW", out_layout: str | None = None
) -> Call:
    """Means over so many windows, which overlap where their number does not divide the volume."""
    return _adaptive("adaptive_avg_pool3d", 3, data, output_size, layout, out_layout)
