"""Which axis of a tensor is its batch, its channels, its height ...: what its data format says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._shared.tensor_cell import TensorCell
from .dtypes import dformat
from .errors import TensorError, TensorTypeError
from .tensor_text import c_array

if TYPE_CHECKING:
    from typing import Self


def axis_of(format: dformat, letter: str) -> int:
    """The position of an axis in a format: 1 for "c" in nchw; -1 where the format has none."""
    if not isinstance(format, dformat):
        raise TensorTypeError(f"expected a dformat, such as dformat.nchw, got {format!r}")
    return _axes(format).find(letter)


def _axes(format: dformat) -> str:
    """One letter per axis; none for the formats that name no axes."""
    return "" if format.value.startswith(("default", "any")) else format.value


def permutation(src: Any, dst: Any) -> list[int] | None:
    """The axes of src in the order of dst; None where they do not name the same axes."""
    if not isinstance(src, dformat) or not isinstance(dst, dformat):
        raise TensorTypeError(f"expected dformats, such as dformat.nchw, got {src!r} and {dst!r}")
    mine, theirs = _axes(src), _axes(dst)
    return [mine.index(letter) for letter in theirs] if sorted(mine) == sorted(theirs) else None


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


LONGEST = 5  # axes of a format


def get_permutation_mapping(src: dformat, dst: dformat) -> list[int]:
    """Five axes: those of src in the order of dst, the others behind them as they are: nchw to nhwc is
    [0, 2, 3, 1, 4].  Formats that do not name the same axes change nothing."""
    order = permutation(src, dst) or []
    return order + list(range(len(order), LONGEST))


def get_transposed_data_format(input_data_format: dformat, output_dims_order: Sequence[int]) -> dformat:
    """The format whose axes are those of another one in this order; default where no format has them so."""
    axes = _axes(input_data_format)
    order = [k for k in output_dims_order if k < len(axes)]
    name = "".join(axes[k] for k in order)
    return dformat(name) if name in dformat.__members__ else dformat.default


class TensorLayout:
    """The axes of a Tensor by name, and copies with other axes first."""

    cell: TensorCell

    @property
    def dformat(self) -> Any:
        return dformat.default

    def copy_from(self, src: Any) -> None:
        """Overridden by Tensor."""

    def _size(self, axis: int) -> int:
        if not 0 <= axis < len(self.cell.shape):
            raise TensorError(f"{self.dformat} names no such axis; set_data_format(dformat.nchw) names the layout")
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
        """The elements as C writes an array: { 1.5f,  2.f}."""
        return c_array(self.cell.read())
