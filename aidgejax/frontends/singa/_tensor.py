"""Tensor: an array with a place on a tape."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...training import fillers
from .._shared.traced_step import is_tracing
from ._ctensor import DTYPES, CTensor, dtype_number, kBFloat16, kFloat16, kFloat32, kInt, raw
from ._errors import BadIndex, BadSetting, BadType, DoesNotFit, NotATensor, NotFilled, Unsupported
from ._tensor_arithmetic import Arithmetic
from .device import Device, create_cpu_device, get_default_device, reason

float32, float16, int32, bfloat16 = kFloat32, kFloat16, kInt, kBFloat16
_names = itertools.count()
_leaf: list[Callable[[Any], Any]] = []


def makes_leaves(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorates what makes the creator of a tensor that no operation made; it stands with the tape, above this."""
    _leaf[:] = [function]
    return function


def leaf_creator(tensor: Tensor) -> Any:
    return _leaf[0](tensor)


class Tensor(Arithmetic):
    """An array with a place on a tape.

    shape or data: its sizes, to be filled, or its contents (copied).  dtype: tensor.float32, int32 or float16.
    requires_grad: a gradient may pass to what it was made from; stores_grad: `autograd.backward` yields its gradient.
    creator: the operation that made it (a Dummy where none did).
    stores_grad=True with requires_grad=False is accepted, as in SINGA: the gradient is yielded if another input of the
    same operation requires one, otherwise not.
    """

    tensor_count = 0
    _transposed = False

    def __init__(
        self,
        shape: Any = (),
        device: Device | None = None,
        dtype: Any = float32,
        data: Any = None,
        requires_grad: bool = True,
        stores_grad: bool = False,
        creator: Any = None,
        name: str | None = None,
    ) -> None:
        if device is not None and not isinstance(device, Device):
            raise BadType(f"Tensor: device is {device!r}; expected one of singa.device's, or None")
        self.device = device or get_default_device()
        self._label = name
        self.requires_grad, self.stores_grad = requires_grad, stores_grad
        self._creator = creator
        self.data = self._made(shape, dtype, data)

    def _made(self, shape: Any, dtype: Any, data: Any) -> CTensor:
        if isinstance(data, CTensor):
            return data
        if data is None:
            return CTensor(shape, self.device, dtype)
        if isinstance(data, Tensor):
            data = data.data.array
        made = CTensor(device=self.device, array=self.device.place(_converted(data, dtype, self.name)))
        made.host = _kept(data)
        return made

    # ---- what it is -----------------------------------------------------------------------------------

    @property
    def data(self) -> CTensor:
        """The raw tensor below; assign one, or an array, to replace it."""
        return self._data

    @data.setter
    def data(self, new: Any) -> None:
        self._data = new if isinstance(new, CTensor) else CTensor(device=self.device, array=jnp.asarray(raw(new)))
        self._data.label = repr(self._label) if self._label else ""

    @property
    def name(self) -> str:
        if self._label is None:
            self._label = f"Dummy#{next(_names)}"
        return self._label

    @name.setter
    def name(self, name: str | None) -> None:
        self._label = name
        self._data.label = repr(name) if name else ""

    @property
    def creator(self) -> Any:
        if self._creator is None:
            self._creator = leaf_creator(self)
        return self._creator

    @creator.setter
    def creator(self, creator: Any) -> None:
        self._creator = creator

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape()

    @property
    def dtype(self) -> int:
        return self.data.data_type()

    @property
    def array(self) -> jax.Array:
        """The jax.Array inside."""
        return self.data.array

    def is_dummy(self) -> bool:
        return re.fullmatch(r"Dummy#\d+", self.name) is not None

    def ndim(self) -> int:
        return len(self.shape)

    def size(self) -> int:
        return math.prod(self.shape)

    def memsize(self) -> int:
        return self.data.MemSize()

    def is_empty(self) -> bool:
        return self.ndim() == 0 or self.size() == 0

    def is_transpose(self) -> bool:
        """Was it made by T() or transpose()?  Its data are laid out anew all the same."""
        return self._transposed

    def l1(self) -> float:
        """The sum of absolute values divided by the size."""
        return float(jnp.sum(jnp.abs(self.array)) / self.size())

    def l2(self) -> float:
        """The Euclidean norm divided by the size."""
        return float(jnp.linalg.norm(self.array.reshape(-1)) / self.size())

    def __repr__(self) -> str:
        inside = f"\n{to_numpy(self)}" if self.data.filled and not is_tracing() else " (not filled)"
        return f"<Tensor {self.name}: {DTYPES[self.dtype]}{list(self.shape)}>{inside}"

    __str__ = __repr__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(to_numpy(self), dtype)

    # ---- filling in place, each returns the tensor ----------------------------------------------------

    def _fill(self, array: Any) -> Tensor:
        self.data.array = self.device.place(array.astype(DTYPES[self.dtype]))
        return self

    def set_value(self, x: Any, inplace: bool = True) -> Tensor:
        """Every element becomes the number x; or, from an array, its own."""
        _only_in_place(inplace)
        if np.ndim(raw(x)) > 0:
            self.copy_from_numpy(np.asarray(raw(x)))
            return self
        return self._fill(jnp.full(self.shape, raw(x), DTYPES[self.dtype]))

    def gaussian(self, mean: float, std: float, inplace: bool = True) -> Tensor:
        _only_in_place(inplace)
        return self._fill(fillers.normal(self.device.key(), self.shape, mean, std))

    def uniform(self, low: float, high: float, inplace: bool = True) -> Tensor:
        _only_in_place(inplace)
        return self._fill(fillers.uniform(self.device.key(), self.shape, low, high))

    def bernoulli(self, p: float, inplace: bool = True) -> Tensor:
        """1 with probability p, else 0."""
        _only_in_place(inplace)
        return self._fill(jax.random.bernoulli(self.device.key(), float(p), self.shape))

    def copy_from_numpy(self, np_array: Any, offset: int = 0) -> None:
        """Take the values of an array of as many elements; the shape stays."""
        if not isinstance(np_array, np.ndarray):
            raise NotATensor(f"tensor {self.name}: copy_from_numpy takes a numpy array, got {type(np_array).__name__}")
        if offset or np_array.size != self.size():
            raise DoesNotFit(
                f"tensor {self.name} of shape {list(self.shape)}: tensor shape should be the same, got an "
                f"array of shape {list(np_array.shape)}{f' at offset {offset}' if offset else ''}"
            )
        array = _converted(np_array.reshape(self.shape), self.dtype, self.name)
        self.data.array = self.device.place(array)
        self.data.host = _kept(np_array)

    def copy_data(self, t: Tensor) -> None:
        """Take the values of another tensor."""
        if not isinstance(t, Tensor):
            raise NotATensor(f"tensor {self.name}: t should be a singa Tensor, got {type(t).__name__}")
        self.data.array = t.array

    def copy_from(self, t: Any, offset: int = 0) -> None:
        """Take the values of a tensor or an array."""
        if isinstance(t, Tensor):
            self.copy_data(t)
        elif isinstance(t, np.ndarray):
            self.copy_from_numpy(t)
        else:
            raise DoesNotFit(f"tensor {self.name}: t should be Tensor or numpy array., got {type(t).__name__}")

    def to_device(self, device: Device) -> Tensor:
        self.device = device
        self.data.ToDevice(device)
        return self

    def to_host(self) -> Tensor:
        return self.to_device(create_cpu_device())

    def to_type(self, dtype: Any) -> Tensor:
        if self.data.filled:
            self.data.array = self.array.astype(DTYPES[dtype_number(dtype)])
        else:
            self.data = CTensor(self.shape, self.device, dtype)
        return self

    def reset_like(self, t: Tensor) -> None:
        """Become a tensor of zeros with the shape and dtype of t."""
        self.device = t.device
        self.data = CTensor(t.shape, t.device, t.dtype, jnp.zeros(t.shape, DTYPES[t.dtype]))

    def as_type(self, dtype: Any) -> Tensor:
        """A copy with this dtype: 'int', 'float', or one of this module's."""
        if dtype not in ("int", "float", *DTYPES):
            raise BadType(
                f"tensor {self.name}: invalid data type {dtype!r}; expected 'int', 'float', or one of "
                f"tensor.float32, tensor.int32, tensor.float16"
            )
        return from_raw_tensor(self.data.AsType(dtype_number(dtype)))

    # ---- new tensors ----------------------------------------------------------------------------------

    def clone(self) -> Tensor:
        """A tensor with the same contents; its flags are the defaults."""
        return Tensor(device=self.device, data=self.data.Clone(), name=self._label)

    def deepcopy(self) -> Tensor:
        return self.clone()

    def copy(self) -> Tensor:
        """Another Tensor over the same raw tensor: what is written into one is read in the other."""
        return Tensor(device=self.device, data=self.data)

    def contiguous(self) -> Tensor:
        return self.clone()

    def transpose(self, axes: Any = None) -> Tensor:
        made = _new(jnp.transpose, self, axes=None if axes is None else tuple(axes))
        made._transposed = True
        return made

    def T(self) -> Tensor:
        return self.transpose()

    def reshape(self, shape: Any) -> Tensor:
        """The same elements in another shape; one size may be -1."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if math.prod(shape) != self.size() and -1 not in shape:
            raise DoesNotFit(
                f"tensor {self.name} of shape {list(self.shape)}: product of shape should be equal, got {list(shape)}"
            )
        return _new(jnp.reshape, self, shape=shape)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Each element, or each slice of an axis, again and again, as numpy.repeat."""
        counts = [repeats] if isinstance(repeats, int) else repeats
        if not all(isinstance(k, int) for k in counts):
            raise BadType(f"repeat: repeats is {repeats!r}; expected an integer or a list of them")
        if any(k < 0 for k in counts):
            raise BadSetting(f"repeat: 'repeats' should not be negative: {repeats}")
        length = self.size() if axis is None else self.shape[axis]
        return _new(
            jnp.repeat,
            self,
            repeats=repeats if isinstance(repeats, int) else jnp.asarray(repeats),
            axis=axis,
            total_repeat_length=None
            if isinstance(repeats, int)
            else (sum(counts) if len(counts) == length else counts[0] * length),
        )

    def __getitem__(self, at: Any) -> Tensor:
        """Rows, columns, slices; an integer keeps its axis, of size 1."""
        at = at if isinstance(at, tuple) else (at,)
        if len(at) > self.ndim() or not all(isinstance(k, int | np.integer | slice) for k in at):
            raise BadIndex(
                f"tensor {self.name} of shape {list(self.shape)}: Invalid Index {at!r}; expected an integer "
                f"or a slice for each axis"
            )
        found = []
        for k, d in zip(at, self.shape, strict=False):
            if not isinstance(k, slice):
                if not -d <= k < d:
                    raise BadIndex(f"tensor {self.name} of shape {list(self.shape)}: Invalid Index {k}")
                k = slice(k % d, k % d + 1)
            found.append(k)
        return _wrap(self.array[tuple(found)], self.device)

    @staticmethod
    def computed(function: Any, *xs: Any, **options: Any) -> Tensor:
        """function of the arrays of tensors and of numbers, as a Tensor.  Raises DoesNotFit with their names."""
        return _new(function, *xs, **options)

    def __float__(self) -> float:
        return float(self.array.reshape(()))

    def __deepcopy__(self, memo: dict) -> Tensor:
        return self.clone()


