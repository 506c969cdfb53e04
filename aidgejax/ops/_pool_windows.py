"""What the pools share: sums, maxima and means over windows, and the way back to the elements."""

import functools
import math

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import only_shapes_wanted
from ._windows import Windows, cover, gather, image_rank, of_tiles, tap, widened, windows


def pool_windows(x, kernel_shape, **how) -> Windows:
    """The windows of a pool on x[n, *s, c]."""
    image_rank(x)
    if kernel_shape is None:
        raise GraphError("a pool needs the attribute kernel_shape, e.g. kernel_shape=(2, 2)")
    win = windows(x.shape[1:-1], kernel_shape, **how)
    if any(max(b, a) >= e for b, a, e in zip(win.begin, win.end, win.extent, strict=True)):
        raise GraphError(
            f"pads={[*win.begin, *win.end]} make windows of {list(win.extent)} that see nothing but "
            f"padding; use pads smaller than the window"
        )
    return win


def static_pool_windows(what, x, kernel_shape, **how) -> Windows:
    """The windows on a Value x, for decomposing an operator into ONNX's."""
    if not all(isinstance(d, int) for d in x.shape[2:]):
        raise GraphError(
            f"{what} can be decomposed into standard operators only where the spatial sizes are numbers, "
            f"got {x}; declare the image with fixed height and width"
        )
    return windows(x.shape[2:], kernel_shape, **how)


def spatial_axes(x, layout):
    rank = image_rank(x)
    return tuple(range(1, rank + 1) if layout == "NHWC" else range(2, rank + 2))


def lowest(dtype):
    """What padding must be so as never to be a maximum."""
    return -math.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def window_reduce(combine, x, win, padding):
    """All elements of each window combined, axis by axis.  t[n, *sizes, c] -> t[n, *out, c]."""
    if only_shapes_wanted():
        return jnp.zeros((x.shape[0], *win.out, x.shape[-1]), x.dtype)
    for axis in reversed(range(win.rank)):
        one = win.along(axis)
        wide = cover(x, one, padding)
        x = functools.reduce(combine, (tap(wide, one, t) for t in one.taps))
    return x


def window_spread(y, win):
    """The transpose of the sum of each window: y for all its elements.  f[n, *out, c] -> f[n, *sizes, c]."""
    if only_shapes_wanted():
        return jnp.zeros((y.shape[0], *win.sizes, y.shape[-1]), y.dtype)
    for axis in range(win.rank):
        one = win.along(axis)
        at = widened(y, one)
        y = gather(lambda t, shift, at=at: at(shift), one)
    return y


def window_spread_onnx(op, y, x, win):
    """The same in ONNX: each channel by itself goes through a ConvTranspose of ones."""
    ones = op.CastLike(np.ones((1, 1, *win.kernel), np.float32), y)
    wide = op.ConvTranspose(
        op.Reshape(y, (-1, 1, *win.out)),
        ones,
        strides=win.strides,
        dilations=win.dilations,
        pads=(*win.begin, *(max(0, a) for a in win.after)),
        output_padding=tuple(max(0, -a) for a in win.after),
    )
    return op.ReshapeLike(wide, x)


