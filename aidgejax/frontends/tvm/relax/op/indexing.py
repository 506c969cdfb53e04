"""Operators that read and write elements by computed places, and order statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .....graph import Value
from ...errors import RelaxValueError
from ..expr import Call, Tuple, relax_operator
from ._call import axes_of, code_of, listed
from .ordering import in_order
from .reduce import running


@relax_operator
def index_tensor(data: Any, indices: Any) -> Call:
    """data[i, j, ...] of index tensors that broadcast against each other, one for each of the first axes."""

    def write(op: Any, x: Any, places: Any) -> Value:
        return op.GatherND(x, _coordinates(op, places))

    return Call("relax.index_tensor", (data, *listed(indices)), write)


@relax_operator
def index_put(data: Any, indices: Any, values: Any, accumulate: bool = False) -> Call:
    """data with values put at, or added to, data[i, j, ...]."""
    indices = indices if isinstance(indices, tuple | list | Tuple) else (indices,)

    def write(op: Any, x: Any, places: Any, new: Any) -> Value:
        return op.ScatterND(x, _coordinates(op, places), new, reduction="add" if accumulate else "none")

    return Call("relax.index_put", (data, *listed(indices), values), write)


def _coordinates(op: Any, places: Any) -> Value:
    """The index tensors, broadcast, along a last axis."""
    rank = max(p.rank for p in places)
    zero: Any = None
    for p in places if len(places) > 1 else ():
        none = op.ZerosLike(p)
        zero = none if zero is None else op.Add(zero, none)
    whole = [p if zero is None else op.Add(p, zero) for p in places]
    return op.Cast(op.Concat(*[op.Unsqueeze(p, (rank,)) for p in whole], axis=rank), to=code_of("int64"))


@relax_operator
def slice_scatter(input_tensor: Any, src: Any, start: Any, end: Any, step: Any, axis: int = 0) -> Call:
    """input_tensor with src in the place of its slice from start to end along an axis."""
    first, last, by = (int(getattr(v, "value", v)) for v in (start, end, step))

    def write(op: Any, x: Any, new: Any) -> Value:
        along = axis % x.rank
        size = x.shape[along]
        if not isinstance(size, int):
            raise RelaxValueError(f"relax.slice_scatter needs a size that is a number on axis {axis}, got {x}")
        places = np.arange(size)[first:last:by][:, None]
        if along == 0:
            return op.ScatterND(x, places, new, reduction="none")
        front = (along, *(a for a in range(x.rank) if a != along))
        back = tuple(front.index(a) for a in range(x.rank))
        moved = op.ScatterND(op.Transpose(x, perm=front), places, op.Transpose(new, perm=front), reduction="none")
        return op.Transpose(moved, perm=back)

    return Call("relax.slice_scatter", (input_tensor, src), write)


@relax_operator
def reverse_sequence(data: Any, seq_lengths: Any, seq_axis: int = 1, batch_axis: int = 0) -> Call:
    """The first seq_lengths[b] elements along seq_axis, last one first."""

    def write(op: Any, x: Any, lengths: Any) -> Value:
        lengths = op.Cast(lengths, to=code_of("int64"))
        if (seq_axis % x.rank, batch_axis % x.rank) in ((0, 1), (1, 0)):
            return op.ReverseSequence(x, lengths, time_axis=seq_axis % x.rank, batch_axis=batch_axis % x.rank)
        rest = [a for a in range(x.rank) if a not in (seq_axis % x.rank, batch_axis % x.rank)]
        front = (seq_axis % x.rank, batch_axis % x.rank, *rest)
        reversed_first = op.ReverseSequence(op.Transpose(x, perm=front), lengths, time_axis=0, batch_axis=1)
        return op.Transpose(reversed_first, perm=tuple(front.index(a) for a in range(x.rank)))

    return Call("relax.reverse_sequence", (data, seq_lengths), write)


@relax_operator
def bucketize(input_tensor: Any, boundaries: Any, out_int32: bool = False, right: bool = False) -> Call:
    """How many boundaries are below each element; right: below it or equal to it."""

    def write(op: Any, x: Any, edges: Any) -> Value:
        wide = op.Unsqueeze(x, (x.rank,))
        below = op.GreaterOrEqual(wide, edges) if right else op.Greater(wide, edges)
        return op.ReduceSum(op.Cast(below, to=code_of("int32" if out_int32 else "int64")), (x.rank,), keepdims=0)

    return Call("relax.bucketize", (input_tensor, boundaries), write)


@relax_operator
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Call:
    """(value, its place) in the middle along an axis, the lower one of two; without an axis, the value of all alone."""
    axes = axes_of(axis)
    if axes is not None and len(axes) != 1:
        raise RelaxValueError(f"relax.median takes one axis or none, got {list(axes)}")

    def write(op: Any, x: Any) -> Any:
        rank, along = x.rank, 0 if axes is None else axes[0] % x.rank
        sizes = x.shape if axes is None else (x.shape[along],)
        if not all(isinstance(d, int) for d in sizes):
            raise RelaxValueError(f"relax.median orders an axis whose size is a number, got {x}")
        values, places = in_order(op, op.Reshape(x, (-1,)) if axes is None else x, along, False, math.prod(sizes))
        middle = np.asarray((math.prod(sizes) - 1) // 2)
        found = [op.Gather(v, middle, axis=along) for v in (values, places)]
        if keepdims:
            at = tuple(range(rank)) if axes is None else (along,)
            found = [op.Unsqueeze(v, at) for v in found]
        return found[0] if axes is None else tuple(found)

    return Call("relax.median", (x,), write)


@relax_operator
def cumprod(data: Any, axis: int | None = None, dtype: str | None = None, exclusive: bool = False) -> Call:
    """Running products along an axis; without one, of the flattened tensor."""
    return running("cumprod", "CumProd", data, axis, dtype, exclusive)


@relax_operator
def meshgrid(tensors: Any, indexing: str = "ij") -> Call:
    """Vectors as tensors of one shape, one axis for each; indexing "xy" swaps the first two axes."""
    if indexing not in ("ij", "xy"):
        raise RelaxValueError(f"relax.meshgrid: indexing is {indexing!r}; expected 'ij' or 'xy'")

    def write(op: Any, xs: Any) -> tuple[Value, ...]:
        count = len(xs)
        order = [1, 0, *range(2, count)] if indexing == "xy" and count > 1 else list(range(count))
        sizes = [xs[k].shape[0] if xs[k].rank else 1 for k in order]
        if not all(isinstance(d, int) for d in sizes):
            raise RelaxValueError("relax.meshgrid needs vectors whose sizes are numbers")
        found = []
        for k, x in enumerate(xs):
            shape = [1] * count
            shape[order.index(k)] = -1
            found.append(op.Expand(op.Reshape(x, tuple(shape)), tuple(sizes)))
        return tuple(found)

    return Call("relax.meshgrid", listed(tensors), write)
