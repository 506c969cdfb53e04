"""A convolution of few channels as one of more: neighbouring pixels of a row become the channels of one wide pixel.

Matrix products on CPU want some thirty columns; LeNet's first image has one channel, its second six.  To take b pixels
of a row for one is a reshape; the kernel becomes a band (a Toeplitz matrix, cut into blocks of b x b):

    y[q * b + p] = sum over t of x[q * b + p + t] * w[t]        p, r = 0 .. b - 1
    Y[q] = sum over s of X[q + s] * F[s]                        X[q][r] = x[q * b + r];  F[s][r, p] = w[s * b + r - p]

This costs up to about twice the arithmetic, and saves most of what is done per pixel and tap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from jax import lax

from ._windows import Windows

# A wide pixel has at most so many channels, of what goes in and of what comes out.
WIDE = 32


@dataclass(frozen=True)
class PackedRows:
    """Windows of stride 1 on an image whose last spatial axis is packed, `pixels` to one.  Make it with `packing`."""

    win: Windows
    pixels: int

    @property
    def kernel(self) -> int:
        """How many wide pixels a window reaches over."""
        return -(-(self.win.kernel[-1] + self.pixels - 1) // self.pixels)

    @property
    def windows(self) -> Windows:
        """The windows on the wide image."""
        win, out = self.win, self.win.out[-1] // self.pixels
        last = {"sizes": out + self.kernel - 1, "kernel": self.kernel, "begin": 0, "end": 0, "out": out}
        return replace(win, **{name: (*getattr(win, name)[:-1], value) for name, value in last.items()})

    def image(self, x: Any) -> Any:
        """t[n, *sizes, i] -> t[n, *windows.sizes, pixels * i]"""
        return self.rows(self._widened(x, 1))

    def of_image(self, x: Any) -> Any:
        """The transpose of `image`."""
        return self._widened(jnp.reshape(x, (*x.shape[:-2], x.shape[-2] * self.pixels, -1)), -1)

    def rows(self, y: Any) -> Any:
        """t[..., m, c] -> t[..., m / pixels, pixels * c]"""
        return jnp.reshape(y, (*y.shape[:-2], y.shape[-2] // self.pixels, -1))

    def toeplitz_kernel(self, w: Any) -> Any:
        """t[*k, i, o] -> t[*windows.kernel, pixels * i, pixels * o]"""
        room = self.kernel * self.pixels - w.shape[-3]
        zero = jnp.zeros((), w.dtype)
        shifts = [
            lax.pad(w, zero, [(0, 0, 0)] * (w.ndim - 3) + [(p, room - p, 0), (0, 0, 0), (0, 0, 0)])
            for p in range(self.pixels)
        ]
        return jnp.reshape(jnp.stack(shifts, -2), (*w.shape[:-3], self.kernel, self.pixels * w.shape[-2], -1))

    def of_toeplitz_kernel(self, f: Any) -> Any:
        """The transpose of `toeplitz_kernel`."""
        b, taps = self.pixels, self.win.kernel[-1]
        f = jnp.reshape(f, (*f.shape[:-3], self.kernel * b, f.shape[-2] // b, b, f.shape[-1] // b))
        return sum(f[..., p : p + taps, :, p, :] for p in range(b))

    def _widened(self, x: Any, sign: int) -> Any:
        begin = self.win.begin[-1]
        after = self.windows.sizes[-1] * self.pixels - begin - self.win.sizes[-1]
        if begin == after == 0:
            return x
        return lax.pad(
            x, jnp.zeros((), x.dtype), [(0, 0, 0)] * (x.ndim - 2) + [(sign * begin, sign * after, 0), (0, 0, 0)]
        )


def packing(win: Windows, channels: int) -> PackedRows | None:
    """As many pixels as make at most WIDE channels, divide the row, and are fewer than the kernel's; None for one."""
    if win.strides[-1] > 1 or win.dilations[-1] > 1:
        return None
    most = min(WIDE // channels, win.kernel[-1] - 1)
    pixels = max((b for b in range(2, most + 1) if win.out[-1] % b == 0), default=None)
    return PackedRows(win, pixels) if pixels else None
