"""Operators that order elements, and such as move them by computed places."""

from __future__ import annotations

from typing import Any

import numpy as np

from .....graph import Value
from ...errors import RelaxValueError
from ..expr import Call, relax_operator
from ._call import axes_of, code_of, number_of

REDUCTIONS = {"update": "none", "add": "add", "mul": "mul", "min": "min", "max": "max"}


@relax_operator
def topk(
    data: Any, k: int = 1, axis: int = -1, ret_type: str = "both", largest: bool = True, dtype: str = "int32"
) -> Call:
    """(values, indices) of the k largest along an axis, in order; ret_type "values" or "indices": one of them."""
    if ret_type not in ("both", "values", "indices"):
        raise RelaxValueError(f"relax.topk: ret_type is {ret_type!r}; expected 'both', 'values' or 'indices'")

    def write(op: Any, x: Any) -> Any:
        values, places = op.TopK(x, (int(k),), axis=axis, largest=int(largest), outputs=2)
        places = op.Cast(places, to=code_of(dtype))
        return {"both": (values, places), "values": values, "indices": places}[ret_type]

    return Call("relax.topk", (data,), write)


@relax_operator
def sort(x: Any, axis: int = -1, descending: bool = False) -> Call:
    return Call("relax.sort", (x,), lambda op, x: in_order(op, x, axis, descending)[0])


@relax_operator
def argsort(data: Any, axis: int = -1, descending: bool = False, dtype: str = "int32") -> Call:
    """The places of the elements in order along an axis."""
    return Call(
        "relax.argsort", (data,), lambda op, x: op.Cast(in_order(op, x, axis, descending)[1], to=code_of(dtype))
    )


def in_order(op: Any, x: Any, axis: int, descending: bool, size: Any = None) -> tuple[Value, Value]:
    """(values, places) in order along an axis; size: its size, where x does not say it."""
    size = x.shape[axis] if size is None else size
    if not isinstance(size, int):
        raise RelaxValueError(f"relax.sort orders an axis whose size is a number; axis {axis} of {x} has none")
    values, places = op.TopK(x, (size,), axis=axis, largest=int(descending), outputs=2)
    return values, places


@relax_operator
def flip(data: Any, axis: int) -> Call:
    """The elements along an axis, last one first."""
    last = -np.iinfo(np.int64).max
    return Call("relax.flip", (data,), lambda op, x: op.Slice(x, (-1,), (last,), axes_of(axis), (-1,)))


@relax_operator
def repeat(data: Any, repeats: int, axis: int | None = None) -> Call:
    """Every element so many times, one after the other; without an axis, of the flattened tensor."""

    def write(op: Any, x: Any) -> Value:
        if axis is None:
            x, along, sizes = op.Reshape(x, (-1,)), 0, [-1]
        else:
            along = axis % x.rank
            sizes = [*x.shape[:along], -1, *x.shape[along + 1 :]]
        if any(not isinstance(d, int) for d in sizes):
            raise RelaxValueError(f"relax.repeat needs sizes that are numbers beside axis {along}, got {x}")
        copies = [op.Unsqueeze(x, (along + 1,))] * int(repeats)
        return op.Reshape(op.Concat(*copies, axis=along + 1), tuple(sizes))

    return Call("relax.repeat", (data,), write)


@relax_operator
def gather_nd(data: Any, indices: Any, batch_dims: int = 0) -> Call:
    """What stands at the places whose coordinates are the last axis of indices."""
    return Call("relax.gather_nd", (data, indices), lambda op, x, i: op.GatherND(x, i, batch_dims=int(batch_dims)))


@relax_operator
def scatter_elements(data: Any, indices: Any, updates: Any, axis: int = 0, reduction: str = "update") -> Call:
    """data, with updates put at, added to ... the places of an axis."""
    how = _reduction("scatter_elements", reduction)
    return Call(
        "relax.scatter_elements",
        (data, indices, updates),
        lambda op, x, i, u: op.ScatterElements(x, i, u, axis=axis, reduction=how),
    )


@relax_operator
def scatter_nd(data: Any, indices: Any, updates: Any, reduction: str = "update") -> Call:
    """The inverse of gather_nd: data, with updates put at, added to ... these places."""
    how = _reduction("scatter_nd", reduction)
    return Call("relax.scatter_nd", (data, indices, updates), lambda op, x, i, u: op.ScatterND(x, i, u, reduction=how))


def _reduction(name: str, reduction: str) -> str:
    if reduction not in REDUCTIONS:
        raise RelaxValueError(f"relax.{name}: reduction is {reduction!r}; expected one of {', '.join(REDUCTIONS)}")
    return REDUCTIONS[reduction]


@relax_operator
def arange(start: float, end: float | None = None, step: float = 1, dtype: str | None = None) -> Call:
    """start, start + step ... below end; with one number, from 0 to it."""
    start, end, step = number_of(start), number_of(end), number_of(step)
    first, last = (0, start) if end is None else (start, end)
    if not all(isinstance(v, int | float | np.number) for v in (first, last, step)):
        raise RelaxValueError(f"relax.arange takes numbers, got {first!r}, {last!r}, {step!r}")
    whole = all(isinstance(v, int | np.integer) for v in (first, last, step))
    made = np.arange(float(first), float(last), float(step)).astype(dtype or ("int64" if whole else "float32"))
    return Call("relax.arange", (), lambda op: op.Identity(made))


@relax_operator
def eye(n: int, m: int | None = None, k: int = 0, dtype: str = "float32") -> Call:
    """n rows of m numbers: 1 on the k-th diagonal, 0 elsewhere."""
    made = np.eye(int(n), None if m is None else int(m), int(k), dtype)
    return Call("relax.eye", (), lambda op: op.Identity(made))


@relax_operator
def outer(x1: Any, x2: Any) -> Call:
    """Every product of an element of the vector x1 with one of x2."""
    return Call("relax.outer", (x1, x2), lambda op, a, b: op.Mul(op.Unsqueeze(a, (1,)), op.Unsqueeze(b, (0,))))
