"""Convolutions of images no larger than their kernel, as matrix products.

Such a convolution sums over most of the image at each place, so that one product of the whole image by a spread
kernel computes no more products than it does, and nothing is copied window by window.  The spread kernel
[channels, image, out, outputs] holds at (image, out) the element of the kernel that meets this place of the image at
this place of the output, and 0 where none does.  All three, Conv and its two gradients, are then products by it:

    y = x @ spread        dx = dy @ spread^T        dw = the sums over (image, out) of x^T @ dy, element by element
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...graph import Graph, Node, Value
from ...ops import Windows, windows
from ...passes.rewrite import Replacement, replace_nodes

MOST_PLACES = 1024  # (image, out): what the table of indices may hold
PLACES = {"Conv": (0, 1), "ConvGradInput": (2, 1), "ConvGradWeight": (0, 2)}  # the inputs that are x, w
HOW = ("strides", "pads", "dilations", "auto_pad")


def as_products(graph: Graph) -> Graph:
    """The graph with its convolutions of small images, and their gradients, as products; shapes must be inferred.

    Only where the batch is a number of at least as many rows as the image has places: spreading the kernel costs as
    much as convolving that many images.
    """
    return replace_nodes(graph, partial(_form, graph))


def _form(graph: Graph, node: Node) -> Replacement | None:
    if node.op not in PLACES or node.attrs.get("group", 1) != 1:
        return None
    x, w = (graph.value(n) if isinstance(n := node.inputs[k], str) else None for k in PLACES[node.op])
    if x is None or w is None or not (_is_static(x) and _is_static(w)):
        return None
    if (win := _small(x, w, node.attrs)) is None:
        return None
    return partial(FORMS[node.op], win, _sizes(x), _sizes(w))


def _is_static(v: Value) -> bool:
    return v.shape is not None and all(isinstance(d, int) for d in v.shape)


def _sizes(v: Value) -> tuple[int, ...]:
    return tuple(d for d in v.shape or () if isinstance(d, int))


def _small(x: Value, w: Value, how: dict[str, Any]) -> Windows | None:
    rows, _, *image = _sizes(x)
    kernel = _sizes(w)[2:]
    win = windows(image, kernel, **{k: how[k] for k in HOW if k in how})
    places = math.prod(image)
    small = places <= math.prod(kernel) and places <= rows and places * math.prod(win.out) <= MOST_PLACES
    return win if small and math.prod(kernel) > 1 else None


def _table(win: Windows) -> np.ndarray:
    """i64[image, out]: which element of the kernel meets this place of the image there; one too many for none."""
    image, out = math.prod(win.sizes), math.prod(win.out)
    table = np.full((image, out), math.prod(win.kernel), np.int64)
    for tap, k in enumerate(np.ndindex(win.kernel)):
        for place, o in enumerate(np.ndindex(win.out)):
            at = [a * s + i * d - b for a, s, i, d, b in zip(o, win.strides, k, win.dilations, win.begin, strict=True)]
            if all(0 <= a < size for a, size in zip(at, win.sizes, strict=True)):
                table[np.ravel_multi_index(at, win.sizes), place] = tap
    return table


def _spread(op: Any, w: Value, win: Windows, sizes: tuple[int, ...]) -> Any:
    """f[channels * image, out * outputs]"""
    outputs, channels = sizes[:2]
    table = _table(win)
    last = op.Transpose(w, perm=(*range(1, win.rank + 2), 0))
    last = op.Reshape(last, (channels, math.prod(win.kernel), outputs))
    if (table == math.prod(win.kernel)).any():
        last = op.Pad(last, (0, 0, 0, 0, 1, 0))
    image, out = table.shape
    return op.Reshape(op.Gather(last, table, axis=1), (channels * image, out * outputs))


def _places_first(op: Any, y: Value, win: Windows) -> Any:
    """f[n, outputs, *out] -> f[n, out * outputs]"""
    rows, outputs = _sizes(y)[:2]
    last = op.Transpose(y, perm=(0, *range(2, win.rank + 2), 1))
    return op.Reshape(last, (rows, math.prod(win.out) * outputs))


def _conv(
    win: Windows,
    image: tuple[int, ...],
    kernel: tuple[int, ...],
    op: Any,
    x: Value,
    w: Value,
    b: Any = None,
    **how: Any,
) -> Any:
    rows, outputs = image[0], kernel[0]
    flat = op.MatMul(op.Reshape(x, (rows, -1)), _spread(op, w, win, kernel))
    each = op.Reshape(flat, (rows, *win.out, outputs))
    if b is not None:
        each = op.Add(each, b)
    return op.Transpose(each, perm=(0, win.rank + 1, *range(1, win.rank + 1)))


def _input(
    win: Windows, image: tuple[int, ...], kernel: tuple[int, ...], op: Any, dy: Value, w: Value, *_: Any, **how: Any
) -> Any:
    spread = _spread(op, w, win, kernel)
    return op.Reshape(op.Gemm(_places_first(op, dy, win), spread, transB=1), image)


def _weight(
    win: Windows, image: tuple[int, ...], kernel: tuple[int, ...], op: Any, x: Value, dy: Value, *_: Any, **how: Any
) -> Any:
    outputs, channels = kernel[:2]
    table = _table(win)
    pairs = op.Gemm(op.Reshape(x, (image[0], -1)), _places_first(op, dy, win), transA=1)
    taps = np.arange(math.prod(win.kernel))[:, None] == table.reshape(1, -1)
    sums = op.MatMul(op.CastLike(taps.astype(np.float32), x), op.Reshape(pairs, (channels, table.size, outputs)))
    return op.Reshape(op.Transpose(sums, perm=(2, 0, 1)), kernel)


FORMS: dict[str, Callable[..., Any]] = {"Conv": _conv, "ConvGradInput": _input, "ConvGradWeight": _weight}
