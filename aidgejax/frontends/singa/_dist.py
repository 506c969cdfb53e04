"""singa.opt.DistOpt: data-parallel training on all devices of this machine.

SINGA starts a process per GPU and reduces gradients over NCCL.  Here one process holds the model: each batch is laid
over the devices, and XLA adds the gradients up where a program needs them, so what is computed is what one device
would compute for the whole batch.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ._errors import Unsupported
from ._optimizers import SGD


class DistOpt:
    """An optimizer, and the devices over which a model's batches are laid.

    world_size: how many devices (default: all); local_rank and nccl_id belong to a process per GPU and are not needed.
    """

    def __init__(
        self,
        opt: Any = None,
        nccl_id: Any = None,
        local_rank: int | None = None,
        world_size: int | None = None,
        buffSize: int = 4194304,
        devices: Any = None,
    ) -> None:
        self.opt = opt or SGD()
        devices = list(devices or jax.devices())
        if world_size is not None and world_size > len(devices):
            raise Unsupported(
                f"DistOpt: world_size is {world_size}, but JAX has {len(devices)} devices here; for "
                f"several machines start jax.distributed first"
            )
        devices = devices[:world_size] if world_size else devices
        self.world_size, self.local_rank, self.global_rank = len(devices), 0, 0
        self._rows = NamedSharding(Mesh(devices, ("batch",)), PartitionSpec("batch"))

    def __call__(self, loss: Any) -> None:
        self.opt(loss)

    def backward_and_update(self, loss: Any, threshold: int = 2097152) -> None:
        self.opt(loss)

    def place(self, array: Any) -> Any:
        """A batch laid over the devices, by its first axis."""
        if array.ndim == 0 or array.shape[0] % self.world_size:
            return array
        return jax.device_put(array, self._rows)

    def all_reduce(self, tensor: Any) -> None:
        """Nothing to do: gradients are those of the whole batch already."""

    def wait(self) -> None:
        """Nothing to do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("backward_and_"):
            raise Unsupported(
                f"DistOpt.{name} sends part of the gradients, or in half precision, over NCCL; here XLA "
                f"reduces them: call the optimizer with the loss"
            )
        if name == "opt":
            raise AttributeError(name)
        return getattr(self.opt, name)
