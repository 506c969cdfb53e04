"""aidge_core.Tensor: a mutable tensor over JAX's immutable arrays.

A tensor holds its data as a device array, as a NumPy buffer, or as a promise that is kept when somebody looks.  While a
view that `np.asarray(t)` handed out is alive, the buffer is the truth: what is written through the view counts, and
what a compiled call computes is copied into it.  Without one nothing leaves the device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._errors import TensorError, TensorIndexError, TensorTypeError
from .dtypes import dformat, dtype, of_numpy_dtype, to_numpy_dtype

WIDE = frozenset(map(np.dtype, ("float64", "int64", "uint64", "complex128")))
OWN_REFERENCES = 2  # the attribute and getrefcount's argument; anything above is a view that somebody holds


def on_device(array: Any, device: Any = None) -> jax.Array:
    """A copy on the device, 64-bit data kept as it is."""
    array = np.asarray(array)
    with jax.enable_x64(array.dtype in WIDE):
        placed = jnp.array(array)
        return placed if device is None else jax.device_put(placed, device)


class Tensor:
    """Tensor(array): a copy of a NumPy array, or of whatever NumPy can read (a torch tensor, say).

    Lists are refused, as Aidge does.  t[i] and t[i] = v count elements flat, in C order; t[i, j] by coordinates.
    `t.grad` is a tensor as well; it comes into being, full of zeros, when it is first asked for.
    """

    def __init__(self, data: Any = None, *, dims: Sequence[int] | None = None, kind: Any = "float32") -> None:
        self._host: np.ndarray | None = None
        self._device: jax.Array | None = None
        self._promise: Callable[[], Any] | None = None
        self._grad: Gradient | None = None
        self._on_touch: Callable[[Tensor], None] | None = None
        self._place: Any = None
        self._backend: str | None = None
        self._format = dformat.default
        self._dims: tuple[int, ...] = tuple(dims or ())
        self._kind = to_numpy_dtype(kind)
        if data is not None:
            self._host = _copy_of(data)
            self._dims, self._kind, self._backend = self._host.shape, self._host.dtype, "cpu"

    # ---- what the library reads and writes --------------------------------------------------------------

    def array(self) -> Any:
        """The data for a compiled call: a device array (or, on the "numpy" backend, a NumPy array)."""
        if self._promise is not None:
            self._keep_promise()
        if self._backend == "numpy":
            return self._in_host()
        if self._host is not None and self._is_viewed():
            return on_device(self._host, self._place)
        if self._device is None:
            if self._host is None:
                raise TensorError("this tensor has no data yet: fill it, or run a forward")
            self._device = on_device(self._host, self._place)
        self._host = None
        return self._device

    def put(self, array: Any) -> None:
        """Take what a compiled call computed."""
        self._promise = None
        self._dims, self._kind = tuple(array.shape), np.dtype(array.dtype)
        if self._host is not None and self._is_viewed() and self._host.shape == self._dims:
            np.copyto(self._host, np.asarray(array))
            self._device = None
        elif isinstance(array, np.ndarray):
            self._host, self._device = array if array.flags.owndata and array.flags.writeable else array.copy(), None
        else:
            self._host, self._device = None, array

    def promise(self, dims: tuple[int, ...], kind: Any, keep: Callable[[], Any]) -> None:
        """`keep()` will give the data when somebody looks."""
        if self._host is not None and self._is_viewed() and self._host.shape == dims:
            self.put(keep())
            return
        self._dims, self._kind, self._promise = dims, np.dtype(kind), keep
        self._host = self._device = None

    def _keep_promise(self) -> None:
        keep, self._promise = self._promise, None
        try:
            self.put(keep())
        except BaseException:
            self._promise = keep
            raise

    def _is_viewed(self) -> bool:
        return sys.getrefcount(self._host) > OWN_REFERENCES

    def _in_host(self) -> np.ndarray:
        """The buffer, as the only truth from now on."""
        if self._promise is not None:
            self._keep_promise()
        if self._host is None:
            if self._device is None:
                raise TensorError("this tensor has no data yet: fill it, or run a forward")
            self._host = np.array(self._device)
        self._device = None
        return self._host

    def _look(self) -> np.ndarray:
        """The data to read, not to keep."""
        if self._promise is not None:
            self._keep_promise()
        return self._in_host() if self._device is None else np.asarray(self._device)

    def _written(self) -> None:
        """Somebody wrote the data by hand; gradients care."""

    # ---- NumPy ------------------------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy or (dtype is not None and np.dtype(dtype) != self._kind):
            return self._look().astype(dtype or self._kind, copy=True)
        return self._in_host().view()

    def __len__(self) -> int:
        return self.size

    def _position(self, key: Any) -> Any:
        if isinstance(key, tuple | list):
            if len(key) != self.ndim or any(not 0 <= k < d for k, d in zip(key, self._dims, strict=False)):
                raise TensorIndexError(f"coordinates {list(key)} are outside a tensor of shape {self.shape}")
            return tuple(int(k) for k in key)
        if isinstance(key, bool) or not isinstance(key, int | np.integer):
            raise TensorTypeError(f"a tensor is indexed by a flat position or by coordinates, got {key!r}")
        if not 0 <= key < self.size:
            raise TensorIndexError(f"element {key} of a tensor with {self.size} elements (0 to {self.size - 1})")
        return np.unravel_index(int(key), self._dims)

    def __getitem__(self, key: Any) -> Any:
        return self._look()[self._position(key)].item()

    def __setitem__(self, key: Any, value: Any) -> None:
        where = self._position(key)
        self._in_host()[where] = value
        self._written()

    def __iter__(self):
        return iter(self._look().ravel().tolist())

    def __float__(self) -> float:
        if self.size != 1:
            raise TensorTypeError(f"only a tensor of one element is a number; this one has shape {self.shape}")
        return float(self[0])

    def __repr__(self) -> str:
        known = self._host is not None or self._device is not None or self._promise is not None
        shown = np.array2string(self._look(), threshold=20, precision=5) if known else "no data"
        return f"Tensor({shown}, dims = {self.shape}, dtype = {self._kind.name})"

    # ---- properties -------------------------------------------------------------------------------------

    @property
    def dims(self) -> list[int]:
        return list(self._dims)

    shape = dims

    @property
    def ndim(self) -> int:
        return len(self._dims)

    @property
    def size(self) -> int:
        return int(np.prod(self._dims)) if self._dims or self.has_impl() else 0

    capacity = size

    @property
    def strides(self) -> list[int]:
        return [int(np.prod(self._dims[k + 1 :])) for k in range(self.ndim)]

    @property
    def dtype(self) -> dtype:
        return of_numpy_dtype(self._kind)

    @property
    def dformat(self) -> dformat:
        return self._format

    @property
    def backend(self) -> str:
        return self._backend or ""

    @property
    def device(self) -> int:
        return 0

    @property
    def grad(self) -> Gradient:
        if self._grad is None:
            self._grad = Gradient(self)
        if not self._grad._touched:
            self._grad._touched = True
            if self._on_touch is not None:
                self._on_touch(self)
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        self.grad.copy_from(value if isinstance(value, Tensor) else Tensor(value))

    def has_grad(self) -> bool:
        return self._grad is not None

    def has_impl(self) -> bool:
        return self._backend is not None

    def has_data(self) -> bool:
        return self._host is not None or self._device is not None or self._promise is not None

    def is_undefined(self) -> bool:
        return not self._dims and not self.has_data()

    undefined = is_undefined

    @staticmethod
    def get_available_backends() -> set[str]:
        from .backends import available

        return set(available())

    available_backends = get_available_backends

    # ---- changing ---------------------------------------------------------------------------------------

    def set_backend(self, name: str, device: int = 0, copyFrom: bool = True) -> None:  # noqa: N803
        from .backends import place_of

        place = place_of(name, device)
        if self._backend == name and self._place == place:
            return
        if self.has_data():
            if self._place is not place:
                self._in_host()
        elif self._dims:
            self._host = np.zeros(self._dims, self._kind)
        self._backend, self._place = name, place
        if self._grad is not None:
            self._grad.set_backend(name, device)

    to_backend = set_backend

    def set_datatype(self, datatype: Any, copyCast: bool = True) -> None:  # noqa: N803
        kind = to_numpy_dtype(datatype)
        if kind == self._kind:
            return
        if self.has_data():
            cast = self._look().astype(kind)
            self._host, self._device, self._promise = cast, None, None
        self._kind = kind
        if self._grad is not None:
            self._grad.set_datatype(datatype)

    to_dtype = set_datatype

    def set_data_format(self, data_format: dformat, copyTrans: bool = True, enforce: bool = False) -> None:  # noqa: N803
        self._format = data_format

    to_dformat = set_data_format

    def resize(self, dims: Sequence[int], strides: Sequence[int] = ()) -> None:
        """Another shape; the data is lost unless there is as much of it as before."""
        dims = tuple(int(d) for d in dims)
        if dims == self._dims:
            return
        if self.has_data():
            old = self._look()
            kept = old.reshape(dims) if old.size == np.prod(dims) else np.zeros(dims, self._kind)
            self._host, self._device, self._promise = np.array(kept), None, None
        elif self._backend is not None:
            self._host = np.zeros(dims, self._kind)
        self._dims, self._grad = dims, None

    def fill(self, array: Any) -> None:
        """New data by hand, of the shape and dtype that the tensor has."""
        array = np.asarray(array)
        if array.shape != self._dims:
            raise TensorError(f"this tensor has shape {self.shape}, the data {list(array.shape)}")
        self.put(np.array(array, self._kind))
        self._written()

    def zeros(self) -> None:
        self.fill(np.zeros(self._dims, self._kind))

    def ones(self) -> None:
        self.fill(np.ones(self._dims, self._kind))

    def copy_from(self, src: Tensor) -> None:
        """Become a copy of src, its shape and dtype included."""
        src = as_tensor(src, "copy_from")
        other = src._dims != self._dims
        self.put(np.array(src._look()))
        if other:
            self._grad = None
        if self._backend is None:
            self._backend, self._place = src._backend, src._place
        self._written()

    def clone(self) -> Tensor:
        """An independent copy; of the gradient too, where there is one."""
        twin = Tensor(dims=self._dims, kind=self._kind)
        twin._backend, twin._place, twin._format = self._backend, self._place, self._format
        if self.has_data():
            if self._device is not None and self._promise is None:
                twin._device = self._device
            else:
                twin._host = np.array(self._look())
        if self._grad is not None:
            twin.grad.fill(np.array(self._grad))
        return twin

    def reshape(self, dims: Sequence[int], copy: str = "if_necessary") -> Tensor:
        return Tensor(self._look().reshape(list(dims)))

    # ---- arithmetic, element by element -----------------------------------------------------------------

    def _with(self, other: Any, compute: Callable) -> Tensor:
        if not isinstance(other, Tensor):
            raise TensorTypeError(f"a Tensor combines with a Tensor, got {type(other).__name__}")
        return Tensor(compute(self._look(), other._look()))

    def __add__(self, other: Any) -> Tensor:
        return self._with(other, np.add)

    def __sub__(self, other: Any) -> Tensor:
        return self._with(other, np.subtract)

    def __mul__(self, other: Any) -> Tensor:
        return self._with(other, np.multiply)

    def __truediv__(self, other: Any) -> Tensor:
        return self._with(other, np.divide)

    def abs(self) -> Tensor:
        return Tensor(np.abs(self._look()))

    def sqrt(self) -> Tensor:
        return Tensor(np.sqrt(self._look()))

    def exp(self) -> Tensor:
        return Tensor(np.exp(self._look()))

    def ln(self) -> Tensor:
        return Tensor(np.log(self._look()))

    def mean(self) -> Tensor:
        return Tensor(np.asarray(self._look().mean()).reshape(1).astype(self._kind))

    def clip(self, min: float = -3.4028234663852886e38, max: float = 3.4028234663852886e38) -> Tensor:
        return Tensor(np.clip(self._look(), min, max).astype(self._kind))

    # ---- coordinates ------------------------------------------------------------------------------------

    def as_coord(self, flatIdx: int) -> list[int]:  # noqa: N803
        return [int(k) for k in self._position(flatIdx)]

    get_coord = as_coord

    def as_idx(self, coords: Sequence[int]) -> int:
        return int(np.ravel_multi_index(self._position(list(coords)), self._dims))

    get_idx = as_idx

    def extract(self, coords: Sequence[int], dims: Sequence[int] | None = None) -> Tensor:
        """The part that starts at coords, of shape dims; without dims, all that lies behind these leading axes."""
        if dims is None:
            return Tensor(np.array(self._look()[tuple(coords)]))
        return Tensor(np.array(self._look()[tuple(slice(c, c + d) for c, d in zip(coords, dims, strict=True))]))


class Gradient(Tensor):
    """The gradient of a tensor.  What was written by hand, or by a loss, is where a backward pass may start.

    collected: what backward passes have added since; None where nothing.
    """

    def __init__(self, owner: Tensor) -> None:
        super().__init__(dims=owner._dims, kind=owner._kind)
        self._owner = owner
        self._backend, self._place = owner._backend, owner._place
        self._given: Any = None  # None: zeros, or `self` as it stands
        self._by_hand = False
        self._collected: Any = None
        self._touched = False  # somebody asked for it, so backward passes give it

    def _written(self) -> None:
        self._by_hand, self._collected = True, None

    def _in_host(self) -> np.ndarray:
        self._materialise()
        return super()._in_host()

    def _look(self) -> np.ndarray:
        self._materialise()
        return super()._look()

    def array(self) -> Any:
        self._materialise()
        return super().array()

    def _materialise(self) -> None:
        if self._promise is None and self._host is None and self._device is None:
            self._dims, self._kind = self._owner._dims, self._owner._kind
            self._host = np.zeros(self._dims, self._kind)

    def set_to_zero(self) -> None:
        """Zeros, without computing anything until somebody looks."""
        self._by_hand, self._given, self._collected = False, None, None
        if self._host is not None and self._is_viewed() and self._host.shape == self._owner._dims:
            self._host[...] = 0
            self._device = self._promise = None
            return
        self._host = self._device = self._promise = None
        self._dims, self._kind = self._owner._dims, self._owner._kind

    def is_zero(self) -> bool:
        """Known to be zero without looking."""
        return self._host is None and self._device is None and self._promise is None

    def seed(self, array: Any) -> None:
        """A loss writes where the backward pass starts; it overwrites."""
        self.put(array)
        self._by_hand, self._collected = True, None

    def start(self) -> Any:
        """What a backward pass starts from here, or None.

        A view that is alive may have been written through at any time, so its buffer counts as written by hand.
        """
        viewed = self._host is not None and self._is_viewed()
        if self._by_hand or (viewed and self._collected is None and np.any(self._host)):
            self._given, self._by_hand = self.array(), False
        return self._given

    def collect(self, array: Any, total: Any) -> None:
        """A backward pass has added `array`; the sum is `total`."""
        self._collected = array
        self.put(total)


def _copy_of(data: Any) -> np.ndarray:
    if isinstance(data, Tensor):
        return np.array(data._look())
    if isinstance(data, list | tuple) or not (
        hasattr(data, "__array__") or hasattr(data, "__array_interface__") or isinstance(data, int | float | bool)
    ):
        raise TensorTypeError(
            f"a Tensor is made of a NumPy array, got {type(data).__name__}: Unsupported python type; "
            f"write Tensor(np.array(...))"
        )
    array = np.array(np.asarray(data))  # torch tensors know no copy keyword
    if array.dtype == object:
        raise TensorTypeError("a Tensor is made of numbers; this array holds Python objects")
    of_numpy_dtype(array.dtype)
    return array


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
