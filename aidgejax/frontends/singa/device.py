"""singa.device: where tensors live.  A Device is one of JAX's, with SINGA's methods and a stream of random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ...execution.devices import no_gpu
from .._shared.traced_step import Stored, concretely, is_tracing
from ._errors import NoDevice


def reason(error: Exception, arrays: Mapping[str, Any]) -> str:
    """The first line of what JAX says; for arrays of several devices where each lies, and what to do."""
    if "incompatible devices" not in str(error):
        return str(error).splitlines()[0]
    places = {
        name: "+".join(sorted(f"{d.platform}:{d.id}" for d in a.devices()))
        for name, a in arrays.items()
        if isinstance(a, jax.Array)
    }
    where = ", ".join(f"{name} lies on {place}" for name, place in places.items())
    return f"{where}: an operation runs on one device, so bring them there with t.to_device(dev)"


class Device:
    """One of JAX's devices.  jax_device None: whichever JAX takes by default."""

    def __init__(self, platform: str | None = None, index: int = -1) -> None:
        self._platform, self._index = platform, index
        self._graph, self._verbosity = False, 0
        self._root: Any = None
        self._drawn, self._stream = 0, Stored()

    # ---- what the rest of this front end asks ----

    def place(self, array: Any) -> Any:
        """The array on this device."""
        return array if self._platform is None else jax.device_put(array, self.jax_device)

    @property
    def jax_device(self) -> Any:
        """JAX's own device."""
        return jax.devices(self._platform)[self._number]

    @property
    def _number(self) -> int:
        return max(self._index, 0)

    def key(self) -> Any:
        """A fresh PRNG key; within a compiled step the stream is carried from call to call."""
        if is_tracing():
            if self._stream.held is None:
                with concretely():
                    self._stream.held = self.key()
            self._stream.array, now = jax.random.split(self._stream.array)
            return now
        if self._root is None:
            self._root = jax.random.key(int(np.random.default_rng().integers(2**31)))
        self._drawn += 1
        return jax.random.fold_in(self._root, self._drawn)

    # ---- SINGA's methods ----

    def SetRandSeed(self, seed: int) -> None:
        """The same seed gives the same numbers again."""
        with concretely():
            self._root, self._drawn = jax.random.key(int(seed)), 0
            if self._stream.held is not None:
                self._stream.held = jax.random.fold_in(self._root, 0)

    def id(self) -> int:
        return self._index

    def EnableGraph(self, enabled: bool) -> None:
        self._graph = bool(enabled)

    def graph_enabled(self) -> bool:
        return self._graph

    def Sync(self) -> None:
        """Wait for what was sent to the device."""
        jax.effects_barrier()

    def SetVerbosity(self, verbosity: int) -> None:
        self._verbosity = int(verbosity)

    def RunGraph(self, sequential: bool = False) -> None:
        """Nothing to do: a compiled step runs when the model is called."""

    def ResetGraph(self) -> None:
        """Nothing to do: a model forgets its compiled steps in `compile`."""

    def Reset(self) -> None:
        self.ResetGraph()

    def SetSkipIteration(self, iterations: int) -> None:
        """Nothing to do: there is no warm-up to leave out of a profile."""

    def PrintTimeProfiling(self) -> None:
        """Times per operation do not exist in a fused program; `jax.profiler.trace` records what there is."""
        print("aidgejax: a step is one fused program; use jax.profiler.trace to see where its time goes")

    def lang(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"<Device {self._platform or 'default'} {self._index}>"


_default = Device()
enable_flag = False


def get_default_device() -> Device:
    """JAX's default device; its id is -1, as SINGA's."""
    return _default


def bring_together(tensors: Any) -> None:
    """Tensors that lie elsewhere go to the device of the first."""
    first, *others = tensors
    for t in others:
        if t.device.id() != first.device.id():
            t.to_device(first.device)


def create_cpu_device() -> Device:
    """The processor."""
    return _default if jax.default_backend() == "cpu" else Device("cpu", -1)


def create_cuda_gpu(set_default: bool = True) -> Device:
    """The first GPU."""
    return create_cuda_gpu_on(0, set_default)


def create_cuda_gpu_on(device_id: int, set_default: bool = True) -> Device:
    """The GPU of this number.  Raises NoDevice, an AssertionError, naming the platforms there are."""
    return create_cuda_gpus_on([device_id])[0]


def create_cuda_gpus(num: int) -> list[Device]:
    """The first `num` GPUs."""
    return create_cuda_gpus_on(range(num))


def create_cuda_gpus_on(device_ids: Any) -> list[Device]:
    """The GPUs of these numbers."""
    try:
        found = len(jax.devices("gpu"))
    except RuntimeError:
        there = sorted({d.platform for d in jax.devices()})
        raise NoDevice(
            f"there is no GPU that JAX can use here; its platforms are {', '.join(there)}; {no_gpu()}. "
            f"Take device.get_default_device()"
        ) from None
    wrong = [i for i in device_ids if not 0 <= i < found]
    if wrong:
        raise NoDevice(f"there is no GPU number {', '.join(map(str, wrong))}: JAX has {found}, counted from 0")
    return [Device("gpu", i) for i in device_ids]


def create_opencl_device() -> Device:
    raise NoDevice("JAX has no OpenCL; take device.get_default_device() or device.create_cuda_gpu()")


def enable_lazy_alloc(enable: bool) -> None:
    """Accepted; JAX allocates when it computes."""
    global enable_flag
    enable_flag = bool(enable)


def get_gpu_ids() -> list[int]:
    """The numbers of the GPUs that JAX can use."""
    return list(range(get_num_gpus()))


def get_gpu_mem_size(device_id: int) -> tuple[int, int]:
    """(free bytes, all bytes) that JAX may use on a GPU."""
    (gpu,) = create_cuda_gpus_on([device_id])
    stats = gpu.jax_device.memory_stats() or {}
    limit = int(stats.get("bytes_limit", 0))
    return limit - int(stats.get("bytes_in_use", 0)), limit


def device_query(device_id: int, verbose: bool = False) -> str:
    """The name of a GPU; printed too with verbose."""
    (gpu,) = create_cuda_gpus_on([device_id])
    text = f"{gpu.jax_device.device_kind} (number {device_id})"
    if verbose:
        print(text)
    return text


def get_num_opencl_platforms() -> int:
    """0: JAX has no OpenCL."""
    return 0


def get_num_opencl_devices() -> int:
    """0: JAX has no OpenCL."""
    return 0


def get_num_gpus() -> int:
    try:
        return len(jax.devices("gpu"))
    except RuntimeError:
        return 0
