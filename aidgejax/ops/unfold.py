"""Sliding windows laid out as columns (Unfold), and columns added back into an image (Col2Im)."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import operator


def geometry(sizes, kernel, strides, dilations, pads):
    """(strides, dilations, pads, how many windows there are along each axis)"""
    d = len(kernel)
    strides, dilations = tuple(strides or (1,) * d), tuple(dilations or (1,) * d)
    pads = tuple(pads or (0,) * 2 * d)
    if len(sizes) != d or len(strides) != d or len(dilations) != d or len(pads) != 2 * d:
        raise GraphError(
            f"an image with {len(sizes)} spatial axes needs as many of kernel {list(kernel)}, strides "
            f"{list(strides)}, dilations {list(dilations)}, and twice as many pads, got {list(pads)}"
        )
    counts = []
    for n, k, s, e, a, b in zip(sizes, kernel, strides, dilations, pads[:d], pads[d:], strict=True):
        room = n + a + b - e * (k - 1) - 1
        if room < 0:
            raise GraphError(
                f"windows of {list(kernel)} with dilations {list(dilations)} do not fit an image of "
                f"{list(sizes)} with pads {list(pads)}"
            )
        counts.append(room // s + 1)
    return strides, dilations, pads, tuple(counts)


def places(kernel, strides, dilations, counts):
    """For each position inside the window, in order, where its element lies in the padded image, as slices."""
    for offset in itertools.product(*map(range, kernel)):
        yield tuple(
            slice(o * e, o * e + s * (c - 1) + 1, s)
            for o, e, s, c in zip(offset, dilations, strides, counts, strict=True)
        )


def unfold_vjp(op, x, y, dy, *, kernel_shape, strides, dilations, pads):
    more = {k: tuple(v) for k, v in (("strides", strides), ("dilations", dilations), ("pads", pads)) if v is not None}
    return (op.Col2Im(dy, op.Shape(x, start=2), tuple(kernel_shape), **more),)


def unfold_onnx(op, x, *, kernel_shape, strides, dilations, pads):
    """A depthwise convolution whose kernels each pick one element."""
    channels, size = x.shape[1], math.prod(kernel_shape)
    if not isinstance(channels, int):
        raise GraphError("Unfold needs to know the number of channels to be decomposed into standard operators")
    picks = np.tile(
        np.eye(size, dtype=x.dtype or "float32").reshape(size, 1, *kernel_shape),
        (channels, 1, *[1] * len(kernel_shape)),
    )
    more = {k: tuple(v) for k, v in (("strides", strides), ("dilations", dilations), ("pads", pads)) if v is not None}
    columns = op.Conv(x, picks, group=channels, kernel_shape=tuple(kernel_shape), **more)
    return op.Reshape(columns, (0, channels * size, -1))


@operator("Unfold", vjp=unfold_vjp, decompose=unfold_onnx)
def unfold(x, *, kernel_shape, strides=None, dilations=None, pads=None):
    """The windows of a convolution as columns.  f[n, c, *d] -> f[n, c * prod(kernel), windows].

    A column lists channel by channel, inside a channel the kernel in order; windows are in order as well.  torch's
    Unfold, Aidge's Unfold2D.
    """
    strides, dilations, pads, counts = geometry(jnp.shape(x)[2:], kernel_shape, strides, dilations, pads)
    d = len(counts)
    padded = jnp.pad(x, [(0, 0), (0, 0), *zip(pads[:d], pads[d:], strict=True)])
    taken = [padded[(slice(None), slice(None), *where)] for where in places(kernel_shape, strides, dilations, counts)]
    return jnp.stack(taken, 2).reshape(x.shape[0], -1, math.prod(counts))


def col2im_vjp(op, x, image_shape, block_shape, y, dy, *, dilations, pads, strides):
    if not isinstance(block_shape, tuple):
        raise GraphError("the gradient of Col2Im needs its block_shape written in the graph")
    return op.Unfold(dy, kernel_shape=block_shape, strides=strides, dilations=dilations, pads=pads), None, None


@operator("Col2Im", onnx=("", 18), vjp=col2im_vjp, static=("image_shape", "block_shape"))
def col2im(x, image_shape, block_shape, *, dilations=None, pads=None, strides=None):
    """Columns added to where their windows lie.  f[n, c * prod(block), windows], i64[k], i64[k] -> f[n, c, *image].
    ONNX Col2Im-18."""
    image, block = ([int(v) for v in s] for s in (image_shape, block_shape))
    strides, dilations, pads, counts = geometry(image, block, strides, dilations, pads)
    size, d = math.prod(block), len(block)
    if x.shape[1] % size or x.shape[2] != math.prod(counts):
        raise GraphError(
            f"columns {list(x.shape)} do not belong to an image of {image}: expected [n, c * {size}, "
            f"{math.prod(counts)}]"
        )
    columns = x.reshape(x.shape[0], -1, size, *counts)
    sizes = [n + a + b for n, a, b in zip(image, pads[:d], pads[d:], strict=True)]
    padded = 0
    for k, where in enumerate(places(block, strides, dilations, counts)):
        last = [w.start + (n - 1) * w.step for w, n in zip(where, counts, strict=True)]
        config = [(w.start, n - 1 - at, w.step - 1) for w, n, at in zip(where, sizes, last, strict=True)]
        zero = jnp.zeros((), x.dtype)
        padded += jax.lax.pad(columns[:, :, k], zero, [(0, 0, 0), (0, 0, 0), *config])
    return padded[(slice(None), slice(None), *(slice(a, a + n) for a, n in zip(pads[:d], image, strict=True)))]
