"""Picking elements, and reductions along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .definition import define, ints
from .rounding import AWAY, rounding_mode_of

REDUCTIONS = ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")


def _indices(c: Any, indices: Any, shape: Any) -> Any:
    return c.constant("indices", np.asarray(indices, np.int64).reshape(ints(shape)))


@define("Gather", rank=None)
def gather(
    c: Any, data_input: Any, indices_: Any = None, *, axis: int = 0, indices: Any = (), gathered_shape: Any = ()
) -> Any:
    at = _indices(c, indices, gathered_shape) if indices_ is None else indices_
    return c.named("Gather", data_input, at, axis=axis)


@define("GatherElements")
def gather_elements(
    c: Any, data_input: Any, indices_: Any = None, *, axis: int = 0, indices: Any = (), gathered_shape: Any = ()
) -> Any:
    at = _indices(c, indices, gathered_shape) if indices_ is None else indices_
    return c.named("GatherElements", data_input, at, axis=axis)


@define("GatherND", rank=None)
def gather_nd(
    c: Any, data_input: Any, indices_: Any = None, *, batch_dims: int = 0, indices: Any = (), gathered_shape: Any = ()
) -> Any:
    at = _indices(c, indices, gathered_shape) if indices_ is None else indices_
    return c.named("GatherND", data_input, at, batch_dims=batch_dims)


@define("Scatter")
def scatter(c: Any, data_input: Any, indices: Any, updates: Any, *, axis: int = 0, reduction: Any = "none") -> Any:
    how = getattr(reduction, "name", str(reduction)).lower()
    return c.named("ScatterElements", data_input, indices, updates, axis=axis, reduction=how)


@define("OneHot", rank=None)
def one_hot(c: Any, data_input: Any, *, depth: int, name: str = "", values: Any = (0.0, 1.0), axis: int = -1) -> Any:
    pair = c.constant("values", np.asarray(values, np.float32))
    return c.named("OneHot", data_input, c.constant("depth", np.asarray(depth, np.int64)), pair, axis=axis)


@define("TopK", outputs=("values", "indices"))
def top_k(
    c: Any, data_input: Any, k: Any, *, name: str = "", axis: int = -1, largest: bool = True, sorted: bool = True
) -> Any:
    return c.named("TopK", data_input, k, axis=axis, largest=int(largest), sorted=int(sorted), outputs=2)


@define("ArgMax", rank=None)
def arg_max(c: Any, data_input: Any, *, axis: int = 0, keep_dims: bool = True, select_last_index: bool = False) -> Any:
    settings = {"axis": axis, "keepdims": int(keep_dims), "select_last_index": int(select_last_index)}
    return c.named("ArgMax", data_input, **settings)


def _reduction(name: str) -> None:
    @define(name, rank=None)
    def emit(
        c: Any,
        data_input: Any,
        axes_input: Any = None,
        *,
        axes: Any = (),
        keep_dims: bool = True,
        noop_with_empty_axes: bool = False,
    ) -> Any:
        return reduced(c, name, data_input, axes_input, axes, keep_dims, noop_with_empty_axes)


def reduced(c: Any, core: str, x: Any, axes_input: Any, axes: Any, keep_dims: bool, noop_with_empty_axes: bool) -> Any:
    """A reduction over axes that are an input or, where that is None, an attribute."""
    along = (ints(axes) or None) if axes_input is None else axes_input
    settings = {"keepdims": int(keep_dims), "noop_with_empty_axes": int(noop_with_empty_axes)}
    return c.named(core, x, along, **settings)


for _name in REDUCTIONS:
    _reduction(_name)


@define("ReduceMean", rank=None)
def reduce_mean(
    c: Any, data_input: Any, axes_input: Any = None, *, axes: Any = (), keep_dims: bool = True,
    noop_with_empty_axes: bool = False, rounding_mode: Any = AWAY,
) -> Any:  # fmt: skip
    rounding_mode_of(rounding_mode)
    return reduced(c, "ReduceMean", data_input, axes_input, axes, keep_dims, noop_with_empty_axes)
