"""Devices, and tensors that lie on them: tvm.runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ....errors import BackendError
from ....execution import devices
from ..._shared.absent_names import AbsentMembers
from ..._shared.tensor_cell import placed
from .._original_members import MEMBERS
from ..errors import TensorMismatch
from ..target import Target


@dataclass(frozen=True)
class Device(AbsentMembers):
    """`tvm.cpu()`, `tvm.cuda(1)`: the JAX device is looked up when it is first needed."""

    absent_members = MEMBERS["Device"]

    platform: str
    index: int = 0

    @property
    def type(self) -> str:
        """The platform."""
        return self.platform

    def sync(self, stream: Any = None) -> None:
        """Wait for what has been sent to the device."""
        jax.block_until_ready(jax.device_put(0, self.jax))

    @property
    def jax(self) -> Any:
        """The JAX device.  Raises BackendError naming the platforms there are, and how many devices this one has."""
        first = devices.device(self.platform)
        if self.index == 0:
            return first
        there = jax.devices(self.platform)
        if not 0 <= self.index < len(there):
            raise BackendError(f"there is no device {self}; {self.platform} has {len(there)}, counted from 0")
        return there[self.index]

    @property
    def exist(self) -> bool:
        """Whether this machine has the device: TVM's way to ask before it is used."""
        try:
            return self.jax is not None
        except BackendError:
            return False

    def __str__(self) -> str:
        return f"{self.platform}:{self.index}"


def cpu(dev_id: int = 0) -> Device:
    return Device("cpu", dev_id)


def cuda(dev_id: int = 0) -> Device:
    return Device("cuda", dev_id)


def device_from_target(target: Any) -> Device:
    """The first device of a target's platform: "llvm" is the host."""
    return Device((target if isinstance(target, Target) else Target(target)).platform)


class Tensor(AbsentMembers):
    """An array on a device.  `numpy()` copies it to the host; nothing else waits for the device."""

    __slots__ = ("data",)
    absent_members = MEMBERS["Tensor"]

    def __init__(self, data: Any) -> None:
        self.data = data

    def numpy(self) -> np.ndarray:
        return np.asarray(self.data)

    asnumpy = numpy

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> str:
        return self.data.dtype.name

    @property
    def ndim(self) -> int:
        return len(self.data.shape)

    @property
    def device(self) -> Device:
        at = next(iter(self.data.devices()))
        return Device({"gpu": "cuda"}.get(at.platform, at.platform), at.id)

    @property
    def size(self) -> int:
        return int(self.data.size)

    def numel(self) -> int:
        return self.size

    def is_contiguous(self) -> bool:
        return True

    def copyfrom(self, source_array: Any) -> Tensor:
        """Take the numbers of an array of this shape; they are converted to this dtype."""
        array = np.asarray(unwrap(source_array))
        if array.shape != self.shape:
            raise TensorMismatch(f"copyfrom: the tensor has shape {list(self.shape)}, the array {list(array.shape)}")
        self.data = placed(array.astype(self.data.dtype), self.device.jax)
        return self

    def copyto(self, target: Device | Tensor, mem_scope: Any = None) -> Tensor:
        """A copy on a device, or into another tensor."""
        return target.copyfrom(self) if isinstance(target, Tensor) else tensor(self, target)

    def item(self) -> Any:
        return self.numpy().item()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.data, dtype) if copy or dtype is not None else self.numpy()

    def __dlpack__(self, **how: Any) -> Any:
        return self.data.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __float__(self) -> float:
        return float(self.numpy())

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: Any) -> np.ndarray:
        return self.numpy()[at]

    def __repr__(self) -> str:
        return f"<Tensor {self.dtype}{list(self.shape)}, {self.device}>\n{self.numpy()}"


def tensor(arr: Any, device: Device | None = None, mem_scope: Any = None) -> Tensor:
    """The array on a device, in its own dtype; what is written into a NumPy array afterwards does not show in it."""
    return Tensor(placed(unwrap(arr), (device or cpu()).jax))


def empty(shape: Any, dtype: str = "float32", device: Device | None = None, mem_scope: Any = None) -> Tensor:
    """A tensor of zeros, to be filled by copyfrom."""
    shape = (shape,) if isinstance(shape, int) else tuple(int(d) for d in shape)
    return tensor(np.zeros(shape, str(dtype)), device)


def unwrap(array: Any) -> Any:
    """The JAX or NumPy array in it."""
    if isinstance(array, Tensor):
        return array.data
    return array if isinstance(array, jax.Array | np.ndarray) else np.asarray(array)


def check(what: str, array: Any, shape: tuple, dtype: str, sizes: dict[str, int] | None = None) -> Any:
    """The array, if it has this shape and exactly this dtype; sizes: what the symbols stand for so far."""
    array = unwrap(array)
    got = array.dtype.name
    if got != dtype:
        raise TensorMismatch(
            f"{what}: expect Tensor with dtype {dtype} but get {got}; convert it with .astype({dtype!r})"
        )
    if array.ndim != len(shape):
        raise TensorMismatch(
            f"{what}: expect Tensor with ndim {len(shape)} but get {array.ndim}, shape {list(array.shape)}"
        )
    for axis, (n, want) in enumerate(zip(array.shape, shape, strict=True)):
        if isinstance(want, str) and sizes is not None:
            want = sizes.setdefault(want, n)
        if isinstance(want, int) and n != want:
            raise TensorMismatch(
                f"{what}: match_cast error, shape[{axis}] mismatch to specified constant: "
                f"got {n}, expected {want} ({list(array.shape)} for {list(shape)})"
            )
    return array
