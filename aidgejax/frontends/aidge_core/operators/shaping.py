"""Shapes: reshaping, joining, cutting, padding, repeating, and shapes as data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GraphViewError
from .definition import define, ints


@define("Flatten", rank=2)
def flatten(c: Any, data_input: Any, *, axis: int = 1) -> Any:
    return c.named("Flatten", data_input, axis=axis)


@define("Reshape", rank=None)
def reshape(c: Any, data_input: Any, shape_: Any = None, *, shape: Any = (), allowzero: bool = False) -> Any:
    return c.named("Reshape", data_input, ints(shape) if shape_ is None else shape_, allowzero=int(allowzero))


@define("Transpose")
def transpose(c: Any, data_input: Any, *, output_dims_order: Any = ()) -> Any:
    order = {"perm": ints(output_dims_order)} if len(output_dims_order) else {}
    return c.named("Transpose", data_input, **order)


@define("Squeeze", rank=None)
def squeeze(c: Any, data_input: Any, axes_input: Any = None, *, axes: Any = ()) -> Any:
    return c.named("Squeeze", data_input, (ints(axes) or None) if axes_input is None else axes_input)


@define("Unsqueeze", rank=None)
def unsqueeze(c: Any, data_input: Any, axes_input: Any = None, *, axes: Any = ()) -> Any:
    return c.named("Unsqueeze", data_input, ints(axes) if axes_input is None else axes_input)


@define("Concat", counts="nb_inputs")
def concat(c: Any, *data_input: Any, axis: int = 0) -> Any:
    return c.named("Concat", *data_input, axis=axis)


@define("Split", counts="nb_outputs")
def split(c: Any, data_input: Any, split_: Any = None, *, axis: int = 0, split: Any = ()) -> Any:
    sizes = (ints(split) or None) if split_ is None else split_
    more = {"num_outputs": c.outputs} if sizes is None else {}
    found = c.named("Split", data_input, sizes, axis=axis, outputs=c.outputs, **more)
    return found


@define("Slice")
def slice_(
    c: Any,
    data_input: Any,
    starts_: Any = None,
    ends_: Any = None,
    axes_: Any = None,
    steps_: Any = None,
    *,
    starts: Any = (),
    ends: Any = (),
    axes: Any = (),
    steps: Any = (),
) -> Any:
    own = [ints(v) or None for v in (starts, ends, axes, steps)]
    given = (starts_, ends_, axes_, steps_)
    return c.named("Slice", data_input, *[g if g is not None else o for g, o in zip(given, own, strict=True)])


PAD_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "wrap": "wrap"}
LOWEST = -3.4028234663852886e38  # of mode constant_lowest, in front of a maximum


@define("Pad")
def pad(
    c: Any,
    data_input: Any,
    pads_: Any = None,
    constant_value_: Any = None,
    axes_: Any = None,
    *,
    pads: Any = (),
    name: str = "",
    mode: Any = "constant",
    constant_value: Any = 0.0,
    axes: Any = (),
) -> Any:
    how = getattr(mode, "name", str(mode)).lower()
    if how == "constant_lowest":
        how, constant_value = "constant", LOWEST
    if how not in PAD_MODES:
        raise GraphViewError(f"Pad has no mode {mode!r}; it has {', '.join(PAD_MODES)}, constant_lowest")
    sizes = ints(pads) if pads_ is None else pads_
    own = ints(axes) or (tuple(range(-(len(pads) // 2), 0)) if pads_ is None else None)
    along = own if axes_ is None else axes_
    value = constant_value_
    if value is None and how == "constant" and constant_value:
        value = float(constant_value)
    return c.named("Pad", data_input, sizes, value, along, **({} if how == "constant" else {"mode": how}))


@define("Expand", rank=None)
def expand(c: Any, data_input: Any, shape: Any) -> Any:
    return c.named("Expand", data_input, shape)


@define("Tile")
def tile(c: Any, data_input: Any, repeats: Any) -> Any:
    return c.named("Tile", data_input, repeats)


@define("Stack", rank=None)
def stack(c: Any, data_input: Any, max_elements_: Any = None, *, max_elements: int = 0) -> Any:
    """Called once per element in Aidge; here a new leading axis."""
    return c.named("Unsqueeze", data_input, (0,))


@define("Unfold2D", rank=3)
def unfold(
    c: Any,
    data_input: Any,
    *,
    kernel_dims: Any,
    name: str = "",
    stride_dims: Any = (1, 1),
    dilation_dims: Any = (1, 1),
) -> Any:
    window = {"kernel_shape": ints(kernel_dims), "strides": ints(stride_dims), "dilations": ints(dilation_dims)}
    return c.named("Unfold", data_input, **window)


@define("Fold2D", rank=4)
def fold(
    c: Any,
    data_input: Any,
    *,
    output_dims: Any,
    kernel_dims: Any,
    name: str = "",
    stride_dims: Any = (1, 1),
    dilation_dims: Any = (1, 1),
) -> Any:
    window = {"strides": ints(stride_dims), "dilations": ints(dilation_dims)}
    return c.named("Col2Im", data_input, ints(output_dims), ints(kernel_dims), **window)


@define("DepthToSpace")
def depth_to_space(c: Any, data_input: Any, *, block_size: int, mode: Any = "CRD") -> Any:
    return c.named("DepthToSpace", data_input, blocksize=block_size, mode=getattr(mode, "name", mode))


@define("Trilu")
def trilu(c: Any, data_input: Any, k: Any = None, *, upper: bool = True) -> Any:
    return c.named("Trilu", data_input, k, upper=int(upper))


@define("Shape", rank=1)
def shape(c: Any, data_input: Any, *, start: int = 0, end: int = -1) -> Any:
    """end counts inclusively, -1 the last axis; ONNX's is exclusive."""
    return c.named("Shape", data_input, start=start, **({} if end == -1 else {"end": end + 1}))


@define("ConstantOfShape", rank=None)
def constant_of_shape(c: Any, shape: Any, *, value: Any = 0.0) -> Any:
    given = value if hasattr(value, "__array__") else np.float32(value)
    return c.named("ConstantOfShape", shape, value=np.asarray(given).reshape(1))


@define("Range", rank=1)
def range_(
    c: Any,
    start_: Any = None,
    limit_: Any = None,
    delta_: Any = None,
    *,
    start: Any = None,
    limit: Any = None,
    delta: Any = None,
) -> Any:
    def bound(name: str, value: Any) -> Any:
        return c.constant(name, np.asarray(value, np.float32 if isinstance(value, float) else np.int64))

    rows = (("start", start_, start), ("limit", limit_, limit), ("delta", delta_, delta))
    return c.named("Range", *[bound(name, own) if fed is None else fed for name, fed, own in rows])