# ---- inside -------------------------------------------------------------------------------------------


def _converted(data: Any, dtype: Any, name: str) -> jax.Array:
    """A copy of the values as an array of this dtype."""
    wanted = DTYPES[dtype_number(dtype)]
    if isinstance(data, jax.Array):
        return data.astype(wanted)
    try:
        found = np.asarray(data)
        if found.dtype.kind not in "biufV":
            raise TypeError
        return jnp.array(found.astype(jnp.dtype(wanted)))
    except (TypeError, ValueError):
        raise BadType(
            f"tensor {name}: its data are numbers, in an array or a list, got "
            f"{type(data).__name__}{f' of dtype {data.dtype}' if hasattr(data, 'dtype') else ''}"
        ) from None


def _kept(data: Any) -> np.ndarray | None:
    """A copy of what may be labels: one number for each of some thousand rows."""
    small = not isinstance(data, jax.Array) and np.ndim(data) in (1, 2) and np.size(data) <= 1 << 14
    return np.array(data) if small else None


def _only_in_place(inplace: bool) -> None:
    if not inplace:
        raise Unsupported("a tensor is filled in place; clone it first to keep it")


def _wrap(array: Any, device: Device) -> Tensor:
    if array.dtype == bool:
        array = array.astype("float32")
    return Tensor(device=device, data=CTensor(device=device, array=array))


