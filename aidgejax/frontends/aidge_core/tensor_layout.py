"""Which axis of a tensor is its batch, its channels, its height ...: what its data format says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._shared.tensor_cell import TensorCell
from .dtypes import dformat
from .errors import TensorError, TensorTypeError

if TYPE_CHECKING:
    from typing import Self

AXES = {"n": "batch", "c": "channels", "d": "depth", "h": "height", "w": "width"}


def axis_of(format: dformat, letter: str) -> int:
    """The position of an axis in a format: 1 for "c" in nchw.  Raises TensorError where the format has none."""
    if not isinstance(format, dformat):
        raise TensorTypeError(f"expected a dformat, such as dformat.nchw, got {format!r}")
    if format is dformat.default or letter not in format.value:
        raise TensorError(
            f"{format} says nothing of the {AXES[letter]} axis; name the layout with set_data_format(dformat.nchw)"
        )
    return format.value.index(letter)


def batch_idx(format: dformat) -> int:
    return axis_of(format, "n")


def channel_idx(format: dformat) -> int:
    return axis_of(format, "c")


def depth_idx(format: dformat) -> int:
    return axis_of(format, "d")


def height_idx(format: dformat) -> int:
    return axis_of(format, "h")


def width_idx(format: dformat) -> int:
    return axis_of(format, "w")


def get_permutation_mapping(src: dformat, dst: dformat) -> list[int]:
    """The axes of src in the order of dst: nchw to nhwc is [0, 2, 3, 1]."""
    if sorted(src.value) != sorted(dst.value) or dformat.default in (src, dst):
        raise TensorError(f"{src} and {dst} do not have the same axes")
    return [axis_of(src, letter) for letter in dst.value]


def get_transposed_data_format(input_data_format: dformat, output_dims_order: Sequence[int]) -> dformat:
    """The format whose axes are those of another one in this order."""
    name = "".join(input_data_format.value[k] for k in output_dims_order)
    try:
        return dformat(name)
    except ValueError:
        raise TensorError(f"Aidge has no data format {name!r}") from None


class TensorLayout:
    """The axes of a Tensor by name, and copies with other axes first."""

    cell: TensorCell

    @property
    def dformat(self) -> Any:
        return dformat.default

    def copy_from(self, src: Any) -> None:
        """Overridden by Tensor."""

    def _size(self, axis: int) -> int:
        return self.cell.shape[axis]

    def get_batch_dim_idx(self) -> int:
        return batch_idx(self.dformat)

    def get_batch_dim_size(self) -> int:
        return self._size(self.get_batch_dim_idx())

    def get_channel_dim_idx(self) -> int:
        return channel_idx(self.dformat)

    def get_channel_dim_size(self) -> int:
        return self._size(self.get_channel_dim_idx())

    def get_depth_dim_idx(self) -> int:
        return depth_idx(self.dformat)

    def get_depth_dim_size(self) -> int:
        return self._size(self.get_depth_dim_idx())

    def get_height_dim_idx(self) -> int:
        return height_idx(self.dformat)

    def get_height_dim_size(self) -> int:
        return self._size(self.get_height_dim_idx())

    def get_width_dim_idx(self) -> int:
        return width_idx(self.dformat)

    def get_width_dim_size(self) -> int:
        return self._size(self.get_width_dim_idx())

    def cpy_transpose(self, src: Any, transpose: Sequence[int]) -> None:
        """Become a copy of src with its axes in this order."""
        if sorted(transpose) != list(range(len(src.dims))):
            raise TensorError(f"{list(transpose)} is no order of the {len(src.dims)} axes of the tensor")
        self.copy_from(type(src)(np.ascontiguousarray(np.transpose(np.asarray(src), transpose))))

    def copy_change_index(self, src: Any, permutation: Sequence[int]) -> None:
        """As cpy_transpose."""
        self.cpy_transpose(src, permutation)

    @staticmethod
    def can_reshape_without_copy(view: Any, new_dims: Sequence[int]) -> bool:
        """Does the shape hold as many elements?  Data are always contiguous here."""
        return view.size == int(np.prod(list(new_dims)))

    def ref_from(self, fallback: Any, backend: str, device: int = 0) -> Self:
        """The tensor itself where it is on this backend; else `fallback`, as a copy of it there."""
        if getattr(self, "backend_name", None) == backend:
            return self
        fallback.copy_from(self)
        fallback.set_backend(backend, device)
        return fallback

    def to_cstring(self) -> str:
        """The elements as C writes an array: {1.5, 2}."""
        return "{" + ", ".join(f"{x:g}" for x in self.cell.read().ravel().tolist()) + "}"
