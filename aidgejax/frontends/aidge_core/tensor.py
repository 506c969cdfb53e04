"""aidge_core.Tensor: a mutable tensor, and the gradient that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import AidgeJaxError
from .._shared.tensor_cell import TensorCell
from .absent import AbsentMethods
from .backends import available, place_of
from .dtypes import dformat, dtype, of_numpy_dtype, to_numpy_dtype
from .errors import TensorError, TensorTypeError
from .tensor_layout import TensorLayout, permutation
from .tensor_math import TensorMath
from .tensor_text import printed


class Cell(TensorCell):
    """The data of a Tensor."""

    def no_data(self) -> AidgeJaxError:
        return TensorError("this tensor has no data yet: fill it, or run a forward")


class Tensor(TensorMath, TensorLayout, AbsentMethods):
    """Tensor(array): a copy of a NumPy array, or of whatever NumPy can read (a torch tensor, say).

    Lists are refused, as Aidge does.  t[i] and t[i] = v count elements flat, in C order; t[i, j] by coordinates.
    `t.grad` is a tensor as well; it comes into being, full of zeros, when it is first asked for.

    For the library: `cell` holds the data, `gradient` the Gradient or None, `backend_name` the backend or None.
    """

    def __init__(
        self,
        data: Any = None,
        backend: str = "cpu",
        *,
        dims: Sequence[int] | None = None,
        kind: Any = "float32",
    ) -> None:
        self.cell: TensorCell = Cell(tuple(dims or ()), to_numpy_dtype(kind))
        self.gradient: Gradient | None = None
        self.on_grad_access: Callable[[Tensor], None] | None = None
        self.backend_name: str | None = None
        self._format = dformat.default
        if data is not None:
            self.cell.put(_copy_of(data))
            self.backend_name = "cpu"
            if backend != "cpu":
                self.set_backend(backend)

    # ---- what the library reads and writes --------------------------------------------------------------

    def array(self) -> Any:
        """The data for a compiled call: a device array (or, on the "numpy" backend, a NumPy array)."""
        return self.cell.host() if self.backend_name == "numpy" else self.cell.device_array()

    def put(self, array: Any) -> None:
        """Take what a compiled call computed."""
        self.cell.put(array)

    def own_gradient(self) -> Gradient:
        """The gradient, made where there is none; unlike `grad` this does not count as asking for it."""
        if self.gradient is None:
            self.gradient = Gradient(self)
        return self.gradient

    def written(self) -> None:
        """Somebody wrote the data by hand; gradients care."""

    def made_like(self, other: Tensor) -> Tensor:
        """Itself, on the backend and device of another."""
        self.backend_name, self.cell.place, self._format = other.backend_name, other.cell.place, other._format
        return self

    # ---- NumPy ------------------------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy or (dtype is not None and np.dtype(dtype) != self.cell.dtype):
            return self.cell.read().astype(dtype or self.cell.dtype, copy=True)
        return self.cell.host().view()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: Any) -> Any:
        return self.cell.read()[self.position(key)].item()

    def __setitem__(self, key: Any, value: Any) -> None:
        where = self.position(key)
        try:
            self.cell.host()[where] = value
        except (TypeError, ValueError):
            raise TensorTypeError(f"element {key} of a tensor becomes a number, not {value!r}") from None
        self.written()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.cell.read().ravel().tolist())

    def __eq__(self, other: object) -> bool:
        """The same shape, data type and elements?"""
        if not isinstance(other, Tensor):
            return NotImplemented
        if self is other:
            return True
        mine, theirs = self.cell, other.cell
        alike = (mine.shape, mine.dtype, mine.has_data) == (theirs.shape, theirs.dtype, theirs.has_data)
        return alike and (not mine.has_data or bool(np.array_equal(mine.read(), theirs.read())))

    __hash__ = object.__hash__

    def __float__(self) -> float:
        return float(self._only_element())

    def __int__(self) -> int:
        return int(self._only_element())

    def _only_element(self) -> Any:
        if self.size != 1:
            raise TensorTypeError(f"only a tensor of one element is a number; this one has shape {self.shape}")
        return self[0]

    def __str__(self) -> str:
        return self._printed(0)

    def __repr__(self) -> str:
        return f"Tensor({self._printed(len('Tensor('))}, dims = {self.shape}, dtype = {self.dtype.name})"

    def _printed(self, indent: int) -> str:
        return printed(self.cell.read(), indent) if self.cell.has_data else "[]"

    # ---- properties -------------------------------------------------------------------------------------

    @property
    def dims(self) -> list[int]:
        return list(self.cell.shape)

    shape = dims

    @property
    def ndim(self) -> int:
        return len(self.cell.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.cell.shape)) if self.cell.shape or self.has_impl() else 0

    capacity = size

    @property
    def dtype(self) -> dtype:
        return of_numpy_dtype(self.cell.dtype)

    @property
    def dformat(self) -> Any:
        return self._format

    @property
    def backend(self) -> str:
        return self.backend_name or ""

    @property
    def device(self) -> int:
        return 0

    @property
    def grad(self) -> Gradient:
        grad = self.own_gradient()
        if not grad.accessed:
            grad.accessed = True
            if self.on_grad_access is not None:
                self.on_grad_access(self)
        return grad

    @grad.setter
    def grad(self, value: Any) -> None:
        self.grad.copy_from(value if isinstance(value, Tensor) else Tensor(value))

    def has_grad(self) -> bool:
        return self.gradient is not None

    def has_impl(self) -> bool:
        return self.backend_name is not None

    def has_data(self) -> bool:
        return self.cell.has_data

    def is_undefined(self) -> bool:
        return not self.cell.shape and not self.cell.has_data

    undefined = is_undefined

    @staticmethod
    def get_available_backends() -> set[str]:
        return set(available())

    available_backends = get_available_backends

    # ---- changing ---------------------------------------------------------------------------------------

    def set_backend(self, name: str, device: int = 0, copyFrom: bool = True) -> None:  # noqa: N803
        place = place_of(name, device)
        if self.backend_name == name and self.cell.place == place:
            return
        if self.cell.has_data:
            if self.cell.place is not place:
                self.cell.host()
        elif self.cell.shape:
            self.cell.put(np.zeros(self.cell.shape, self.cell.dtype))
        self.backend_name, self.cell.place = name, place
        if self.gradient is not None:
            self.gradient.set_backend(name, device)

    to_backend = set_backend

    def to_device(self, device: int, copyFrom: bool = True) -> None:  # noqa: N803
        self.set_backend(self.backend_name or "cpu", device)

    set_device = to_device

    def set_datatype(self, datatype: Any, copyCast: bool = True) -> None:  # noqa: N803
        kind = to_numpy_dtype(datatype)
        if kind == self.cell.dtype:
            return
        if self.cell.has_data:
            self.cell.replace(self.cell.read().astype(kind))
        self.cell.dtype = kind
        if self.gradient is not None:
            self.gradient.set_datatype(datatype)

    def to_dtype(self, dtype_: Any, copy_and_cast_: bool = True) -> None:
        """As set_datatype."""
        self.set_datatype(dtype_, copy_and_cast_)

    def set_data_format(self, data_format: Any, copyTrans: bool = True, enforce: bool = False) -> None:  # noqa: N803
        """Another order of the axes: the data are transposed where both formats name the same ones."""
        order = permutation(self._format, data_format) if copyTrans else None
        if order is not None and len(order) == self.ndim and order != sorted(order):
            if self.cell.has_data:
                self.cell.replace(np.ascontiguousarray(self.cell.read().transpose(order)))
            else:
                self.cell.shape = tuple(self.cell.shape[k] for k in order)
            self.gradient = None
        self._format = data_format

    def to_dformat(self, dformat_: Any, copy_and_transpose_: bool = True, enforce: bool = False) -> None:
        """As set_data_format."""
        self.set_data_format(dformat_, copy_and_transpose_, enforce)

    def resize(self, dims: Sequence[int], strides: Sequence[int] = ()) -> None:
        """Another shape; the data is lost unless there is as much of it as before."""
        dims = tuple(int(d) for d in dims)
        if dims == self.cell.shape:
            return
        if self.cell.has_data:
            old = self.cell.read()
            self.cell.replace(
                np.array(old.reshape(dims)) if old.size == np.prod(dims) else np.zeros(dims, self.cell.dtype)
            )
        elif self.backend_name is not None:
            self.cell.put(np.zeros(dims, self.cell.dtype))
        self.cell.shape, self.gradient = dims, None

    def reshape(self, dims: Sequence[int], copy: str = "if_necessary") -> Tensor:
        """Another shape of as many elements (one size may be -1): the tensor itself is changed, and returned."""
        old = self.cell.read()
        try:
            self.cell.replace(np.array(old.reshape([int(d) for d in dims])))
        except ValueError:
            raise TensorError(f"a tensor of shape {self.dims} cannot be reshaped to {list(dims)}") from None
        self.gradient = None
        return self

    def fill(self, array: Any) -> None:
        """New data by hand, of the shape and dtype that the tensor has."""
        array = np.asarray(array)
        if array.shape != self.cell.shape:
            raise TensorError(f"this tensor has shape {self.shape}, the data {list(array.shape)}")
        self.put(np.array(array, self.cell.dtype))
        self.written()

    def zeros(self) -> None:
        self.fill(np.zeros(self.cell.shape, self.cell.dtype))

    def ones(self) -> None:
        self.fill(np.ones(self.cell.shape, self.cell.dtype))

    def copy_from(self, src: Tensor) -> None:
        """Become a copy of src, its shape and dtype included."""
        src = as_tensor(src, "copy_from")
        other = src.cell.shape != self.cell.shape
        self.put(np.array(src.cell.read()))
        if other:
            self.gradient = None
        if self.backend_name is None:
            self.backend_name, self.cell.place = src.backend_name, src.cell.place
        self.written()

    def copy_cast(self, src: Tensor) -> None:
        """Become a copy of src in this tensor's own data type."""
        self.copy_from(Tensor(as_tensor(src, "copy_cast").cell.read().astype(self.cell.dtype)))

    def clone(self) -> Tensor:
        """An independent copy; of the gradient too, where there is one."""
        copy = Tensor().made_like(self)
        self.cell.copy_to(copy.cell)
        if self.gradient is not None:
            copy.grad.fill(np.array(self.gradient))
        return copy


