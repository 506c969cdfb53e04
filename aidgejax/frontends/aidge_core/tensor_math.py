"""Arithmetic and coordinates of a Tensor, in NumPy: what scripts do by hand with small tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._shared.tensor_cell import TensorCell
from .errors import TensorError, TensorIndexError, TensorTypeError

if TYPE_CHECKING:
    from typing import Self

FLT_MAX = 3.4028234663852886e38


class TensorMath:
    """The operators + - * /, functions that give a new tensor, and positions in it."""

    cell: TensorCell

    def _new(self, array: np.ndarray) -> Self:
        kind: Any = type(self)  # Tensor, whose constructor takes the array
        return kind(array)

    def _with(self, other: Any, compute: Callable) -> Self:
        if not isinstance(other, TensorMath):
            raise TensorTypeError(f"a Tensor combines with a Tensor, got {type(other).__name__}")
        mine, theirs = self.cell.read(), other.cell.read()
        try:
            return self._new(compute(mine, theirs))
        except ValueError:
            raise TensorError(f"shapes {list(mine.shape)} and {list(theirs.shape)} do not fit each other") from None

    def __add__(self, other: Any) -> Self:
        """With a tensor, or with a number, which takes the tensor's data type."""
        if isinstance(other, int | float):
            other = self._new(np.asarray(other, self.cell.dtype))
        return self._with(other, np.add)

    def __sub__(self, other: Any) -> Self:
        return self._with(other, np.subtract)

    def __mul__(self, other: Any) -> Self:
        return self._with(other, np.multiply)

    def __truediv__(self, other: Any) -> Self:
        """Of integers without the fraction, as in C."""
        found = self._with(other, np.divide)
        integers = self.cell.dtype.kind in "iu" and other.cell.dtype.kind in "iu"
        return self._new(np.trunc(found.cell.read()).astype(self.cell.dtype)) if integers else found

    def __gt__(self, other: Any) -> Self:
        """Element by element, a boolean tensor."""
        return self._with(other, np.greater)

    def __lt__(self, other: Any) -> Self:
        return self._with(other, np.less)

    def abs(self) -> Self:
        return self._new(np.abs(self.cell.read()))

    def sqrt(self) -> Self:
        return self._kept(np.sqrt(self.cell.read()))

    def exp(self) -> Self:
        return self._kept(np.exp(self.cell.read()))

    def ln(self) -> Self:
        return self._kept(np.log(self.cell.read()))

    def mean(self) -> Self:
        """Of all elements; of integers rounded, halves away from zero."""
        mean = self.cell.read().mean()
        if self.cell.dtype.kind in "iu":
            mean = np.copysign(np.floor(np.abs(mean) + 0.5), mean)
        return self._kept(np.asarray(mean).reshape(1))

    def _kept(self, array: np.ndarray) -> Self:
        return self._new(array.astype(self.cell.dtype))

    def clip(self, min: float = -FLT_MAX, max: float = FLT_MAX) -> Self:
        return self._new(np.clip(self.cell.read(), min, max).astype(self.cell.dtype))

    def extract(self, coords: Sequence[int], dims: Sequence[int] | None = None) -> Self:
        """The part that starts at coords, of shape dims; without dims, all that lies behind these leading axes."""
        shape = self.cell.shape
        sizes = [1] * len(coords) if dims is None else list(dims)
        if len(coords) > len(shape) or any(c < 0 or c + d > s for c, d, s in zip(coords, sizes, shape, strict=False)):
            raise TensorError(f"extract({list(coords)}, {dims}): outside a tensor of shape {list(shape)}")
        if dims is None:
            return self._new(np.array(self.cell.read()[tuple(coords)]))
        return self._new(np.array(self.cell.read()[tuple(slice(c, c + d) for c, d in zip(coords, dims, strict=True))]))

    # ---- coordinates ------------------------------------------------------------------------------------

    @property
    def strides(self) -> list[int]:
        return [int(np.prod(self.cell.shape[k + 1 :])) for k in range(len(self.cell.shape))]

    def stride(self, idx: int) -> int:
        if not 0 <= idx < len(self.cell.shape):
            raise TensorIndexError(f"axis {idx} of a tensor with {len(self.cell.shape)} axes")
        return self.strides[idx]

    def position(self, key: Any) -> Any:
        """The coordinates of a flat position, or of coordinates; others are refused."""
        shape = self.cell.shape
        if isinstance(key, tuple | list):
            if len(key) != len(shape) or any(not 0 <= k < d for k, d in zip(key, shape, strict=False)):
                raise TensorIndexError(f"coordinates {list(key)} are outside a tensor of shape {list(shape)}")
            return tuple(int(k) for k in key)
        if isinstance(key, bool) or not isinstance(key, int | np.integer):
            raise TensorTypeError(f"a tensor is indexed by a flat position or by coordinates, got {key!r}")
        if not 0 <= key < int(np.prod(shape)):
            raise TensorIndexError(
                f"element {key} of a tensor with {int(np.prod(shape))} elements (0 to {int(np.prod(shape)) - 1})"
            )
        return np.unravel_index(int(key), shape)

    def as_coord(self, flatIdx: int) -> list[int]:  # noqa: N803
        return [int(k) for k in self.position(flatIdx)]

    get_coord = as_coord

    def as_idx(self, coords: Sequence[int]) -> int:
        return int(np.ravel_multi_index(self.position(list(coords)), self.cell.shape))

    get_idx = as_idx