def window_counts(win, with_padding, xp=np):
    """How many elements each window averages over, as factors: a number for an axis on which all windows see as many,
    else i[out, 1, ...].

    Nothing behind the padding counts; a window that sees nothing counts as one, its sum is 0.
    """
    for axis in range(win.rank):
        low, high = (-win.begin[axis], win.sizes[axis] + win.end[axis]) if with_padding else (0, win.sizes[axis])

        def seen(window, axis=axis, low=low, high=high):
            first, k, d = window * win.strides[axis] - win.begin[axis], win.kernel[axis], win.dilations[axis]
            return xp.maximum(1, xp.minimum(k, -((first - high) // d)) - xp.maximum(0, -((first - low) // d)))

        if all(
            0 <= -((o * win.strides[axis] - win.begin[axis] - high) // win.dilations[axis]) - win.kernel[axis]
            and o * win.strides[axis] - win.begin[axis] >= low
            for o in (0, win.out[axis] - 1)
        ):
            yield win.kernel[axis]
        else:
            yield seen(xp.arange(win.out[axis])).reshape([-1 if a == axis else 1 for a in range(win.rank + 1)])


def averaged(y, win, with_padding):
    """y[n, *out, c] divided by the number of elements of its window."""
    counts = list(window_counts(win, with_padding, jnp))
    whole = math.prod(c for c in counts if isinstance(c, int))
    parts = [jnp.asarray(c, y.dtype) for c in counts if not isinstance(c, int)]
    return y / functools.reduce(jnp.multiply, parts, whole)


def equal_tap(x, y, win):
    """The number of the first tap of every window that equals y, which is one of them.  -> i[n, *out, c]"""
    wide, found = cover(x, win, math.nan), jnp.full(y.shape, -1, jnp.int32)  # padding equals nothing
    for k, t in reversed(list(enumerate(win.taps))):
        found = jnp.where(tap(wide, win, t) == y, k, found)
    return found


def sent_to_taps(dy, winner, win):
    """dy added where the tap of this number lies, phase by phase: each asks the windows around it.  -> f[n, *s, c]"""
    if win.tiles:
        spread = tuple(range(2, 2 * win.rank + 1, 2))
        taps = jnp.reshape(jnp.arange(math.prod(win.kernel)), [d for k in win.kernel for d in (1, k)] + [1])
        return of_tiles(jnp.where(jnp.expand_dims(winner, spread) == taps, jnp.expand_dims(dy, spread), 0), win)
    number = {t: k for k, t in enumerate(win.taps)}
    won, gradient = widened(winner, win, -1), widened(dy, win)
    return gather(lambda t, shift: jnp.where(won(shift) == number[t], gradient(shift), 0), win)


def winners(x, win):
    """The number of the first tap that is the largest of its window, never padding.  -> i[n, *out, c]"""
    if only_shapes_wanted():
        return jnp.zeros((x.shape[0], *win.out, x.shape[-1]), jnp.int32)

    def larger(a, b):
        better = (b[0] > a[0]) | (a[1] < 0)
        return jnp.where(better, b[0], a[0]), jnp.where(better, b[1], a[1])

    number, step, padding = jnp.zeros(x.shape, jnp.int32), 1, -math.prod(win.kernel)
    for axis in reversed(range(win.rank)):
        one = win.along(axis)
        wide, numbers = cover(x, one, lowest(x.dtype)), cover(number, one, padding)
        x, number = functools.reduce(
            larger, ((tap(wide, one, t), tap(numbers, one, t) + t[axis] * step) for t in one.taps)
        )
        step *= win.kernel[axis]
    return number


def positions(winner, win, storage_order=0):
    """Where in the flattened image [*sizes] these taps lie; storage_order 1: the first axis runs fastest."""
    places = {}
    for axis in reversed(range(win.rank)):
        winner, t = winner // win.kernel[axis], winner % win.kernel[axis]
        first = jnp.arange(win.out[axis]) * win.strides[axis] - win.begin[axis]
        first = jnp.reshape(first, [-1 if a == axis else 1 for a in range(win.rank + 1)])
        places[axis] = first + t * win.dilations[axis]
    found, step = 0, 1
    for axis in range(win.rank) if storage_order else reversed(range(win.rank)):
        found, step = found + step * places[axis], step * win.sizes[axis]
    return found


def sent_to_winners(dy, x, win):
    """dy added where the largest element of its window stands."""
    n, c = x.shape[0], x.shape[-1]
    at = jnp.arange(n)[:, None, None], jnp.reshape(positions(winners(x, win), win), (n, -1, c)), jnp.arange(c)
    dx = jnp.zeros((n, math.prod(win.sizes), c), dy.dtype).at[at].add(jnp.reshape(dy, (n, -1, c)))
    return jnp.reshape(dx, x.shape)