class GradientCell(Cell):
    """The data of a gradient: zeros of its owner's shape until something is written."""

    def __init__(self, owner: Tensor) -> None:
        super().__init__(owner.cell.shape, owner.cell.dtype, owner.cell.place)
        self.owner = owner.cell

    def absent(self) -> np.ndarray:
        return np.zeros(self.owner.shape, self.owner.dtype)


class Gradient(Tensor):
    """The gradient of a tensor.  What was written by hand, or by a loss, is where a backward pass may start.

    collected: what backward passes have added since; None where nothing.
    accessed: somebody asked for it, so backward passes give it.
    """

    def __init__(self, owner: Tensor) -> None:
        super().__init__(dims=owner.cell.shape, kind=owner.cell.dtype)
        self.cell: TensorCell = GradientCell(owner)
        self.owner = owner
        self.backend_name = owner.backend_name
        self.collected: Any = None
        self.accessed = False
        self._start: Any = None  # None: zeros, or the gradient as it stands
        self._by_hand = False
        self._shown = False  # a view was handed out, through which somebody may have written

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._shown = self._shown or not copy
        return super().__array__(dtype, copy)

    def written(self) -> None:
        self._by_hand, self.collected = True, None

    def set_to_zero(self) -> None:
        """Zeros, without computing anything until somebody looks."""
        self._by_hand, self._start, self.collected, self._shown = False, None, None, False
        if self.cell.shape == self.owner.cell.shape and self.cell.fill_view(0):
            return
        self.cell.clear(self.owner.cell.shape, self.owner.cell.dtype)

    def is_zero(self) -> bool:
        """Known to be zero without looking."""
        return not self.cell.has_data

    def seed(self, array: Any) -> None:
        """A loss writes where the backward pass starts; it overwrites."""
        self.put(array)
        self.written()

    def start(self) -> Any:
        """What a backward pass starts from here, or None.

        A view may have been written through at any time, so its buffer counts as written by hand.
        """
        shown = self._shown or self.cell.has_view
        if self._by_hand or (shown and self.collected is None and self.cell.has_data and np.any(self.cell.read())):
            self._start, self._by_hand = self.array(), False
        return self._start

    def collect(self, array: Any, total: Any) -> None:
        """A backward pass has added `array`; the sum is `total`."""
        self.collected = array
        self.put(total)


