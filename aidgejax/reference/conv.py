"""Convolutions, and the two convolutions that are their gradients, in NumPy."""

import itertools
import math

import numpy as np

from ._definition import backward, define


def padding(sizes, kernel, strides, dilations, pads, auto_pad):
    """Positions added (in front, behind) on each spatial axis."""
    rank = len(sizes)
    if auto_pad == "NOTSET":
        pads = [0] * (2 * rank) if pads is None else list(pads)
        return list(zip(pads[:rank], pads[rank:], strict=True))
    if auto_pad == "VALID":
        return [(0, 0)] * rank
    added = []
    for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n)
        half = total // 2
        added.append((half, total - half) if auto_pad == "SAME_UPPER" else (total - half, half))
    return added


def patches(shape, kernel, strides, dilations, count):
    """(tap, slices): for every element of a window, where all windows find it in a padded image."""
    for t in itertools.product(*map(range, kernel)):
        yield (
            t,
            (
                ...,
                *(
                    slice(d * k, d * k + s * (o - 1) + 1, s)
                    for k, s, d, o in zip(t, strides, dilations, count, strict=True)
                ),
            ),
        )


def windows_of(shape, kernel, strides, dilations, pads, auto_pad):
    rank = len(kernel)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    added = padding(shape[2:], kernel, strides, dilations, pads, auto_pad)
    count = [
        (n + b + e - d * (k - 1) - 1) // s + 1
        for n, (b, e), k, s, d in zip(shape[2:], added, kernel, strides, dilations, strict=True)
    ]
    return added, count, list(patches(shape, kernel, strides, dilations, count))


def padded(x, added, value=0):
    return np.pad(x, [(0, 0), (0, 0), *added], constant_values=value)


def unpadded(x, added):
    return x[(..., *(slice(b, x.shape[k + 2] - e) for k, (b, e) in enumerate(added)))]


