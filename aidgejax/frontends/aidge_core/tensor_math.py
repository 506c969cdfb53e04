"""Arithmetic of a Tensor, element by element, in NumPy: what scripts do by hand with small tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._shared.tensor_cell import TensorCell
from .errors import TensorError, TensorTypeError

if TYPE_CHECKING:
    from typing import Self

FLT_MAX = 3.4028234663852886e38


class TensorMath:
    """The operators + - * /, and functions that give a new tensor."""

    cell: TensorCell

    def _new(self, array: np.ndarray) -> Self:
        return type(self)(array)  # type: ignore[call-arg]  # Tensor's constructor takes the array

    def _with(self, other: Any, compute: Callable) -> Self:
        if not isinstance(other, TensorMath):
            raise TensorTypeError(f"a Tensor combines with a Tensor, got {type(other).__name__}")
        return self._new(compute(self.cell.read(), other.cell.read()))

    def __add__(self, other: Any) -> Self:
        return self._with(other, np.add)

    def __sub__(self, other: Any) -> Self:
        return self._with(other, np.subtract)

    def __mul__(self, other: Any) -> Self:
        return self._with(other, np.multiply)

    def __truediv__(self, other: Any) -> Self:
        return self._with(other, np.divide)

    def abs(self) -> Self:
        return self._new(np.abs(self.cell.read()))

    def sqrt(self) -> Self:
        return self._new(np.sqrt(self.cell.read()))

    def exp(self) -> Self:
        return self._new(np.exp(self.cell.read()))

    def ln(self) -> Self:
        return self._new(np.log(self.cell.read()))

    def mean(self) -> Self:
        return self._new(np.asarray(self.cell.read().mean()).reshape(1).astype(self.cell.dtype))

    def clip(self, min: float = -FLT_MAX, max: float = FLT_MAX) -> Self:
        return self._new(np.clip(self.cell.read(), min, max).astype(self.cell.dtype))

    def reshape(self, dims: Sequence[int], copy: str = "if_necessary") -> Self:
        return self._new(self.cell.read().reshape(list(dims)))

    def extract(self, coords: Sequence[int], dims: Sequence[int] | None = None) -> Self:
        """The part that starts at coords, of shape dims; without dims, all that lies behind these leading axes."""
        shape = self.cell.shape
        sizes = [1] * len(coords) if dims is None else list(dims)
        if len(coords) > len(shape) or any(c < 0 or c + d > s for c, d, s in zip(coords, sizes, shape, strict=False)):
            raise TensorError(f"extract({list(coords)}, {dims}): outside a tensor of shape {list(shape)}")
        if dims is None:
            return self._new(np.array(self.cell.read()[tuple(coords)]))
        return self._new(np.array(self.cell.read()[tuple(slice(c, c + d) for c, d in zip(coords, dims, strict=True))]))
