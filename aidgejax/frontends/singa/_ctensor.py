"""SINGA's raw tensor: an array with SINGA's names around it, and the numbers that stand for dtypes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from .._shared.traced_step import Stored
from ._errors import BadType, DoesNotFit, NotFilled
from .device import Device, get_default_device

# SINGA's numbers for dtypes (core.proto), and one more for what JAX has besides.
kFloat32, kFloat16, kInt, kChar, kDouble, kUChar, kBFloat16 = range(7)
DTYPES = {
    kFloat32: "float32",
    kFloat16: "float16",
    kInt: "int32",
    kChar: "int8",
    kDouble: "float64",
    kUChar: "uint8",
    kBFloat16: "bfloat16",
}
NUMBERS = {name: number for number, name in DTYPES.items()} | {"int64": kInt, "bool": kFloat32}


class CTensor(Stored):
    """The raw tensor below a Tensor: an array with SINGA's names around it.

    It stands for its array wherever NumPy or JAX take one.  host: a small array that it was filled from, as long as it
    holds that, so that labels can be looked at without waiting for a device.
    """

    __slots__ = ("_device", "_dtype", "_shape", "host", "label")

    def __init__(self, shape: Any = (), device: Any = None, dtype: int = kFloat32, array: Any = None) -> None:
        super().__init__(array)
        self._shape, self._dtype = _sizes(shape), dtype_number(dtype)
        if array is not None:
            self._shape, self._dtype = tuple(np.shape(array)), dtype_number(jnp.result_type(array))
        self._device: Device | None = device
        self.label = ""
        self.host: np.ndarray | None = None

    @property
    def array(self) -> Any:
        found = self.read()
        if found is None:
            raise NotFilled(
                f"tensor {self.label or '(unnamed)'} of shape {list(self._shape)} is read, but nothing has "
                f"been written into it: fill it with set_value, gaussian, uniform or copy_from_numpy"
            )
        return found

    @array.setter
    def array(self, new: Any) -> None:
        self.write(new)
        self.host = None
        self._shape, self._dtype = tuple(np.shape(new)), dtype_number(jnp.result_type(new))

    # ---- SINGA's names ----

    def shape(self) -> tuple[int, ...]:
        return self._shape

    def data_type(self) -> int:
        return self._dtype

    def device(self) -> Any:
        if self._device is None:
            self._device = get_default_device()
        return self._device

    def nDim(self) -> int:
        return len(self._shape)

    def Size(self) -> int:
        return int(np.prod(self._shape, dtype=np.int64))

    def MemSize(self) -> int:
        return self.Size() * np.dtype(jnp.dtype(DTYPES[self._dtype])).itemsize

    def initailized(self) -> bool:
        return self.filled

    def GetFloatValue(self, n: int) -> np.ndarray:
        return np.asarray(self.array, np.float32).reshape(-1)[:n]

    def GetIntValue(self, n: int) -> np.ndarray:
        return np.asarray(self.array, np.int32).reshape(-1)[:n]

    def CopyFloatDataFromHostPtr(self, values: Any) -> None:
        self._copy_from(values, np.float32)

    def CopyIntDataFromHostPtr(self, values: Any) -> None:
        self._copy_from(values, np.int32)

    def _copy_from(self, values: Any, dtype: Any) -> None:
        values = np.asarray(values, dtype)
        if values.size != self.Size():
            raise DoesNotFit(f"raw tensor of shape {list(self._shape)} takes {self.Size()} numbers, got {values.size}")
        self.array = jnp.array(values.reshape(self._shape))

    def CopyData(self, other: CTensor) -> None:
        self.array = other.array

    def SetFloatValue(self, x: float) -> None:
        self.array = jnp.full(self._shape, x, DTYPES[self._dtype])

    SetIntValue = SetFloatValue

    def Clone(self, device: Any = None) -> CTensor:
        return CTensor(self._shape, device or self._device, self._dtype, self.array)

    def Reshape(self, shape: Any) -> None:
        self.array = jnp.reshape(self.array, tuple(shape))

    def ToHost(self) -> None:
        pass

    def ToDevice(self, device: Any) -> None:
        self._device = device
        if self.filled:
            self.array = device.place(self.array)

    def AsType(self, dtype: Any) -> CTensor:
        return CTensor(self._shape, self._device, dtype, self.array.astype(DTYPES[dtype_number(dtype)]))

    # ---- standing for its array ----

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.array, dtype)

    def __jax_array__(self) -> Any:
        return self.array

    def __repr__(self) -> str:
        return f"<CTensor {DTYPES[self._dtype]}{list(self._shape)}{'' if self.filled else ', not filled'}>"

    def __getitem__(self, at: Any) -> Any:
        return self.array[at]

    def __neg__(self) -> Any:
        return -self.array

    def __pow__(self, n: Any) -> Any:
        return self.array ** raw(n)

    def __matmul__(self, other: Any) -> Any:
        return self.array @ raw(other)

    def __add__(self, other: Any) -> Any:
        return self.array + raw(other)

    def __sub__(self, other: Any) -> Any:
        return self.array - raw(other)

    def __rsub__(self, other: Any) -> Any:
        return raw(other) - self.array

    def __mul__(self, other: Any) -> Any:
        return self.array * raw(other)

    def __truediv__(self, other: Any) -> Any:
        return self.array / raw(other)

    def __rtruediv__(self, other: Any) -> Any:
        return raw(other) / self.array

    __radd__, __rmul__ = __add__, __mul__


def raw(x: Any) -> Any:
    """The array inside whatever was given: a Tensor, a CTensor, an array or a number."""
    if isinstance(x, CTensor):
        return x.array
    inside = getattr(x, "data", None)
    return inside.array if isinstance(inside, CTensor) else x


def dtype_number(dtype: Any) -> int:
    """SINGA's number for a dtype given as its number, by name or as NumPy's."""
    if isinstance(dtype, int) and not isinstance(dtype, bool):
        if dtype in DTYPES:
            return dtype
    else:
        try:
            name = jnp.dtype(
                {"float": "float32", "int": "int32"}.get(dtype, dtype) if isinstance(dtype, str) else dtype
            ).name
        except TypeError:
            name = None
        if name in NUMBERS:
            return NUMBERS[name]
    raise BadType(
        f"dtype {dtype!r}: expected tensor.float32, tensor.int32 or tensor.float16 (or {', '.join(DTYPES.values())})"
    )


def _sizes(shape: Any) -> tuple[int, ...]:
    try:
        return (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(d) for d in shape)
    except (TypeError, ValueError):
        raise DoesNotFit(f"a shape is a tuple of sizes, got {shape!r}") from None