@define("Conv")
def conv(x, w, b=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
    added, count, taps = windows_of(x.shape, w.shape[2:], strides, dilations, pads, auto_pad)
    wide = padded(x, added)
    y = np.zeros((x.shape[0], w.shape[0], *count), x.dtype)
    for i, o in channels(x.shape[1], w.shape[0], group):
        for t, at in taps:
            y[:, o] += np.moveaxis(np.tensordot(w[(o, slice(None), *t)], wide[:, i][at], ([1], [1])), 0, 1)
    return y if b is None else y + b.reshape(-1, *[1] * (x.ndim - 2))


@define("ConvGradInput")
def conv_grad_input(dy, w, x, *, auto_pad="NOTSET", dilations=None, group=1, pads=None, strides=None):
    added, _, taps = windows_of(x.shape, w.shape[2:], strides, dilations, pads, auto_pad)
    wide = padded(np.zeros_like(x), added)
    for i, o in channels(x.shape[1], w.shape[0], group):
        for t, at in taps:
            wide[:, i][at] += np.moveaxis(np.tensordot(w[(o, slice(None), *t)], dy[:, o], ([0], [1])), 0, 1)
    return unpadded(wide, added)


@define("ConvGradWeight")
def conv_grad_weight(x, dy, w, *, auto_pad="NOTSET", dilations=None, group=1, pads=None, strides=None):
    added, _, taps = windows_of(x.shape, w.shape[2:], strides, dilations, pads, auto_pad)
    wide, dw = padded(x, added), np.zeros_like(w)
    images = [0, *range(2, x.ndim)]
    for i, o in channels(x.shape[1], w.shape[0], group):
        for t, at in taps:
            dw[(o, slice(None), *t)] = np.tensordot(dy[:, o], wide[:, i][at], (images, images))
    return dw


def channels(inputs, outputs, group):
    """The slices of input and output channels of every group."""
    i, o = inputs // group, outputs // group
    return [(slice(g * i, (g + 1) * i), slice(g * o, (g + 1) * o)) for g in range(group)]


@backward("Conv")
def conv_backward(x, w, b, y, dy, *, auto_pad="NOTSET", dilations=None, group=1, pads=None, strides=None):
    """Output by output: dy of one window goes to what the window saw and to the weight that it saw it through."""
    added, count, _ = windows_of(x.shape, w.shape[2:], strides, dilations, pads, auto_pad)
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    wide = padded(x, added)
    d_wide, dw = np.zeros_like(wide), np.zeros_like(w)
    for i, o in channels(x.shape[1], w.shape[0], group):
        for p in np.ndindex(*count):
            at = (
                slice(None),
                i,
                *(
                    slice(s * q, s * q + d * (k - 1) + 1, d)
                    for s, d, q, k in zip(strides, dilations, p, w.shape[2:], strict=True)
                ),
            )
            arriving = dy[(slice(None), o, *p)]
            d_wide[at] += np.tensordot(arriving, w[o], 1)
            dw[o] += np.tensordot(arriving, wide[at], ([0], [0]))
    db = None if b is None else dy.sum(axis=(0, *range(2, x.ndim)))
    return unpadded(d_wide, added), dw, db


def output_windows(sizes, kernel, *, auto_pad, dilations, output_padding, output_shape, pads, strides):
    """(positions of the whole output, cut off in front, kept) per spatial axis, by ONNX's equations."""
    rank = len(sizes)
    added = []
    for a in range(rank):
        whole = strides[a] * (sizes[a] - 1) + output_padding[a] + (kernel[a] - 1) * dilations[a] + 1
        if output_shape is not None or auto_pad.startswith("SAME"):
            size = sizes[a] * strides[a] if output_shape is None else output_shape[a]
            total = max(0, whole - size)
            front = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        else:
            front, size = pads[a], whole - pads[a] - pads[a + rank]
        added.append((max(whole, front + size), front, size))
    return added


@define("ConvTranspose")
def conv_transpose(
    x,
    w,
    b=None,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    output_padding=None,
    output_shape=None,
    pads=None,
    strides=None,
):
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    where = output_windows(
        x.shape[2:],
        w.shape[2:],
        auto_pad=auto_pad,
        dilations=dilations,
        strides=strides,
        output_padding=output_padding or [0] * rank,
        output_shape=output_shape,
        pads=pads or [0] * (2 * rank),
    )
    y = np.zeros((x.shape[0], w.shape[1] * group, *(whole for whole, _, _ in where)), x.dtype)
    for o, i in channels(w.shape[1] * group, x.shape[1], group):
        for t, at in patches(y.shape, w.shape[2:], strides, dilations, x.shape[2:]):
            y[:, o][at] += np.moveaxis(np.tensordot(w[(i, slice(None), *t)], x[:, i], ([0], [1])), 0, 1)
    y = y[(..., *(slice(front, front + size) for _, front, size in where))]
    return y if b is None else y + b.reshape(-1, *[1] * rank)


@backward("ConvTranspose")
def conv_transpose_backward(
    x,
    w,
    b,
    y,
    dy,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    output_padding=None,
    output_shape=None,
    pads=None,
    strides=None,
):
    """Input by input: what of dy lies under its window."""
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    where = output_windows(
        x.shape[2:],
        w.shape[2:],
        auto_pad=auto_pad,
        dilations=dilations,
        strides=strides,
        output_padding=output_padding or [0] * rank,
        output_shape=output_shape,
        pads=pads or [0] * (2 * rank),
    )
    wide = np.pad(dy, [(0, 0), (0, 0), *((front, whole - front - size) for whole, front, size in where)])
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for o, i in channels(dy.shape[1], x.shape[1], group):
        for p in np.ndindex(*x.shape[2:]):
            seen = wide[
                (
                    slice(None),
                    o,
                    *(
                        slice(s * q, s * q + d * (k - 1) + 1, d)
                        for s, d, q, k in zip(strides, dilations, p, w.shape[2:], strict=True)
                    ),
                )
            ]
            dx[(slice(None), i, *p)] = np.tensordot(seen, w[i], (list(range(1, w.ndim)), list(range(1, w.ndim))))
            dw[i] += np.tensordot(x[(slice(None), i, *p)], seen, ([0], [0]))
    return dx, dw, None if b is None else dy.sum(axis=(0, *range(2, x.ndim)))
