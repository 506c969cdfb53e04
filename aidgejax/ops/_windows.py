"""Where the windows of convolutions and pools lie, and how to walk over their taps.

Images here are channels-last: x[n, *spatial, c].  Window o covers the positions stride * o + dilation * t - begin of an
axis, t = 0 .. kernel - 1; t is called a tap.  Walking over taps turns a window operation into a few operations on whole
images: `tap` cuts out what tap t of every window sees, `untap` puts it back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax

from ..errors import GraphError

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Windows:
    """The windows on an image; every field has one entry per spatial axis.  Make it with `windows`.

    sizes: of the image; out: how many windows there are; begin, end: the padding that was asked for.
    """

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.sizes)

    @property
    def extent(self) -> tuple[int, ...]:
        """How many positions a window reaches over, holes included."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True))

    @property
    def reach(self) -> tuple[int, ...]:
        """How many positions all windows together reach over."""
        return tuple(s * (o - 1) + e for s, o, e in zip(self.strides, self.out, self.extent, strict=True))

    @property
    def after(self) -> tuple[int, ...]:
        """The padding behind the image that the windows reach; negative where they leave out the image's end."""
        return tuple(r - b - n for r, b, n in zip(self.reach, self.begin, self.sizes, strict=True))

    @property
    def taps(self) -> list[tuple[int, ...]]:
        return list(itertools.product(*map(range, self.kernel)))

    @property
    def plain(self) -> bool:
        """Windows of one element, each element in one window: the operation is pointwise."""
        return self.out == self.sizes and math.prod(self.kernel) == 1 and not any(self.begin)

    @property
    def tiles(self) -> bool:
        """Do the windows lie side by side, without overlap, padding or holes?"""
        return self.strides == self.kernel and not any(self.begin) and max(self.after) <= 0 and \
            set(self.dilations) == {1}


def windows(sizes: Sequence[int], kernel: Sequence[int], *, strides: Any = None, pads: Any = None,
            dilations: Any = None, auto_pad: str = "NOTSET", ceil_mode: int = 0) -> Windows:
    """The windows that ONNX's attributes describe; an absent attribute has ONNX's default.

    pads: begins of all axes, then ends.  ceil_mode: a last window may stick out, if it starts inside image or padding.
    Raises GraphError where a window is larger than the padded image, or an attribute does not fit.
    """
    rank = len(sizes)
    kernel = per_axis("kernel_shape", kernel, rank)
    strides = per_axis("strides", strides, rank)
    dilations = per_axis("dilations", dilations, rank)
    extent = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    begin, end = _padding(auto_pad, pads, sizes, extent, strides)
    out = []
    for axis, (n, e, s, b, a) in enumerate(zip(sizes, extent, strides, begin, end, strict=True)):
        room = n + b + a - e
        if room < 0:
            raise GraphError(f"a window of {e} positions does not fit on spatial axis {axis}, which has {n}, or "
                             f"{n + b + a} with padding; use a smaller kernel_shape or dilation, or more padding")
        count = room // s + 1
        # With ceil_mode one more window, unless it would start in the padding behind the image.
        out.append(count + 1 if ceil_mode and room % s and count * s < n + b else count)
    return Windows(tuple(sizes), kernel, strides, dilations, begin, end, tuple(out))


def per_axis(name: str, value: Any, count: int, default: int = 1, lowest: int = 1) -> tuple[int, ...]:
    """An attribute with one integer per spatial axis (or two, for pads), checked."""
    found = (default,) * count if value is None else tuple(int(v) for v in value)
    if len(found) != count or min(found, default=lowest) < lowest:
        raise GraphError(f"{name} is {list(found)}, expected {count} integers of at least {lowest}")
    return found


def _padding(auto_pad: str, pads: Any, sizes: Sequence[int], extent: Sequence[int],
             strides: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = len(sizes)
    both = per_axis("pads", pads, 2 * rank, default=0, lowest=0)
    if not check_auto_pad(auto_pad, pads):
        return both[:rank], both[rank:]
    if auto_pad == "VALID":
        return (0,) * rank, (0,) * rank
    total = [max(0, (-(-n // s) - 1) * s + e - n) for n, e, s in zip(sizes, extent, strides, strict=True)]
    less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (less, more) if auto_pad == "SAME_UPPER" else (more, less)


def check_auto_pad(auto_pad: str, pads: Any) -> bool:
    """Does auto_pad decide the padding?"""
    if auto_pad not in AUTO_PADS:
        raise GraphError(f"auto_pad is {auto_pad!r}, expected one of {', '.join(AUTO_PADS)}")
    if auto_pad != "NOTSET" and pads is not None and any(pads):
        raise GraphError(f"auto_pad={auto_pad} and pads={list(pads)} contradict each other: give one of them")
    return auto_pad != "NOTSET"


def image_rank(x: Any) -> int:
    """The number of spatial axes of an image [n, c, *spatial]."""
    rank = jnp.ndim(x) - 2
    if rank < 1:
        raise GraphError(f"got a tensor of rank {rank + 2}, expected an image [n, c, *spatial] of rank 3 or more")
    return rank


# ---- images, channels-last ----------------------------------------------------------------------------


def channels_last(x: Any, layout: str) -> Any:
    return jnp.moveaxis(x, 1, -1) if layout == "NCHW" else x


def in_layout(x: Any, layout: str) -> Any:
    """The inverse of channels_last."""
    return jnp.moveaxis(x, -1, 1) if layout == "NCHW" else x


def cover(x: Any, win: Windows, value: Any = 0) -> Any:
    """The part of the padded image that the windows reach.  t[n, *sizes, c] -> t[n, *reach, c]."""
    return _pad(x, value, [(b, a, 0) for b, a in zip(win.begin, win.after, strict=True)])


def uncover(x: Any, win: Windows) -> Any:
    """What of it belongs to the image, 0 where no window reached.  t[n, *reach, c] -> t[n, *sizes, c]."""
    return _pad(x, 0, [(-b, -a, 0) for b, a in zip(win.begin, win.after, strict=True)])


def tap(x: Any, win: Windows, t: Iterable[int]) -> Any:
    """What tap t of every window sees.  t[n, *reach, c] -> t[n, *out, c]."""
    start = [d * k for d, k in zip(win.dilations, t, strict=True)]
    stop = [a + s * (o - 1) + 1 for a, s, o in zip(start, win.strides, win.out, strict=True)]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *win.strides, 1))


def untap(y: Any, win: Windows, t: Iterable[int]) -> Any:
    """y where tap t of its window lies, 0 elsewhere.  t[n, *out, c] -> t[n, *reach, c]."""
    start = [d * k for d, k in zip(win.dilations, t, strict=True)]
    return _pad(y, 0, [(a, e - a - 1, s - 1) for a, e, s in zip(start, win.extent, win.strides, strict=True)])


def _pad(x: Any, value: Any, spatial: list[tuple[int, int, int]]) -> Any:
    if not any(any(p) for p in spatial):
        return x
    return lax.pad(x, jnp.asarray(value, x.dtype), [(0, 0, 0), *spatial, (0, 0, 0)])
