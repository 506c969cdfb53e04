"""singa.utils: paddings, and the sizes that follow from them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from .._shared.absent_names import absent_name
from ._ctensor import CTensor, raw
from ._network import Window

__all__ = [
    "force_unicode",
    "get_output_shape",
    "get_padding_shape",
    "handle_odd_pad_bwd",
    "handle_odd_pad_fwd",
    "same_pad_shape_check",
    "update_progress",
]


def update_progress(progress: float, info: str) -> None:
    """Show how much is done, from 0 to 1, and a line of text."""
    done = round(20 * min(max(progress, 0.0), 1.0))
    print(
        f"\r[{'.' * done}{' ' * (20 - done)}] {progress * 100:3.1f}%. {info}",
        end="\n" if progress >= 1 else "",
        flush=True,
    )


def get_padding_shape(
    pad_mode: str, input_spatial_shape: Any, kernel_spatial_shape: Any, strides_spatial_shape: Any
) -> list[tuple[int, int]]:
    """(before, after) for each axis, where pad_mode is SAME_UPPER or SAME_LOWER."""
    pads = []
    for size, k, s in zip(input_spatial_shape, kernel_spatial_shape, strides_spatial_shape, strict=True):
        before, _, after, _ = Window((k, 1), (s, 1), pad_mode=pad_mode).pads(size, 1)
        pads.append((before, after))
    return pads


def get_output_shape(
    auto_pad: str, input_spatial_shape: Any, kernel_spatial_shape: Any, strides_spatial_shape: Any
) -> list[int]:
    """The sizes after a window has slid over an image."""
    sizes = zip(input_spatial_shape, kernel_spatial_shape, strides_spatial_shape, strict=True)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        return [-(-size // s) for size, _, s in sizes]
    return [(size - k) // s + 1 for size, k, s in sizes]


def same_pad_shape_check(handle: Any, pad_mode: str, x: Any) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a handle's window over images like x."""
    top, left, bottom, right = Window(handle.window.kernel, handle.window.stride, pad_mode=pad_mode).pads(*x.shape[2:])
    return top, bottom, left, right


def handle_odd_pad_fwd(x: Any, odd_padding: tuple[int, int, int, int], is_pool: bool = False) -> CTensor:
    """Raw images with (top, bottom, left, right) more rows and columns: zeros, or the border again before a pool."""
    top, bottom, left, right = odd_padding
    widths = ((0, 0), (0, 0), (top, bottom), (left, right))
    return CTensor(array=jnp.pad(raw(x), widths, mode="edge" if is_pool else "constant"))


def handle_odd_pad_bwd(dx: Any, odd_padding: tuple[int, int, int, int], is_pool: bool = False) -> CTensor:
    """What handle_odd_pad_fwd added is cut off."""
    top, bottom, left, right = odd_padding
    dx = raw(dx)
    return CTensor(array=dx[:, :, top : dx.shape[2] - bottom, left : dx.shape[3] - right])


def force_unicode(s: Any) -> str:
    return s.decode() if isinstance(s, bytes) else str(s)


ABSENT = {
    "re_new_handle": "C++ handles fix a batch size; layers here take any",
    "post_order_recursive": "autograd.to_graph(y) gives what leads to a tensor, in order",
}


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
