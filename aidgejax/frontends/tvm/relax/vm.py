"""Building a module and running its functions."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from ..._shared.absent_names import AbsentMembers
from .._original_members import MEMBERS
from ..errors import NoFunction, NotBuilt, RelaxTypeError, RelaxValueError
from ..runtime import Device
from ..target import Target
from .compiled import LoweredFunction
from .function import IRModule


class Executable(AbsentMembers):
    """A built module: every function is lowered, so that what cannot run is refused here.  It is compiled when run."""

    absent_members = MEMBERS["Executable"]

    def __init__(self, mod: IRModule, target: Any = None) -> None:
        if not isinstance(mod, IRModule):
            raise RelaxTypeError(f"build takes an IRModule, got {type(mod).__name__}")
        target = target or Target.current() or "llvm"
        self.mod, self.target = mod, target if isinstance(target, Target) else Target(target)
        for function in mod.relax_functions().values():
            LoweredFunction(function.graph, function.result)

    def jit(self) -> Executable:
        return self


def build(
    mod: IRModule,
    target: Any = None,
    params: Mapping[str, Any] | None = None,
    relax_pipeline: Any = "default",
    tir_pipeline: Any = "default",
    exec_mode: str = "bytecode",
    *,
    system_lib: bool | None = None,
) -> Executable:
    """relax.build: a module, ready for a VirtualMachine.  The target names a platform, the pipelines are XLA's work.

    params: {name: array}, which every function that has such a parameter then holds.
    """
    if params:
        mod = mod.copy()
        for name, function in mod.relax_functions().items():
            held = {p.name_hint: params[p.name_hint] for p in function.params if p.name_hint in params}
            mod[name] = function.bind_params(held) if held else function
    return Executable(mod, target)


class VirtualMachine(AbsentMembers):
    """Runs the functions of a built module on a device: `vm["main"](*arrays)`.

    profile: whether Trainer.profile_adjoint may run it node by node.
    """

    absent_members = MEMBERS["VirtualMachine"]

    def __init__(
        self, rt_mod: Executable, device: Device | Sequence[Device], memory_cfg: Any = None, profile: bool = False
    ) -> None:
        if not isinstance(rt_mod, Executable):
            raise NotBuilt(f"a VirtualMachine runs what tvm.compile returns, got {type(rt_mod).__name__}")
        self.device = device if isinstance(device, Device) else list(device)[0]
        self.executable, self.profile_enabled = rt_mod, bool(profile)
        if self.device.platform != rt_mod.target.platform:
            raise RelaxValueError(
                f"the module was built for {rt_mod.target} ({rt_mod.target.platform}), the device is "
                f"{self.device}: build it for that device"
            )
        self.device.jax  # noqa: B018  raises BackendError where the device is not there
        self._functions: dict[str, Callable[..., Any]] = {
            str(name): f.compiled(self.device) for name, f in rt_mod.mod.relax_functions().items()
        }
        self._inputs: dict[str, tuple[Any, ...]] = {}
        self._outputs: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._functions:
            if name in self.executable.mod:
                self.executable.mod[name]()  # a function of TIR, which says what to do
            raise NoFunction(f"the module has no function {name!r}; it has {', '.join(self._functions)}")
        return self._functions[name]

    # ---- with state: inputs set, function invoked, outputs read -------------------------------------------------

    def set_input(self, func_name: str, *args: Any, **kwargs: Any) -> None:
        """What invoke_stateful calls the function with; parameters by position, or by name."""
        function = self[func_name]
        names = [p.name_hint for p in function.params]
        unknown = [k for k in kwargs if k not in names[len(args) :]]
        if unknown or len(args) + len(kwargs) != len(names):
            raise RelaxValueError(
                f"function {func_name!r} takes {len(names)} arguments ({', '.join(names)}); got {len(args)} and "
                f"{', '.join(kwargs) or 'none by name'}"
            )
        self._inputs[func_name] = (*args, *(kwargs[n] for n in names[len(args) :]))

    def invoke_stateful(self, func_name: str) -> None:
        """Call the function with what set_input has set; get_outputs gives the result."""
        function = self[func_name]
        if func_name not in self._inputs:
            raise RelaxValueError(f"call set_input({func_name!r}, ...) before invoke_stateful({func_name!r})")
        self._outputs[func_name] = function(*self._inputs[func_name])

    def get_outputs(self, func_name: str) -> Any:
        """What invoke_stateful has computed."""
        if func_name not in self._outputs:
            raise RelaxValueError(f"call invoke_stateful({func_name!r}) before get_outputs({func_name!r})")
        return self._outputs[func_name]

    def save_function(
        self, func_name: str, saved_name: str, *args: Any, include_return: bool = True, **kwargs: Any
    ) -> None:
        """Keep a call of a function with these arguments as a function of no arguments: `vm[saved_name]()`."""
        self.set_input(func_name, *args, **kwargs)
        held = self._inputs.pop(func_name)
        function = self[func_name]

        def saved() -> Any:
            found = function(*held)
            return found if include_return else None

        self._functions[saved_name] = saved

    def time_evaluator(
        self, func_name: str, dev: Any = None, number: int = 10, repeat: int = 1, **_: Any
    ) -> Callable[..., BenchmarkResult]:
        """A function that calls this one `repeat` times `number` times, after one call that compiles it."""
        function = self[func_name]

        def measured(*args: Any) -> BenchmarkResult:
            jax.block_until_ready(_arrays(function(*args)))
            results = []
            for _ in range(repeat):
                begun = time.perf_counter()
                for _ in range(number):
                    found = function(*args)
                jax.block_until_ready(_arrays(found))
                results.append((time.perf_counter() - begun) / number)
            return BenchmarkResult(tuple(results))

        return measured


class BenchmarkResult:
    """results: seconds of one call, for each repetition."""

    def __init__(self, results: tuple[float, ...]) -> None:
        self.results = results
        self.mean, self.median = statistics.fmean(results), statistics.median(results)
        self.min, self.max = min(results), max(results)
        self.std = statistics.pstdev(results)

    def __repr__(self) -> str:
        return (
            f"BenchmarkResult(min={self.min}, mean={self.mean}, median={self.median}, max={self.max}, std={self.std})"
        )


def _arrays(found: Any) -> list[Any]:
    """The JAX arrays in what a function returns."""
    if isinstance(found, tuple | list):
        return [a for f in found for a in _arrays(f)]
    return [getattr(found, "array", found)]