def _copy_of(data: Any) -> np.ndarray:
    if isinstance(data, Tensor):
        return np.array(data.cell.read())
    if isinstance(data, list | tuple) or not (
        hasattr(data, "__array__") or hasattr(data, "__array_interface__") or isinstance(data, int | float | bool)
    ):
        raise TensorTypeError(
            f"a Tensor is made of a NumPy array, got {type(data).__name__}: Unsupported python type; "
            f"write Tensor(np.array(...))"
        )
    if isinstance(data, int | float) and not isinstance(data, np.generic):
        return np.array(data, np.float32 if isinstance(data, float) else _int_type(data))
    array = np.array(np.asarray(data))  # torch tensors know no copy keyword
    if array.dtype == object:
        raise TensorTypeError("a Tensor is made of numbers; this array holds Python objects")
    of_numpy_dtype(array.dtype)
    return array


def _int_type(number: int) -> type:
    """Of a Python integer: int32, as in Aidge, where it fits."""
    return np.int32 if abs(number) < 2**31 else np.int64


def as_tensor(data: Any, what: str) -> Tensor:
    """The tensor itself, or one made of an array; None and the rest are refused by name."""
    if isinstance(data, Tensor):
        return data
    if data is None:
        raise TensorTypeError(f"{what} is None: expected a Tensor")
    try:
        return Tensor(data)
    except TensorTypeError as e:
        raise TensorTypeError(f"{what}: {e}") from None
