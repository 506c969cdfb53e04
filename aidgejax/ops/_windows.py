"""Where the windows of convolutions and pools lie, and how to walk over their taps.

Images here are channels-last: x[n, *spatial, c].  Window o covers the positions stride * o + dilation * t - begin of an
axis, t = 0 .. kernel - 1; t is called a tap.  Walking over taps turns a window operation into a few operations on whole
images: `tap` cuts out what tap t of every window sees, `gather` puts together what every tap gives back.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
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
    def tiles(self) -> bool:
        """Do the windows lie side by side, without overlap, padding or holes?"""
        return self.strides == self.kernel == self.extent and not any(self.begin) and max(self.after) <= 0

    @property
    def quotients(self) -> tuple[int, ...]:
        """How many positions of the image each phase has: sizes / strides, rounded up."""
        return tuple(-(-n // s) for n, s in zip(self.sizes, self.strides, strict=True))

    @property
    def phases(self) -> list[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
        """Where the gradient of an image comes from: for every phase, the taps that reach it, each with its shift.

        The positions stride * q + p, with p below the stride, are phase p.  Tap t of window q + shift falls on the q-th
        of them.  The last axis runs fastest; where the stride is larger than the kernel, a phase may have no tap.
        """
        axes = [
            [[(t, (p + b - d * t) // s) for t in range(k) if (p + b - d * t) % s == 0] for p in range(s)]
            for k, s, d, b in zip(self.kernel, self.strides, self.dilations, self.begin, strict=True)
        ]
        return [
            [(tuple(t for t, _ in found), tuple(q for _, q in found)) for found in itertools.product(*phase)]
            for phase in itertools.product(*axes)
        ]

    def along(self, axis: int) -> Windows:
        """The windows on one axis alone, for what works axis by axis: those behind it have been reduced already."""
        one = lambda values, other: tuple(v if k == axis else other for k, v in enumerate(values))
        before = (*self.sizes[: axis + 1], *self.out[axis + 1 :])
        after = (*self.sizes[:axis], *self.out[axis:])
        return Windows(
            before,
            one(self.kernel, 1),
            one(self.strides, 1),
            one(self.dilations, 1),
            one(self.begin, 0),
            one(self.end, 0),
            after,
        )


def windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Any = None,
    pads: Any = None,
    dilations: Any = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Windows:
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
            raise GraphError(
                f"a window of {e} positions does not fit on spatial axis {axis}, which has {n}, or "
                f"{n + b + a} with padding; use a smaller kernel_shape or dilation, or more padding"
            )
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


def _padding(
    auto_pad: str, pads: Any, sizes: Sequence[int], extent: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
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


def check_cotangent(dy: Any, win: Windows, channels: int) -> None:
    """Refuse a dy[n, *r, c] that is not of the shape of what the windows make."""
    if dy.shape[1:] != (*win.out, channels):
        raise GraphError(
            f"the cotangent has {dy.shape[-1]} channels of {list(dy.shape[1:-1])}, "
            f"expected {channels} of {list(win.out)}"
        )


# ---- images, channels-last ----------------------------------------------------------------------------


def channels_last(x: Any, layout: str) -> Any:
    return jnp.moveaxis(x, 1, -1) if layout == "NCHW" else x


def in_layout(x: Any, layout: str) -> Any:
    """The inverse of channels_last."""
    return jnp.moveaxis(x, -1, 1) if layout == "NCHW" else x


def cover(x: Any, win: Windows, value: Any = 0) -> Any:
    """The part of the padded image that the windows reach.  t[n, *sizes, c] -> t[n, *reach, c]."""
    return _pad(x, value, [(b, a, 0) for b, a in zip(win.begin, win.after, strict=True)])


def tap(x: Any, win: Windows, t: Iterable[int]) -> Any:
    """What tap t of every window sees.  t[n, *reach, c] -> t[n, *out, c]."""
    start = [d * k for d, k in zip(win.dilations, t, strict=True)]
    stop = [a + s * (o - 1) + 1 for a, s, o in zip(start, win.strides, win.out, strict=True)]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *win.strides, 1))


def shifted(y: Any, win: Windows, shift: Iterable[int]) -> Any:
    """What window q + shift says, 0 where there is none.  t[n, *out, c] -> t[n, *quotients, c]."""
    return _pad(y, 0, [(-h, q + h - o, 0) for h, q, o in zip(shift, win.quotients, win.out, strict=True)])


def widened(y: Any, win: Windows, value: Any = 0) -> Callable[[Iterable[int]], Any]:
    """The same as a function of the shift, for many of them: y is padded once, a shift then is a slice."""
    shifts = [h for phase in win.phases for _, h in phase]
    before = [max(0, -min(axis)) for axis in zip(*shifts, strict=True)]
    after = [
        max(0, max(axis) + q - o) for axis, q, o in zip(zip(*shifts, strict=True), win.quotients, win.out, strict=True)
    ]
    # Without the barrier XLA looks through the pad, and computes what lies under it again for every slice.
    wide = lax.optimization_barrier(_pad(y, value, [(b, a, 0) for b, a in zip(before, after, strict=True)]))

    def at(shift: Iterable[int]) -> Any:
        return wide[
            (slice(None), *(slice(b + h, b + h + q) for b, h, q in zip(before, shift, win.quotients, strict=True)))
        ]

    return at


def gather(share: Callable[[tuple[int, ...], tuple[int, ...]], Any], win: Windows) -> Any:
    """The image to which tap t of every window adds share(t, shift), t[n, *quotients, c].  -> t[n, *sizes, c].

    Phase by phase, the phases interleaved at the end: on CPU much faster than adding images with holes.
    """
    sums = [functools.reduce(jnp.add, (share(t, h) for t, h in phase)) if phase else None for phase in win.phases]
    zeros = jnp.zeros_like(next(s for s in sums if s is not None))
    parts = [zeros if s is None else s for s in sums]
    for axis, stride in reversed(list(enumerate(win.strides, 1))):
        if stride > 1:
            stacks = [jnp.stack(parts[k : k + stride], axis + 1) for k in range(0, len(parts), stride)]
            parts = [jnp.reshape(a, (*a.shape[:axis], -1, *a.shape[axis + 2 :])) for a in stacks]
    return parts[0][(slice(None), *map(slice, win.sizes))]


def of_tiles(blocks: Any, win: Windows) -> Any:
    """The image that tiles make side by side.  t[n, out0, kernel0, out1, kernel1, ..., c] -> t[n, *sizes, c]."""
    image = jnp.reshape(blocks, (blocks.shape[0], *win.reach, blocks.shape[-1]))
    return _pad(image, 0, [(0, -a, 0) for a in win.after])


def _pad(x: Any, value: Any, spatial: list[tuple[int, int, int]]) -> Any:
    if not any(any(p) for p in spatial):
        return x
    return lax.pad(x, jnp.asarray(value, x.dtype), [(0, 0, 0), *spatial, (0, 0, 0)])
