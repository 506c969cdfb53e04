"""A convolution and its two gradients as XLA runs them: channels-last images, kernels [*k, in / group, out].

XLA on CPU is fast, inside lax.scan above all, only for dots, element-wise loops and convolutions of one group whose
dimensions lie in the usual order, with explicit transposes (jax issue 12868).  So each of the three has a form made of
those, chosen by benchmarks/convolution.py; on a GPU images of few channels have one (see _patches.py).  All else is
lax's own form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._conv_threads import on_all_threads, takes_one_thread
from ._patches import convolve_by_patches, takes_patches, weight_by_patches
from ._pixel_packing import packing
from ._platforms import by_platform
from ._rows import sum_over_rows
from ._windows import Windows, cover, gather, of_tiles, shifted, tap, widened
from .materialize import materialize

# An input gradient of at most so many channels is a dot and shifted sums; of more, a convolution.
FEW_CHANNELS = 8
# A weight gradient goes through the batch in pieces: one thread's stay, rearranged too, in its core's cache; those that
# threads share are larger, and Eigen takes as long for a small piece as for a large one.
PIECE_BYTES = 288 << 10
SHARED_PIECE_BYTES = 2 << 20
DEPTHWISE_PIECE_BYTES = 64 << 10
# That of a depthwise convolution takes images up to this size together, so many in one walk.
DEPTHWISE_IMAGE_BYTES = 96 << 10
IMAGES_AT_ONCE = 16


def convolve(x: Any, w: Any, win: Windows, group: int) -> Any:
    """y[n, *out, o] = sum over taps and channels of x * w.  f[n, *sizes, i], f[*k, i / group, o] -> f[n, *out, o]."""
    if win.rank == 1:
        return convolve(x[:, None], w[None], _as_rows(win), group)[:, 0]
    if group > 1 and w.shape[-2] == 1:
        ours = _depthwise
    elif w.shape[-2] == 1 or math.prod(win.kernel) == 1:
        ours = _each_group(_by_taps, group)
    else:
        ours = _each_group(_folded, group)
    ways = {"cpu": lambda x, w: ours(x, w, win), "default": lambda x, w: _plain(x, w, win, group)}
    if takes_patches(x, win, group):
        ways |= _on_a_gpu(lambda x, w: convolve_by_patches(x, w, win))
    return by_platform(x, w, **ways)


def convolve_input(dy: Any, w: Any, win: Windows, group: int) -> Any:
    """dL/dx of convolve.  f[n, *out, o], f[*k, i / group, o] -> f[n, *sizes, i]."""
    if win.rank == 1:
        return convolve_input(dy[:, None], w[None], _as_rows(win), group)[:, 0]
    if group > 1 and w.shape[-2] == 1:
        ours = _depthwise_input(group)
    elif max(win.strides) == 1 and w.shape[-2] > FEW_CHANNELS and math.prod(win.kernel) > 1:
        ours = _each_group(_input_by_convolution, group)
    else:
        ours = _folded_input(group)
    ways = {"cpu": lambda dy, w: ours(dy, w, win), "default": lambda dy, w: _plain_input(dy, w, win, group)}
    image = jax.ShapeDtypeStruct((dy.shape[0], *win.sizes, w.shape[-2]), dy.dtype)
    if takes_patches(image, win, group):
        ways |= _on_a_gpu(lambda dy, w: _input_by_taps(group)(dy, w, win))
    return by_platform(dy, w, **ways)


def convolve_weight(x: Any, dy: Any, win: Windows, group: int) -> Any:
    """dL/dw of convolve.  f[n, *sizes, i], f[n, *out, o] -> f[*k, i / group, o]."""
    if win.rank == 1:
        return convolve_weight(x[:, None], dy[:, None], _as_rows(win), group)[0]
    if group > 1 and x.shape[-1] == group:
        ours = _depthwise_weight
    elif math.prod(win.kernel) == 1:
        ours = _each_group(_weight_of_one_tap, group)
    else:
        ours = _folded_weight(group)
    ways = {"cpu": lambda x, dy: ours(x, dy, win), "default": lambda x, dy: _plain_weight(x, dy, win, group)}
    if takes_patches(x, win, group):
        ways |= _on_a_gpu(lambda x, dy: weight_by_patches(x, dy, win))
    return by_platform(x, dy, **ways)


def _on_a_gpu(f: Callable) -> dict[str, Callable]:
    return {"cuda": f, "rocm": f}


def _as_rows(win: Windows) -> Windows:
    """One spatial axis, seen as an image of one row."""
    return Windows(
        (1, *win.sizes),
        (1, *win.kernel),
        (1, *win.strides),
        (1, *win.dilations),
        (0, *win.begin),
        (0, *win.end),
        (1, *win.out),
    )


# ---- on CPU -------------------------------------------------------------------------------------------


def _each_group(f: Callable, group: int) -> Callable:
    """f on the channels of one group after the other."""
    if group == 1:
        return f

    def grouped(a: Any, b: Any, win: Windows) -> Any:
        parts = zip(jnp.split(a, group, -1), jnp.split(b, group, -1), strict=True)
        return jnp.concatenate([f(*p, win) for p in parts], -1)

    return grouped


def _dot(a: Any, b: Any) -> Any:
    """A product of matrices; what comes in less than float32 is summed up in float32."""
    return jnp.matmul(a, b, preferred_element_type=_sum_dtype(a))


def _pixels(x: Any) -> Any:
    """An image as a matrix, a row per pixel.  t[n, *s, c] -> t[n * prod(s), c]."""
    return jnp.reshape(x, (-1, x.shape[-1]))


def _sum_dtype(a: Any) -> Any:
    return jnp.promote_types(a.dtype, jnp.float32)


def _by_taps(x: Any, w: Any, win: Windows) -> Any:
    """A dot for every tap: for kernels of one element, or images of one channel."""

    def piece(x: Any) -> Any:
        wide = cover(x, win)
        y = sum(_dot(_pixels(tap(wide, win, t)), w[t]) for t in win.taps).astype(x.dtype)
        return jnp.reshape(y, (-1, *win.out, w.shape[-1]))

    return piece(x) if len(win.taps) == 1 else materialize(piece, x)


def _folded(x: Any, w: Any, win: Windows) -> Any:
    """lax's own convolution, of wide pixels where there are few channels."""
    packed = packing(win, max(w.shape[-2:]))
    if packed is None:
        return on_all_threads(_plain, x, w, win)
    y = on_all_threads(_plain, materialize(packed.image, x), packed.toeplitz_kernel(w), packed.windows)
    return jnp.reshape(y, (-1, *win.out, w.shape[-1]))


