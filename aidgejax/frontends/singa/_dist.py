"""singa.opt.DistOpt: data-parallel training on all devices of this machine.

SINGA starts a process per GPU and reduces gradients over NCCL.  Here one process holds the model: each batch is laid
over the devices, and XLA adds the gradients up where a program needs them, so what is computed is what one device
would compute for the whole batch.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp

from ...training.parallel import data_parallel, nearest
from ...training.placed_arrays import put
from .._shared.absent_names import absent_name
from ._errors import Unsupported
from ._operation import backward
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
        self._warned: set[str] = set()
        self.world_size, self.local_rank, self.global_rank = len(devices), 0, 0
        self.placement = data_parallel(devices)

    def __call__(self, loss: Any) -> None:
        self._check_devices(loss)
        self.opt(loss)

    def backward_and_update(self, loss: Any, threshold: int = 2097152) -> None:
        self(loss)

    def place(self, array: Any) -> Any:
        """A batch laid over the devices, by its first axis; whole on each, after a warning, where they do not divide
        that."""
        rows = array.shape[0] if array.ndim else 0
        if rows % self.world_size:
            self._warn(
                f"a batch of {rows} rows cannot be split over {self.world_size} devices, so each of them computes all "
                f"of it: take {nearest(rows, self.world_size)} rows"
            )
        split = array.ndim > 0 and rows % self.world_size == 0
        return put(array, self.placement.by_rows() if split else self.placement.everywhere)

    def all_reduce(self, tensor: Any) -> None:
        """Nothing to do: gradients are those of the whole batch already."""

    def wait(self) -> None:
        """Nothing to do."""

    # ---- forms that save on what is sent between processes: nothing is sent here, so each is the plain update ----

    def backward_and_update_half(
        self, loss: Any, threshold: int = 2097152, clipping: bool = False, clip_Value: float = 100
    ) -> None:
        """Backward and update; clipping: with every element of the gradients kept within clip_Value."""
        self._as_plain("backward_and_update_half", "gradients in half precision")
        if not clipping:
            self(loss)
            return
        self._check_devices(loss)
        for p, g in backward(loss):
            g.data = jnp.clip(g.array, -clip_Value, clip_Value)
            self.opt.apply(p.name, p, g)
        self.opt.step()

    def backward_and_partial_update(self, loss: Any, threshold: int = 2097152) -> None:
        """Backward and update of all parameters."""
        self._as_plain("backward_and_partial_update", "the gradients of some parameters in turn")
        self(loss)

    def backward_and_sparse_update(self, loss: Any, spars: float = 0.05, topK: bool = False, corr: bool = True) -> None:
        """Backward and update with whole gradients."""
        self._as_plain("backward_and_sparse_update", "the largest elements of the gradients")
        self(loss)

    def update(self, param: Any, grad: Any) -> None:
        """One parameter's update, as the optimizer's own."""
        self.opt.update(param, grad)

    def sparsification(self, tensor: Any, accumulation: Any, spars: float, topK: bool) -> None:
        """Nothing to do, as for all_reduce."""

    def fused_sparsification(self, tensor: Any, accumulation: Any, spars: float, topK: bool) -> None:
        """Nothing to do, as for all_reduce."""

    def fused_all_reduce(self, tensor: Any, send: bool = True) -> None:
        """Nothing to do, as for all_reduce."""

    all_reduce_half, fused_all_reduce_half = all_reduce, fused_all_reduce

    def _as_plain(self, name: str, what: str) -> None:
        self._warn(
            f"DistOpt.{name} sends {what} between processes in SINGA; here one process holds the model and nothing is "
            f"sent, so it is the plain update"
        )

    def _check_devices(self, loss: Any) -> None:
        """A loop without a compiled model runs where its tensors are, whatever devices this was made for."""
        array = loss.data.array
        alone = not isinstance(array, jax.core.Tracer) and len(array.sharding.device_set) == 1
        if alone and self.world_size > 1:
            self._warn(
                f"DistOpt has {self.world_size} devices, and this step runs on one: it is a model's compiled step that "
                f"lays its batch over them, Model.compile(..., use_graph=True)"
            )

    def _warn(self, text: str) -> None:
        """Once for each text."""
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(text, stacklevel=4)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "opt":
            raise AttributeError(name)
        if name == "communicator":
            raise absent_name(
                "singa.opt.DistOpt", name, {name: "one process holds all devices, and XLA adds gradients up"}
            )
        return getattr(self.opt, name)
