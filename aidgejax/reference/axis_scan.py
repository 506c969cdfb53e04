"""Placing along an axis in NumPy, element by element."""

import numpy as np

from ._definition import define


@define("ReverseSequence")
def reverse_sequence(x, lens, *, batch_axis=1, time_axis=0):
    y = np.moveaxis(x, batch_axis, 0).copy()
    for n, length in enumerate(lens):
        y[n, :length] = y[n, :length][::-1].copy()
    return np.moveaxis(y, 0, batch_axis)


@define("TensorScatter")
def tensor_scatter(cache, update, first=None, *, mode="linear", axis=-2):
    y = np.moveaxis(cache.copy(), axis, 1)
    for n, rows in enumerate(np.moveaxis(update, axis, 1)):
        for k, row in enumerate(rows):
            at = k + (0 if first is None else int(first[n]))
            y[n, at % y.shape[1] if mode == "circular" else at] = row
    return np.moveaxis(y, 1, axis)


@define("Compress")
def compress(x, condition, *, axis=None):
    return np.compress(condition, x, axis=axis)


@define("CenterCropPad")
def center_crop_pad(x, shape, *, axes=None):
    for a, size in zip(range(x.ndim) if axes is None else axes, shape, strict=True):
        more = int(size) - x.shape[a]
        if more < 0:
            x = np.take(x, range(-more // 2, -more // 2 + int(size)), axis=a)
        else:
            widths = [(0, 0)] * x.ndim
            widths[a] = (more // 2, more - more // 2)
            x = np.pad(x, widths)
    return x


@define("CumProd")
def cum_prod(x, axis, *, exclusive=0, reverse=0):
    y = np.moveaxis(np.ones_like(x), int(axis), 0)
    rows = np.moveaxis(x, int(axis), 0)
    product = np.ones_like(rows[0])
    for k in range(len(rows))[:: -1 if reverse else 1]:
        if exclusive:
            y[k] = product
        product = product * rows[k]
        if not exclusive:
            y[k] = product
    return np.moveaxis(y, 0, int(axis))


@define("CumProdGrad")
def cum_prod_grad(dy, x, axis, *, exclusive=0, reverse=0):
    dx = np.zeros_like(x)
    rows, d, to = (np.moveaxis(t, int(axis), 0) for t in (x, dy, dx))
    n = len(rows)
    for j in range(n):
        part = range(j + (not exclusive)) if not reverse else range(j + bool(exclusive), n)
        for i in part:
            to[i] += d[j] * np.prod([rows[k] for k in part if k != i], axis=0)
    return dx
