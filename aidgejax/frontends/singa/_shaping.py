"""singa.autograd's operations that give a tensor another shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import GraphError
from ._ctensor import raw
from ._errors import BadSetting
from ._operation import Built
from ._products import ints
from ._tensor import Tensor

__all__ = [
    "DepthToSpace", "Expand", "Flatten", "Pad", "Reshape", "SpaceToDepth", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    "UpSample", "depth_to_space", "expand", "flatten", "pad", "reshape", "space_to_depth", "squeeze", "tile",
    "transpose", "unsqueeze", "upsample",
]  # fmt: skip


class Reshape(Built):
    """The same elements in another shape; 0 copies a size, -1 takes what is left."""

    def __init__(self, shape: Any) -> None:
        super().__init__(shape=ints(shape))

    @staticmethod
    def write(op: Any, x: Any, shape: tuple) -> Any:
        return op.Reshape(x, shape)


def reshape(x: Tensor, shape: Any) -> Tensor:
    """The same elements in another shape; 0 copies a size, -1 takes what is left."""
    return Reshape(shape)(x)[0]


class Flatten(Built):
    """Two axes: those before `axis`, and those from it on."""

    def __init__(self, axis: int = 1) -> None:
        super().__init__(axis=int(axis))

    @staticmethod
    def write(op: Any, x: Any, axis: int) -> Any:
        return op.Flatten(x, axis=axis)


def flatten(x: Tensor, axis: int = 1) -> Tensor:
    """Two axes: those before `axis`, and those from it on."""
    return Flatten(axis)(x)[0]


class Squeeze(Built):
    """Without these axes of size 1; by default without any such."""

    def __init__(self, axis: Any = ()) -> None:
        super().__init__(axes=() if axis is None or np.size(axis) == 0 else ints(axis))

    @staticmethod
    def write(op: Any, x: Any, axes: tuple) -> Any:
        return op.Squeeze(x, axes or None)


def squeeze(x: Tensor, axis: Any = ()) -> Tensor:
    """Without these axes of size 1; by default without any such."""
    return Squeeze(axis)(x)[0]


class Unsqueeze(Built):
    """With new axes of size 1, put in one after the other; a place beyond the end is the end.

    Negative axes count from the end of the result, as in ONNX.
    """

    def __init__(self, axis: Any = -1) -> None:
        super().__init__(axes=ints(axis))

    @staticmethod
    def write(op: Any, x: Any, axes: tuple) -> Any:
        old = [True] * x.rank
        for axis in axes:
            old.insert(axis if axis >= 0 else x.rank + len(axes) + axis, False)
        return op.Unsqueeze(x, tuple(k for k, was in enumerate(old) if not was))


def unsqueeze(x: Tensor, axis: Any = -1) -> Tensor:
    """With new axes of size 1, put in one after the other; a place beyond the end is the end."""
    return Unsqueeze(axis)(x)[0]


class Transpose(Built):
    """The axes in the order `perm`; reversed without one."""

    def __init__(self, perm: Any = None) -> None:
        super().__init__(perm=None if perm is None else ints(perm))

    @staticmethod
    def write(op: Any, x: Any, perm: tuple | None) -> Any:
        return op.Transpose(x, perm=perm)


def transpose(x: Tensor, shape: Any = None) -> Tensor:
    """The axes in the order `shape` (that is SINGA's name for them)."""
    return Transpose(shape)(x)[0]


class Expand(Built):
    """x broadcast with `shape`."""

    def __init__(self, shape: Any) -> None:
        super().__init__(shape=ints(shape))

    @staticmethod
    def write(op: Any, x: Any, shape: tuple) -> Any:
        return op.Expand(x, shape)


def expand(x: Tensor, shape: Any) -> Tensor:
    """x broadcast with `shape`."""
    return Expand(shape)(x)[0]


class Tile(Built):
    """x beside itself, `repeats` times along each axis."""

    def __init__(self, repeats: Any) -> None:
        super().__init__(repeats=ints(repeats))

    @staticmethod
    def write(op: Any, x: Any, repeats: tuple) -> Any:
        if len(repeats) > x.rank:
            x = op.Unsqueeze(x, tuple(range(len(repeats) - x.rank)))
            return op.Tile(x, repeats)
        return op.Tile(x, (1,) * (x.rank - len(repeats)) + repeats)


def tile(x: Tensor, repeats: Any) -> Tensor:
    """x beside itself, `repeats` times along each axis."""
    return Tile(repeats)(x)[0]


class Pad(Built):
    """More elements around x; mode: constant, reflect or edge; pads: all the starts, then all the ends."""

    def __init__(self, mode: str, pads: Any, constant: float = 0.0) -> None:
        super().__init__(mode=mode, pads=ints(pads), constant=float(constant))

    @staticmethod
    def write(op: Any, x: Any, mode: str, pads: tuple, constant: float) -> Any:
        return op.Pad(x, pads, constant if mode == "constant" else None, mode=mode)


def pad(x: Tensor, mode: str, pads: Any, constant: float = 0.0) -> Tensor:
    """More elements around x; mode: constant, reflect or edge; pads: all the starts, then all the ends."""
    return Pad(mode, pads, constant)(x)[0]


class UpSample(Built):
    """x enlarged by repeating its elements; one scale per axis, of which those of batch and channels are 1."""

    def __init__(self, mode: str, scales: Any) -> None:
        if str(mode).lower() != "nearest":
            raise BadSetting(f"upsample: mode is {mode!r}; only 'nearest' exists")
        super().__init__(scales=tuple(float(s) for s in np.atleast_1d(np.asarray(raw(scales)))))

    @staticmethod
    def write(op: Any, x: Any, scales: tuple) -> Any:
        if len(scales) != x.rank or min(scales) < 1:
            raise GraphError(f"upsample of {x}: scales are {scales}; expected one of at least 1 per axis")
        y = op.Identity(x)
        for axis, scale in enumerate(scales):
            if scale != 1:
                size = math.floor(x.shape[axis] * scale)
                at = np.minimum(np.floor(np.arange(size) / scale), x.shape[axis] - 1).astype(np.int64)
                y = op.Gather(y, at, axis=axis)
        return y


def upsample(x: Tensor, mode: str, scales: Any) -> Tensor:
    """x enlarged by repeating its elements; one scale per axis, of which those of batch and channels are 1."""
    return UpSample(mode, scales)(x)[0]


class DepthToSpace(Built):
    """Channels laid out in blocks of blocksize x blocksize."""

    def __init__(self, blocksize: int, mode: str = "DCR") -> None:
        super().__init__(blocksize=int(blocksize), mode=mode)

    @staticmethod
    def write(op: Any, x: Any, blocksize: int, mode: str) -> Any:
        return op.DepthToSpace(x, blocksize=blocksize, mode=mode)


def depth_to_space(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels laid out in blocks of blocksize x blocksize."""
    return DepthToSpace(blocksize, mode)(x)[0]


class SpaceToDepth(Built):
    """The inverse of DepthToSpace."""

    def __init__(self, blocksize: int, mode: str = "DCR") -> None:
        super().__init__(blocksize=int(blocksize), mode=mode)

    @staticmethod
    def write(op: Any, x: Any, blocksize: int, mode: str) -> Any:
        if mode == "DCR":
            return op.SpaceToDepth(x, blocksize=blocksize)
        n, c, h, w = x.shape
        y = op.Reshape(x, (0, c, h // blocksize, blocksize, w // blocksize, blocksize))
        y = op.Transpose(y, perm=(0, 1, 3, 5, 2, 4))
        return op.Reshape(y, (0, c * blocksize**2, h // blocksize, w // blocksize))


def space_to_depth(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    """The inverse of depth_to_space."""
    return SpaceToDepth(blocksize, mode)(x)[0]
