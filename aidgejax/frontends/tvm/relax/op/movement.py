"""Operators that move, cut, join and make elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .....graph import Value
from ...errors import RelaxTypeError, RelaxValueError
from ..expr import Call, Constant, Expr, astype, relax_operator
from ._call import axes_of, code_of, listed, listed_sizes, number_of, size_vector, target_shape


@relax_operator
def permute_dims(x: Any, axes: Sequence[int] | None = None) -> Call:
    """Axis k of the result is axis axes[k] of x; without axes their order is reversed."""

    def write(op: Any, x: Any) -> Value:
        return op.Transpose(x) if axes is None else op.Transpose(x, perm=tuple(a % x.rank for a in axes))

    return Call("relax.permute_dims", (x,), write)


@relax_operator
def concat(tensors: Any, axis: int | None = 0) -> Call:
    """Tensors one after another along an axis; None flattens them first."""

    def write(op: Any, xs: Any) -> Value:
        if axis is None:
            return op.Concat(*[op.Reshape(x, (-1,)) for x in xs], axis=0)
        return op.Concat(*xs, axis=axis)

    return Call("relax.concat", listed(tensors), write)


@relax_operator
def stack(tensors: Any, axis: int = 0) -> Call:
    """Tensors of one shape along a new axis."""

    def write(op: Any, xs: Any) -> Value:
        return op.Concat(*[op.Unsqueeze(x, (axis,)) for x in xs], axis=axis)

    return Call("relax.stack", listed(tensors), write)


@relax_operator
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Call:
    """A tuple of pieces: so many equal ones, or cut before these indices."""

    def write(op: Any, x: Any) -> tuple[Value, ...]:
        if isinstance(indices_or_sections, int | np.integer):
            count = int(indices_or_sections)
            parts = op.Split(x, axis=axis, num_outputs=count, outputs=count)
        else:
            size = x.shape[axis]
            if not isinstance(size, int):
                raise RelaxValueError(
                    f"relax.split by indices needs a size that is a number, axis {axis} of {x} "
                    f"has none; split into sections instead"
                )
            cuts = [0, *(min(max(int(i), 0), size) for i in indices_or_sections), size]
            sizes = tuple(b - a for a, b in zip(cuts[:-1], cuts[1:], strict=True))
            count, parts = len(sizes), op.Split(x, sizes, axis=axis, outputs=len(sizes))
        return parts if count > 1 else (parts,)

    return Call("relax.split", (x,), write)


@relax_operator
def expand_dims(x: Any, axis: Any) -> Call:
    return Call("relax.expand_dims", (x,), lambda op, x: op.Unsqueeze(x, axes_of(axis)))


@relax_operator
def squeeze(x: Any, axis: Any = None) -> Call:
    """x without these axes of size 1, or without all of them."""
    return Call("relax.squeeze", (x,), lambda op, x: op.Squeeze(x, axes_of(axis)))


@relax_operator
def flatten(x: Any) -> Call:
    return Call("relax.flatten", (x,), lambda op, x: op.Reshape(x, (-1,)))


@relax_operator
def reshape(x: Any, shape: Any) -> Call:
    """x with other sizes; -1, or one symbol, is what is left over, and 0 is the size of x at the same place."""
    sizes = listed_sizes(shape)

    def write(op: Any, x: Any) -> Value:
        target = [0 if k < x.rank and isinstance(d, str) and x.shape[k] == d else d for k, d in enumerate(sizes)]
        target = [
            x.shape[k] if d == 0 and k < x.rank and isinstance(x.shape[k], int) else d for k, d in enumerate(target)
        ]
        symbols = [k for k, d in enumerate(target) if isinstance(d, str)]
        if len(symbols) == 1 and -1 not in target:
            target[symbols[0]] = -1
        elif symbols:
            return op.Reshape(x, size_vector(op, target, x), allowzero=1)
        return op.Reshape(x, tuple(target), allowzero=int(not _copies(target, x)))

    return Call("relax.reshape", (x,), write)


def _copies(target: list[Any], x: Any) -> bool:
    """Does a 0 of the target stand for a size of x that is no number?"""
    return any(d == 0 and k < x.rank and isinstance(x.shape[k], str) for k, d in enumerate(target))


@relax_operator
def broadcast_to(x: Any, shape: Any) -> Call:
    target = listed_sizes(shape)

    def write(op: Any, x: Any) -> Value:
        aligned = zip(reversed(x.shape), reversed(target), strict=False)
        wrong = any(d not in (1, whole) and isinstance(d, int) and isinstance(whole, int) for d, whole in aligned)
        if x.rank > len(target) or wrong:
            raise RelaxValueError(f"relax.broadcast_to: {x} does not broadcast to {list(target)}")
        static = all(isinstance(d, int) for d in target)
        return op.Expand(x, target if static else size_vector(op, target, x))

    return Call("relax.broadcast_to", (x,), write)


@relax_operator
def collapse_sum_to(data: Any, shape: Any) -> Call:
    """data summed over the axes along which a tensor of this shape was broadcast to it."""
    target = target_shape(shape)

    def write(op: Any, x: Any) -> Value:
        extra = x.rank - len(target)
        aligned = zip(x.shape[extra:], target, strict=True) if extra >= 0 else ()
        if extra < 0 or any(d not in (1, whole) for whole, d in aligned):
            raise RelaxValueError(f"relax.collapse_sum_to: {x} does not collapse to {list(target)}")
        axes = tuple(k for k in range(x.rank) if k < extra or (target[k - extra] == 1 and x.shape[k] != 1))
        return op.Reshape(op.ReduceSum(x, axes, keepdims=0), target, allowzero=1) if axes else op.Identity(x)

    return Call("relax.collapse_sum_to", (data,), write)


@relax_operator
def collapse_sum_like(data: Any, collapse_target: Any) -> Call:
    """data summed over the axes along which a tensor like collapse_target was broadcast to it."""
    return Call("relax.collapse_sum_like", (data, collapse_target), lambda op, x, y: op.SumLike(x, y))


@relax_operator
def eye_like(x: Any, k: int = 0, dtype: str | None = None) -> Call:
    """A matrix of the shape of x with 1 on the k-th diagonal, 0 elsewhere; k > 0: above the main one."""
    code = None if dtype is None else code_of(str(dtype))
    return Call("relax.eye_like", (x,), lambda op, x: op.EyeLike(x, k=int(number_of(k)), dtype=code))


@relax_operator
def size(expr: Any) -> Call:
    """How many elements a tensor has, int64."""
    return Call("relax.size", (expr,), lambda op, x: op.Size(x))


@relax_operator
def shape_to_tensor(expr: Any) -> Call:
    """The sizes of a shape as a tensor of int64."""
    sizes = listed_sizes(expr)
    if all(isinstance(d, int) for d in sizes):
        return Call("relax.shape_to_tensor", (), lambda op: op.Identity(np.asarray(sizes, np.int64)))
    return Call("relax.shape_to_tensor", (), lambda op: op.Identity(size_vector(op, sizes)))


@relax_operator
def hamming_window(window_size: Any, periodic: Any, alpha: Any, beta: Any, dtype: str) -> Call:
    """alpha - beta cos(2 pi k / n) for k below window_size; n is one less unless the window is periodic."""
    count = int(number_of(window_size))
    period = count if number_of(periodic) else count - 1
    angles = 2 * np.pi * np.arange(count) / max(period, 1)
    made = (number_of(alpha) - number_of(beta) * np.cos(angles)).astype(str(dtype))
    return Call("relax.hamming_window", (), lambda op: op.Identity(made))


@relax_operator
def tile(data: Any, repeats: Any) -> Call:
    """x repeated so often along each axis; a missing one counts from the left as 1."""
    times = target_shape(repeats)

    def write(op: Any, x: Any) -> Value:
        if len(times) > x.rank:
            x = op.Unsqueeze(x, tuple(range(len(times) - x.rank)))
            return op.Tile(x, times)
        return op.Tile(x, (1,) * (x.rank - len(times)) + times)

    return Call("relax.tile", (data,), write)


@relax_operator
def strided_slice(x: Any, axes: Any, begin: Any, end: Any, strides: Any = None, assume_inbound: bool = False) -> Call:
    axes = axes_of(axes)
    steps = (1,) * len(axes) if strides is None else axes_of(strides)
    return Call("relax.strided_slice", (x,), lambda op, x: op.Slice(x, axes_of(begin), axes_of(end), axes, steps))


@relax_operator
def take(x: Any, indices: Any, axis: int | None = None, mode: str = "fast") -> Call:
    """Elements of x by index along an axis; without one, of the flattened tensor.  Indices of any rank.

    mode: what an index out of range means: "clip" the nearest one in range, "wrap" modulo the size, "fast" nothing.
    """

    if mode not in ("fast", "clip", "wrap", "nan"):
        raise RelaxValueError(f"relax.take: mode is {mode!r}; expected 'fast', 'clip', 'wrap' or 'nan'")

    def write(op: Any, x: Any, i: Any) -> Value:
        if isinstance(i, Value) and "int" not in (i.dtype or ""):
            raise RelaxTypeError(f"Take op requires the input indices to have integer dtype, got {i}")
        x, along = (op.Reshape(x, (-1,)), 0) if axis is None else (x, int(axis))
        if mode in ("clip", "wrap"):
            size = op.CastLike(op.Squeeze(op.Shape(x, start=along, end=along + 1 or None), (0,)), i)
            i = op.Mod(i, size) if mode == "wrap" else op.Max(op.Min(i, op.Sub(size, 1)), 0)
        return op.Gather(x, i, axis=along)

    return Call("relax.take", (x, indices), write)


@relax_operator
def gather_elements(data: Any, indices: Any, axis: int = 0) -> Call:
    return Call("relax.gather_elements", (data, indices), lambda op, x, i: op.GatherElements(x, i, axis=axis))


@relax_operator
def one_hot(indices: Any, on_value: Any, off_value: Any, depth: int, axis: int = -1) -> Call:
    """on_value where indices name the place along a new axis, else off_value; their dtype, float64 for a float."""
    on, off = (np.asarray(number_of(v), _dtype_of(v)) for v in (on_value, off_value))
    values = np.stack([off, on]).astype(on.dtype)
    return Call("relax.one_hot", (indices,), lambda op, i: op.OneHot(i, depth, values, axis=axis))


@relax_operator
def triu(x: Any, k: int = 0) -> Call:
    return Call("relax.triu", (x,), lambda op, x: op.Trilu(x, np.asarray(k), upper=1))


@relax_operator
def tril(x: Any, k: int = 0) -> Call:
    return Call("relax.tril", (x,), lambda op, x: op.Trilu(x, np.asarray(k), upper=0))


@relax_operator
def full(shape: Any, fill_value: Any, dtype: str | None = None) -> Call:
    """A tensor of this shape full of a number, which may be computed; float32 where nothing says its dtype."""
    if isinstance(fill_value, Expr) and not isinstance(fill_value, Constant):
        filled = broadcast_to(fill_value, shape)
        return filled if dtype is None else astype(filled, dtype)
    value = fill_value.data if isinstance(fill_value, Constant) else number_of(fill_value)
    kind = dtype or (value.dtype.name if isinstance(value, np.ndarray) else "float32")
    return _constant("full", shape, value, kind)


def _dtype_of(number: Any) -> str | None:
    """The dtype of T.float32(0.5) or of a constant; of a Python number float64 or int64, as TVM reads it."""
    if isinstance(number, Constant):
        return str(number.data.dtype)
    return getattr(number, "dtype", None) or {float: "float64", int: "int64"}.get(type(number))


@relax_operator
def zeros(shape: Any, dtype: str = "float32") -> Call:
    """A tensor of this shape full of 0."""
    return _constant("zeros", shape, 0, dtype)


@relax_operator
def ones(shape: Any, dtype: str = "float32") -> Call:
    """A tensor of this shape full of 1."""
    return _constant("ones", shape, 1, dtype)


def _constant(name: str, shape: Any, value: Any, dtype: str) -> Call:
    sizes = listed_sizes(shape)
    static = tuple(d for d in sizes if isinstance(d, int))
    if len(static) == len(sizes):
        made = np.full(static, value, str(dtype))
        return Call(f"relax.{name}", (), lambda op: op.Identity(made))
    one = np.asarray(value, str(dtype))
    return Call(f"relax.{name}", (), lambda op: op.Expand(one, size_vector(op, sizes)))


@relax_operator
def full_like(x: Any, fill_value: Any, dtype: str | None = None) -> Call:
    """A tensor of the shape and dtype of x full of one number: a Python number, or a tensor of one element."""
    call: Call
    if isinstance(fill_value, Expr) and not isinstance(fill_value, Constant):
        call = Call("relax.full_like", (x, fill_value), lambda op, x, v: op.Add(op.ZerosLike(x), op.CastLike(v, x)))
    else:
        value = fill_value.data.item() if isinstance(fill_value, Constant) else fill_value
        call = Call("relax.full_like", (x,), lambda op, x: op.Add(op.ZerosLike(x), value))
    if dtype is None:
        return call
    return astype(call, dtype)


@relax_operator
def zeros_like(x: Any, dtype: str | None = None) -> Call:
    return full_like(x, 0, dtype)


@relax_operator
def ones_like(x: Any, dtype: str | None = None) -> Call:
    return full_like(x, 1, dtype)
