"""Functions of tensors: zeros, ones, asarray, astype, reshape, and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .dtypes import dtype as dtypes
from .dtypes import to_numpy_dtype
from .errors import TensorTypeError
from .tensor import Tensor, as_tensor


def _filled(shape: Sequence[int], value: int, dtype: Any, backend: str) -> Tensor:
    made = Tensor(np.full(tuple(int(d) for d in shape), value, to_numpy_dtype(dtype)))
    made.set_backend(backend)
    return made


def zeros(shape: Sequence[int], dtype: Any = dtypes.float32, device: Any = 0, backend: str = "cpu") -> Tensor:
    return _filled(shape, 0, dtype, backend)


def ones(shape: Sequence[int], dtype: Any = dtypes.float32, device: Any = 0, backend: str = "cpu") -> Tensor:
    return _filled(shape, 1, dtype, backend)


def zeros_like(shape: Tensor, *, dtype: Any = None, device: Any = None) -> Tensor:
    return zeros(shape.dims, shape.dtype if dtype is None else dtype, backend=shape.backend or "cpu")


def ones_like(shape: Tensor, *, dtype: Any = None, device: Any = None) -> Tensor:
    return ones(shape.dims, shape.dtype if dtype is None else dtype, backend=shape.backend or "cpu")


def asarray(obj: Any, dtype: Any = None, backend: Any = None, device: Any = None, copy: Any = None) -> Tensor:
    """A tensor of a number (float32 or int32), of nested lists (int64 or float64), of an array, or of a tensor.

    backend, device: where it is to be.  copy: True where a Tensor is not to be given back itself.
    """
    found = _as_array(obj.clone() if isinstance(obj, Tensor) and copy else obj, dtype)
    if backend is not None:
        found.set_backend(str(backend), int(device or 0))
    return found


def _as_array(obj: Any, dtype: Any) -> Tensor:
    if isinstance(obj, Tensor):
        return obj if dtype is None else astype(obj, dtype)
    kind = None if dtype is None else to_numpy_dtype(dtype)
    if isinstance(obj, list | tuple):
        array = np.asarray(obj)
        if array.dtype == object:
            raise TensorTypeError("asarray: rows of different lengths make no tensor")
        return Tensor(array if kind is None else array.astype(kind))
    if isinstance(obj, bool):
        return Tensor(np.asarray(obj, kind))
    made = as_tensor(obj, "asarray")
    return made if kind is None else astype(made, dtype)


def astype(tensor: Tensor, dtype: Any, *, copy: bool = False, device: str = "") -> Tensor:
    """A copy in another data type; floats lose what is behind the point where it is an integer.

    The tensor itself where it has the type, unless copy is True.
    """
    if to_numpy_dtype(dtype) == tensor.cell.dtype and not copy:
        return tensor
    made = Tensor(tensor.cell.read().astype(to_numpy_dtype(dtype)))
    return made.made_like(tensor) if tensor.backend_name else made


def reshape(tensor: Tensor, shape: Sequence[int], copy: Any = None) -> Tensor:
    """The tensor itself in another shape, as in Aidge."""
    return tensor.reshape(shape)


def approx_eq(t1: Tensor, t2: Tensor, relative: float = 1e-5, absolute: float = 1e-8) -> bool:
    """Is |t1 - t2| <= absolute + relative * |t2| everywhere?  False for other shapes."""
    a, b = (as_tensor(t, "approx_eq").cell.read() for t in (t1, t2))
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= absolute + relative * np.abs(b)))


def equal(t1: Tensor, t2: Tensor) -> Tensor:
    """Element by element, a boolean tensor."""
    return Tensor(np.equal(t1.cell.read(), t2.cell.read()))


def greater(t1: Tensor, t2: Tensor) -> Tensor:
    return Tensor(np.greater(t1.cell.read(), t2.cell.read()))


def isnan(obj: Any) -> Tensor:
    """Element by element, a boolean tensor; of a number, one of a single element."""
    return Tensor(np.isnan(as_tensor(obj, "isnan").cell.read()))


def isfinite(obj: Any) -> Tensor:
    return Tensor(np.isfinite(as_tensor(obj, "isfinite").cell.read()))


def all(obj: Tensor) -> bool:  # noqa: A001  (Aidge's name)
    """Is every element true?"""
    return bool(np.all(obj.cell.read()))
