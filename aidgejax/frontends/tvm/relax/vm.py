"""Building a module and running its functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import RelaxTypeError, RelaxValueError
from ..runtime import Device
from .compiled import CompiledFunction, LoweredFunction
from .function import IRModule

PLATFORMS = {
    "llvm": "cpu",
    "c": "cpu",
    "cpu": "cpu",
    "cuda": "cuda",
    "gpu": "cuda",
    "rocm": "rocm",
    "tpu": "tpu",
    "metal": "METAL",
}


class Target:
    """tvm.target.Target: names the platform that a module is built for."""

    def __init__(self, name: Any, host: Any = None) -> None:
        self.kind = str(name.get("kind", "llvm") if isinstance(name, dict) else name).split()[0].removeprefix("nvidia/")
        if self.kind not in PLATFORMS:
            raise RelaxValueError(f"no target {self.kind!r}; the targets are {', '.join(PLATFORMS)}")

    @property
    def platform(self) -> str:
        return PLATFORMS[self.kind]

    def __str__(self) -> str:
        return self.kind


class Executable:
    """A built module: every function is lowered, so that what cannot run is refused here.  It is compiled when run."""

    def __init__(self, mod: IRModule, target: Any = None) -> None:
        if not isinstance(mod, IRModule):
            raise RelaxTypeError(f"build takes an IRModule, got {type(mod).__name__}")
        self.mod, self.target = mod, target if isinstance(target, Target) else Target(target or "llvm")
        for function in mod.functions.values():
            LoweredFunction(function.graph, function.result)

    def jit(self) -> Executable:
        return self


def build(mod: IRModule, target: Any = None, params: Any = None, exec_mode: str = "bytecode", **_: Any) -> Executable:
    """tvm.compile and relax.build: a module, ready for a VirtualMachine.  The target names a platform."""
    return Executable(mod, target)


class VirtualMachine:
    """Runs the functions of a built module on a device: `vm["main"](*arrays)`.

    profile: whether Trainer.profile_adjoint may run it node by node.
    """

    def __init__(
        self, rt_mod: Executable, device: Device | Sequence[Device], memory_cfg: Any = None, profile: bool = False
    ) -> None:
        if not isinstance(rt_mod, Executable):
            raise RelaxTypeError(f"a VirtualMachine runs what tvm.compile returns, got {type(rt_mod).__name__}")
        self.device = device if isinstance(device, Device) else list(device)[0]
        self.executable, self.profile_enabled = rt_mod, bool(profile)
        if self.device.platform != rt_mod.target.platform:
            raise RelaxValueError(
                f"the module was built for {rt_mod.target} ({rt_mod.target.platform}), the device is "
                f"{self.device}: build it for that device"
            )
        self.device.jax  # noqa: B018  raises BackendError where the device is not there
        self._functions = {name: f.compiled(self.device) for name, f in rt_mod.mod.functions.items()}

    def __getitem__(self, name: str) -> CompiledFunction:
        if name not in self._functions:
            raise RelaxValueError(f"the module has no function {name!r}; it has {', '.join(self._functions)}")
        return self._functions[name]
