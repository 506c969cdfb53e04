"""Building a module and running its functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from ....interpreter.evaluate import Evaluator
from ....interpreter.shape_inference import infer_shapes
from ....ops import lookup
from ....passes.mode import normalized
from ..errors import RelaxTypeError, RelaxValueError
from ..runtime import Device, Tensor, check, cpu
from .expr import TupleType
from .function import Function, IRModule, flat, refill

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


class LoweredFunction:
    """A Function as a pure function of its arrays, one after the other: call it inside a program that is compiled."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.graph = infer_shapes(normalized(function.graph))
        self.results = flat(function.result)
        self.is_random = any(lookup(n.op).random for n in self.graph.nodes)
        self.walker = Evaluator(self.graph, "NHWC")

    def __call__(self, arrays: Sequence[Any], key: Any = None) -> list[Any]:
        env = dict(zip(self.graph.inputs, map(jnp.asarray, arrays), strict=True)) | self.graph.constants
        found = self.walker(env, key, self.results)
        return [jnp.asarray(found.in_graph_layout(r)) for r in self.results]


class CompiledFunction:
    """A Function that is compiled at its first call, once per shapes; takes and returns Tensors."""

    def __init__(self, function: Function, device: Device | None = None) -> None:
        self.function, self._device = function, device or cpu()

    @cached_property
    def lowered(self) -> LoweredFunction:
        return LoweredFunction(self.function)

    @cached_property
    def _jitted(self) -> Any:
        return jax.jit(self.lowered)

    def __call__(self, *args: Any, key: Any = None) -> Any:
        params = self.function.params
        if len(args) != len(params):
            raise RelaxValueError(
                f"function {self.function.name!r} takes {len(params)} arguments "
                f"({', '.join(p.name_hint for p in params)}), got {len(args)}"
            )
        sizes: dict[str, int] = {}
        arrays = [
            a
            for p, given in zip(params, args, strict=True)
            for a in self._checked(p.name_hint, p.struct_info, given, sizes)
        ]
        with jax.enable_x64(True):
            arrays = jax.device_put(arrays, self._device.jax)
            found = self._jitted(arrays, key)
        return refill(self.function.result, map(Tensor, found))

    def _checked(self, what: str, type_: Any, given: Any, sizes: dict[str, int]) -> list[Any]:
        if isinstance(type_, TupleType):
            if not isinstance(given, tuple | list) or len(given) != len(type_.fields):
                raise RelaxTypeError(
                    f"function {self.function.name!r}, argument {what}: expected a tuple of "
                    f"{len(type_.fields)}, got {_described(given)}"
                )
            return [
                a
                for k, (t, g) in enumerate(zip(type_.fields, given, strict=True))
                for a in self._checked(f"{what}[{k}]", t, g, sizes)
            ]
        return [
            check(f"function {self.function.name!r}, argument {what}: {type_}", given, type_.shape, type_.dtype, sizes)
        ]


def _described(given: Any) -> str:
    return f"{type(given).__name__} of {len(given)}" if isinstance(given, tuple | list) else type(given).__name__


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
            LoweredFunction(function)

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
        self._functions = {name: CompiledFunction(f, self.device) for name, f in rt_mod.mod.functions.items()}

    def __getitem__(self, name: str) -> CompiledFunction:
        if name not in self._functions:
            raise RelaxValueError(f"the module has no function {name!r}; it has {', '.join(self._functions)}")
        return self._functions[name]