def _folded_input(group: int) -> Callable:
    by_taps = _input_by_taps(group)

    def gradient(dy: Any, w: Any, win: Windows) -> Any:
        packed = packing(win, max(w.shape[-2:])) if group == 1 else None
        if packed is None:
            return by_taps(dy, w, win)
        return packed.of_image(by_taps(packed.rows(dy), packed.toeplitz_kernel(w), packed.windows))

    return gradient


def _folded_weight(group: int) -> Callable:
    by_convolution = _weight_by_convolution(group)

    def gradient(x: Any, dy: Any, win: Windows) -> Any:
        packed = packing(win, max(x.shape[-1], dy.shape[-1])) if group == 1 else None
        if packed is None:
            return by_convolution(x, dy, win)
        return packed.of_toeplitz_kernel(by_convolution(materialize(packed.image, x), packed.rows(dy), packed.windows))

    return gradient


def _input_by_convolution(dy: Any, w: Any, win: Windows) -> Any:
    """Stride 1: dy convolved with the flipped and transposed kernel."""
    w = jnp.flip(jnp.swapaxes(w, -2, -1), tuple(range(win.rank)))
    before = [e - 1 - b for e, b in zip(win.extent, win.begin, strict=True)]
    after = [n + b - o for n, b, o in zip(win.sizes, win.begin, win.out, strict=True)]
    swapped = replace(win, sizes=win.out, begin=tuple(before), end=tuple(after), out=win.sizes)
    return _folded(dy, w, swapped)


