"""Gradients of windows for targets without Scatter, or without convolutions in the gradient.

With convolutions: a convolution by one-hot kernels lays the elements of each window side by side, and its transpose
brings them back.  Without: a table of indices does, and the table of its inverse; padding is a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import GraphError
from ...graph import Value
from ...ops import Windows, windows

LOWEST = -3.0e38  # below every number of an image, and finite: 0 times it is 0
Takes = Callable[..., bool]


def max_pool(takes: Takes, op: Any, dy: Value, x: Value, y: Value, **how: Any) -> Any:
    """dL/dx of MaxPool: of each window the first element that is the maximum receives dy."""
    win = _windows(x, how["kernel_shape"], how)
    taps = math.prod(win.kernel)
    before = np.tril(np.ones((taps, taps), np.float32), -1)  # how many of the taps before are the maximum too
    if win.tiles and takes("Equal", "ReduceMax") and not any(win.after):
        return _max_of_tiles(op, dy, x, y, win)
    if takes("Conv", "ConvTranspose", "Pad", "Slice"):
        begin, after = win.begin, tuple(max(0, a) for a in win.after)
        one = (1, *win.sizes)
        alone = op.Reshape(x, (-1, *one))
        if any(begin) or any(after):
            alone = op.Pad(alone, (0, 0, *begin, 0, 0, *after), LOWEST)
        hot = np.eye(taps, dtype=np.float32).reshape(taps, 1, *win.kernel)
        place = {"strides": win.strides, "dilations": win.dilations}
        seen = op.Conv(alone, hot, kernel_shape=win.kernel, **place)
        largest = op.Reshape(y, (-1, 1, *win.out))
        equal = _equal(op, takes, seen, largest)
        earlier = op.Conv(equal, before.reshape(taps, taps, *[1] * win.rank))
        winner = op.Mul(equal, _not_above(op, earlier))
        sent = op.Mul(winner, op.Reshape(dy, (-1, 1, *win.out)))
        rest = tuple(max(0, -a) for a in win.after)  # what no window reaches
        back = op.ConvTranspose(sent, hot, kernel_shape=win.kernel, output_padding=(0,) * win.rank, **place)
        if any(rest):
            back = op.Pad(back, (0, 0, *[0] * win.rank, 0, 0, *rest))
        if any(begin) or any(after):
            back = op.Slice(
                back,
                begin,
                tuple(b + s for b, s in zip(begin, win.sizes, strict=True)),
                tuple(range(2, win.rank + 2)),
            )
        return op.Reshape(back, (-1, *_channels(x), *win.sizes))
    table, inside = _table(win)
    seen = _seen(op, x, win, table)  # f[n, c, taps, out]
    if not inside.all():
        seen = op.Add(op.Mul(seen, inside), (1 - inside) * np.float32(LOWEST))
    flat = (-1, *_channels(x), 1, math.prod(win.out))
    equal = _equal(op, takes, seen, op.Reshape(y, flat))
    if not inside.all():
        equal = op.Mul(equal, inside)
    winner = op.Mul(equal, _not_above(op, op.MatMul(before, equal)))
    return _sent_back(op, op.Mul(winner, op.Reshape(dy, flat)), x, win, table, inside)


def _max_of_tiles(op: Any, dy: Value, x: Value, y: Value, win: Windows) -> Any:
    """Windows side by side: the taps become the leading axis, and of those that are the maximum the first counts."""
    taps, rank = math.prod(win.kernel), win.rank
    channels = _channels(x)
    sides = tuple(d for pair in zip(win.out, win.kernel, strict=True) for d in pair)
    apart = op.Reshape(x, (-1, *channels, *sides))  # n, c, out, k, out, k ...
    order = (*range(3, 2 * rank + 2, 2), 0, 1, *range(2, 2 * rank + 2, 2))
    apart = op.Reshape(op.Transpose(apart, perm=order), (taps, -1, *channels, *win.out))
    rank_of_tap = np.arange(taps, 0, -1, dtype=np.float32).reshape(taps, *[1] * (rank + 2))
    score = op.Mul(op.CastLike(op.Equal(apart, y), y), rank_of_tap)
    winner = op.CastLike(op.Equal(score, op.ReduceMax(score, (0,), keepdims=1)), y)
    sent = op.Reshape(op.Mul(winner, dy), (*win.kernel, -1, *channels, *win.out))
    back = tuple(int(k) for k in np.argsort(order))
    return op.Reshape(op.Transpose(sent, perm=back), (-1, *channels, *win.sizes))


def conv_input(takes: Takes, op: Any, dy: Value, w: Value, x: Value, *, group: int = 1, **how: Any) -> Any:
    """dL/dx of Conv as a product of matrices, brought back by the table of windows."""
    win = _windows(x, (w.shape or ())[2:], how)
    outputs, channels = (int(d) for d in (w.shape or ())[:2] if isinstance(d, int))
    table, inside = _table(win)
    taps, out = table.shape
    each = op.Reshape(dy, (-1, group, outputs // group, out))
    flat = op.Transpose(op.Reshape(w, (group, outputs // group, channels * taps)), perm=(0, 2, 1))
    product = op.Reshape(op.MatMul(flat, each), (-1, group * channels, taps, out))
    return _sent_back(op, product, x, win, table, inside)


def conv_weight(takes: Takes, op: Any, x: Value, dy: Value, w: Value, *, group: int = 1, **how: Any) -> Any:
    """dL/dw of Conv as a product of matrices of what the windows see."""
    win = _windows(x, (w.shape or ())[2:], how)
    outputs, channels = (int(d) for d in (w.shape or ())[:2] if isinstance(d, int))
    table, inside = _table(win)
    taps, out = table.shape
    seen = _seen(op, x, win, table)
    if not inside.all():
        seen = op.Mul(seen, inside)
    seen = op.Transpose(op.Reshape(seen, (-1, group, channels * taps, out)), perm=(0, 1, 3, 2))
    each = op.Reshape(dy, (-1, group, outputs // group, out))
    dw = op.ReduceSum(op.MatMul(each, seen), (0,), keepdims=0)
    return op.Reshape(dw, tuple(w.shape or ()))


def _windows(x: Value, kernel: Any, how: dict[str, Any]) -> Windows:
    sizes = (x.shape or ())[2:]
    if not sizes or not all(isinstance(d, int) for d in sizes):
        raise GraphError(f"the gradient of windows on {x} can be written for a target only where its sizes are numbers")
    names = ("strides", "pads", "dilations", "auto_pad", "ceil_mode")
    return windows([int(d) for d in sizes if isinstance(d, int)], kernel, **{k: how[k] for k in names if k in how})


def _channels(x: Value) -> tuple[int, ...]:
    return tuple(d for d in (x.shape or ())[1:2] if isinstance(d, int))


def _equal(op: Any, takes: Takes, seen: Any, largest: Any) -> Any:
    """1 where an element is the maximum of its window, which is never below it."""
    if takes("Equal", "Cast"):
        return op.CastLike(op.Equal(seen, largest), largest)
    return op.Sub(1.0, op.CastLike(op.Greater(largest, seen), largest))


def _not_above(op: Any, counted: Any) -> Any:
    """1 for a count of 0, else 0."""
    return op.Sub(1.0, op.Clip(counted, 0.0, 1.0))


def _table(win: Windows) -> tuple[np.ndarray, np.ndarray]:
    """(the position in the flattened image that each tap of each window sees, whether it is inside), [taps, out]."""
    positions = np.zeros((1, 1), np.int64)
    inside = np.ones((1, 1), np.float32)
    for size, k, stride, dilation, begin, out in zip(
        win.sizes, win.kernel, win.strides, win.dilations, win.begin, win.out, strict=True
    ):
        at = np.arange(k)[:, None] * dilation + np.arange(out)[None] * stride - begin
        fits = (at >= 0) & (at < size)
        at = np.clip(at, 0, size - 1)
        taps, outs = positions.shape
        positions = (positions[:, None, :, None] * size + at[None, :, None, :]).reshape(taps * k, outs * out)
        inside = (inside[:, None, :, None] * fits[None, :, None, :]).reshape(taps * k, outs * out)
    return positions, inside.astype(np.float32)


def _seen(op: Any, x: Value, win: Windows, table: np.ndarray) -> Any:
    flat = op.Reshape(x, (-1, *_channels(x), math.prod(win.sizes)))
    return op.Gather(flat, table, axis=2)


def _sent_back(op: Any, parts: Any, x: Value, win: Windows, table: np.ndarray, inside: np.ndarray) -> Any:
    """The sum at each position of the image of what the taps that see it hold.  parts: f[n, c, taps, out]."""
    taps, out = table.shape
    size = math.prod(win.sizes)
    places: list[list[int]] = [[] for _ in range(size)]
    for at, (position, fits) in enumerate(zip(table.reshape(-1), inside.reshape(-1), strict=True)):
        if fits:
            places[position].append(at)
    most = max(1, max(map(len, places)))
    index = np.array([p + [0] * (most - len(p)) for p in places], np.int64)
    held = np.array([[1] * len(p) + [0] * (most - len(p)) for p in places], np.float32)
    flat = op.Reshape(parts, (-1, *_channels(x), taps * out))
    found = op.Gather(flat, index, axis=2)
    if not held.all():
        found = op.Mul(found, held)
    if most > 1:
        found = op.ReduceSum(found, (3,), keepdims=0)
    return op.Reshape(found, (-1, *_channels(x), *win.sizes))