def _new(function: Any, *xs: Any, **options: Any) -> Tensor:
    """function of tensors and numbers, as a Tensor; what does not fit raises with their names."""
    device = next(x.device for x in xs if isinstance(x, Tensor))
    try:
        return _wrap(function(*map(raw, xs), **options), device)
    except NotFilled:
        raise
    except (TypeError, ValueError, IndexError) as e:
        shown = ", ".join(
            f"{x.name}:{DTYPES[x.dtype]}{list(x.shape)}" if isinstance(x, Tensor) else repr(x) for x in xs
        )
        why = reason(e, {x.name: x.array for x in xs if isinstance(x, Tensor)})
        raise DoesNotFit(f"{function.__name__}({shown}): {why}") from None


def to_numpy(t: Tensor) -> np.ndarray:
    """The contents as a NumPy array of its own.  Raises NotFilled where there are none yet."""
    if not isinstance(t, Tensor):
        raise NotATensor(f"to_numpy takes a Tensor, got {type(t).__name__}")
    if not t.data.filled:
        t.data.label = repr(t.name)
    return np.array(t.array)


def from_numpy(np_array: Any, dev: Device | None = None) -> Tensor:
    """A tensor with the values of an array; float64 becomes float32 and int64 int32."""
    if not isinstance(np_array, np.ndarray):
        raise NotATensor(f"from_numpy: Must input numpy array, got {type(np_array).__name__}")
    if np_array.dtype.kind not in "fiu":
        raise BadType(f"from_numpy: Only float and int tensors are supported, got dtype {np_array.dtype}")
    narrow = {"f": float16 if np_array.dtype == np.float16 else float32}.get(np_array.dtype.kind, int32)
    return Tensor(device=dev, data=np_array, dtype=narrow)


def from_raw_tensor(t: Any) -> Tensor:
    """A Tensor around a raw one."""
    return Tensor(device=t.device() if isinstance(t, CTensor) else None, data=t)


def from_raw_tensors(tt: Any) -> list[Tensor]:
    return [from_raw_tensor(t) for t in tt]