def _input_by_taps(group: int) -> Callable:
    """One dot (per group) makes every tap's share; each is added where its tap lies."""

    def gradient(dy: Any, w: Any, win: Windows) -> Any:
        rows = jnp.reshape(dy, (-1, group, dy.shape[-1] // group))
        columns = jnp.reshape(w, (-1, w.shape[-2], *rows.shape[1:]))  # [taps, i / group, group, o / group]
        shares = lax.dot_general(rows, columns, (((2,), (3,)), ((1,), (2,))), preferred_element_type=_sum_dtype(dy))
        shares = jnp.moveaxis(shares, 0, 2)  # [pixels, taps, group, i / group]
        shares = jnp.reshape(shares, (*dy.shape[:-1], *win.kernel, -1))
        if win.tiles:
            r = win.rank
            beside = [axis for k in range(1, r + 1) for axis in (k, k + r)]  # out0, kernel0, out1, kernel1, ...
            return of_tiles(jnp.transpose(shares, (0, *beside, 2 * r + 1)), win).astype(dy.dtype)
        every = (slice(None),) * (dy.ndim - 1)
        return materialize(
            lambda shares: gather(lambda t, shift: shifted(shares[(*every, *t)], win, shift), win).astype(dy.dtype),
            shares,
        )

    return gradient


def _weight_of_one_tap(x: Any, dy: Any, win: Windows) -> Any:
    seen = tap(cover(x, win), win, win.taps[0])
    dw = _dot(_pixels(seen).T, _pixels(dy)).astype(x.dtype)
    return jnp.reshape(dw, (*win.kernel, *dw.shape))


def _weight_by_convolution(group: int) -> Callable:
    """Batch and channels change places: dy, spread out by the strides, is the kernel that slides over x."""

    def slide(x: Any, dy: Any, win: Windows) -> Any:
        image, kernel = jnp.moveaxis(x, (0, -1), (-1, 0)), jnp.moveaxis(dy, 0, -2)
        dw = lax.conv_general_dilated(
            image,
            kernel,
            win.dilations,
            list(zip(win.begin, win.after, strict=True)),
            rhs_dilation=win.strides,
            dimension_numbers=_dimensions(win.rank),
        )
        return jnp.moveaxis(dw, 0, -2)

    each = _each_group(slide, group)

    def gradient(x: Any, dy: Any, win: Windows) -> Any:
        limit = PIECE_BYTES if takes_one_thread(x.dtype, dy.shape[-1] // group) else SHARED_PIECE_BYTES
        return sum_over_rows(lambda x, dy: _over_batch(lambda x, dy: each(x, dy, win), x, dy, limit), x, dy)

    return gradient


def _over_batch(piece: Callable, x: Any, dy: Any, limit: int) -> Any:
    """piece(x, dy), summed over pieces of the batch of at most `limit` bytes (or one image)."""
    n = x.shape[0]
    if not isinstance(n, int):  # jax.export with a symbolic batch
        return piece(x, dy)
    image = (math.prod(x.shape[1:]) + math.prod(dy.shape[1:])) * x.dtype.itemsize
    most = max(1, limit // image)
    if n <= most:
        return piece(x, dy)
    size = next((d for d in range(most, most // 2, -1) if n % d == 0), most)

    def add(total: Any, *part: Any) -> Any:
        return total + piece(*part).astype(total.dtype)

    result = jax.eval_shape(piece, x[:size], dy[:size])
    total = lax.fori_loop(
        0,
        n // size,
        lambda k, total: add(total, *(lax.dynamic_slice_in_dim(a, k * size, size) for a in (x, dy))),
        jnp.zeros(result.shape, _sum_dtype(x)),
    )
    rest = n // size * size
    return (add(total, x[rest:], dy[rest:]) if rest < n else total).astype(x.dtype)


def _depthwise(x: Any, w: Any, win: Windows) -> Any:
    def piece(x: Any) -> Any:
        wide = cover(_repeated(x, w.shape[-1]), win)
        return sum(tap(wide, win, t) * w[(*t, 0)] for t in win.taps)

    return materialize(piece, x)


def _depthwise_input(group: int) -> Callable:
    def gradient(dy: Any, w: Any, win: Windows) -> Any:
        def piece(dy: Any) -> Any:
            at = widened(dy, win)
            dx = gather(lambda t, shift: at(shift) * w[(*t, 0)], win)
            each = dy.shape[-1] // group
            return jnp.sum(jnp.reshape(dx, (*dx.shape[:-1], group, each)), -1) if each > 1 else dx

        return materialize(piece, dy)

    return gradient


def _depthwise_weight(x: Any, dy: Any, win: Windows) -> Any:
    small = math.prod(dy.shape[1:]) * dy.dtype.itemsize <= DEPTHWISE_IMAGE_BYTES
    if small and max(win.strides) == 1 and isinstance(x.shape[0], int) and x.shape[0]:
        total = sum_over_rows(lambda x, dy: _depthwise_weight_of_images(x, dy, win), _repeated(x, dy.shape[-1]), dy)
        return jnp.reshape(total, (*win.kernel, 1, dy.shape[-1]))

    def piece(x: Any, dy: Any) -> Any:
        # The last spatial axis is summed over at the very end: until then the loops are long.
        wide = cover(x, win)
        over = tuple(range(dy.ndim - 2))
        return jnp.stack([jnp.sum(tap(wide, win, t) * dy, over) for t in win.taps])

    def whole(x: Any, dy: Any) -> Any:
        return jnp.sum(_over_batch(piece, x, dy, DEPTHWISE_PIECE_BYTES), 1)

    total = sum_over_rows(whole, _repeated(x, dy.shape[-1]), dy)
    return jnp.reshape(total, (*win.kernel, 1, dy.shape[-1]))


def _depthwise_weight_of_images(x: Any, dy: Any, win: Windows) -> Any:
    """f[n, *sizes, c], f[n, *out, c] -> f[taps, c].  Images are added before pixels are, element by element."""
    wide = materialize(lambda x: cover(x, win), x)
    size = next(d for d in range(IMAGES_AT_ONCE, 0, -1) if x.shape[0] % d == 0)

    def add(k: Any, totals: tuple) -> tuple:
        xs, dys = (lax.dynamic_slice_in_dim(a, k * size, size) for a in (wide, dy))
        seen = [tap(xs, win, t) for t in win.taps]
        return tuple(
            total + sum((s[i] * dys[i]).astype(total.dtype) for i in range(size))
            for total, s in zip(totals, seen, strict=True)
        )

    none_yet = jnp.zeros(dy.shape[1:], _sum_dtype(dy))
    totals = lax.fori_loop(0, x.shape[0] // size, add, (none_yet,) * len(win.taps))
    return jnp.sum(jnp.stack(totals), tuple(range(1, dy.ndim - 1))).astype(dy.dtype)


def _repeated(x: Any, channels: int) -> Any:
    return x if x.shape[-1] == channels else jnp.repeat(x, channels // x.shape[-1], -1)


# ---- elsewhere: what lax itself offers ----------------------------------------------------------------


def _dimensions(rank: int) -> lax.ConvDimensionNumbers:
    image, kernel = (0, rank + 1, *range(1, rank + 1)), (rank + 1, rank, *range(rank))
    return lax.ConvDimensionNumbers(image, kernel, image)


def _plain(x: Any, w: Any, win: Windows, group: int = 1) -> Any:
    return lax.conv_general_dilated(
        x,
        w,
        win.strides,
        list(zip(win.begin, win.after, strict=True)),
        rhs_dilation=win.dilations,
        dimension_numbers=_dimensions(win.rank),
        feature_group_count=group,
    )


def _plain_input(dy: Any, w: Any, win: Windows, group: int) -> Any:
    """The convolution of dy, spread out by the strides, with the flipped and transposed kernel."""
    w = jnp.flip(w, tuple(range(win.rank)))
    w = jnp.moveaxis(jnp.reshape(w, (*w.shape[:-1], group, -1)), -1, -3)  # [*k, o / group, i / group, group]
    w = jnp.reshape(jnp.swapaxes(w, -1, -2), (*win.kernel, w.shape[-3], -1))
    pads = [
        (e - 1 - b, n + b - s * (o - 1) - 1)
        for n, e, b, s, o in zip(win.sizes, win.extent, win.begin, win.strides, win.out, strict=True)
    ]
    return lax.conv_general_dilated(
        dy,
        w,
        (1,) * win.rank,
        pads,
        lhs_dilation=win.strides,
        rhs_dilation=win.dilations,
        dimension_numbers=_dimensions(win.rank),
        feature_group_count=group,
    )


def _plain_weight(x: Any, dy: Any, win: Windows, group: int) -> Any:
    """The convolution of x by dy, spread out by the strides, channels and batch exchanged."""
    rank = win.rank
    swapped = (rank + 1, 0, *range(1, rank + 1))
    return lax.conv_general_dilated(
        x,
        dy,
        win.dilations,
        list(zip(win.begin, win.after, strict=True)),
        rhs_dilation=win.strides,
        batch_group_count=group,
        dimension_numbers=lax.ConvDimensionNumbers(swapped, swapped, (rank, rank + 1, *range(rank))),
    )
