"""The base of every layer: torch.nn.Module where torch is in use, a small module of our own otherwise.

torch is never imported here: once it has been imported by somebody else, `adopt_torch` puts torch.nn.Module under
`Module`, for all layers that there are and will be.  What goes into a layer decides what comes out: a tensor gives a
tensor with autograd, an array an array.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .....errors import BackendError
from .....execution.devices import no_gpu
from ...exceptions import ArgumentTypeError, ModuleError, TileError

ON_ADOPTION: list[Callable[[Any], None]] = []
"""What else becomes torch's then: called with the module torch; see on_adoption."""

_MADE: weakref.WeakSet[Any] = weakref.WeakSet()


def torch_in_use() -> Any:
    """The module torch, if somebody has imported it; None otherwise."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and hasattr(torch, "nn") and hasattr(torch.nn, "Module") else None


def check_module(what: str, found: Any, *attributes: str) -> None:
    """ArgumentTypeError that names `what` unless it is a module, with these attributes."""
    absent = [name for name in ("named_children", *attributes) if not hasattr(found, name)]
    if absent:
        wanted = f"a module with {', '.join(attributes)}" if attributes else "a torch module"
        raise ArgumentTypeError(f"{what} got a {type(found).__name__}: expected {wanted}")


def is_tensor(x: Any) -> bool:
    torch = torch_in_use()
    return torch is not None and isinstance(x, torch.Tensor)


OF_TORCH = frozenset(
    "apply bfloat16 buffers compile cpu cuda double eval float get_parameter get_submodule half named_buffers "
    "named_parameters register_backward_hook register_buffer register_forward_hook register_forward_pre_hook "
    "register_full_backward_hook register_module register_parameter requires_grad_ share_memory to to_empty type "
    "zero_grad".split()
)
"""Methods of torch.nn.Module that ArrayModule does not have."""


class NoTorch(ModuleError, AttributeError):
    """A method of torch.nn.Module was asked for while torch is not in use."""


class ArrayModule:
    """Children by attribute, in order; training or not; what torch.nn.Module has of these, under the same names."""

    training = True
    forward: Callable[..., Any]  # every kind of layer has one

    def __init__(self) -> None:
        self.training = True
        _MADE.add(self)

    def __getattr__(self, name: str) -> Any:
        """What torch.nn.Module has besides: there as soon as torch has been imported."""
        torch = torch_in_use()
        if torch is not None and hasattr(torch.nn.Module, name) and not name.startswith("__"):
            adopt_torch()
            return getattr(self, name)
        if name in OF_TORCH:
            raise NoTorch(
                f"{type(self).__name__}.{name} is a method of torch.nn.Module, and torch has not been imported: this "
                f"module becomes a torch module once it is (import torch). Without torch its arrays are "
                f"float32, on the device that JAX uses"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if any(is_tensor(a) for a in args):
            adopt_torch()
            return self(*args, **kwargs)
        return self.forward(*args, **kwargs)

    def named_children(self) -> Iterator[tuple[str, Any]]:
        for name, child in vars(self).items():
            if isinstance(child, Module):
                yield name, child

    def children(self) -> Iterator[Any]:
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Any]:
        return (module for _, module in self.named_modules())

    def add_module(self, name: str, module: Any) -> None:
        setattr(self, name, module)

    def parameters(self) -> list[Any]:
        """The layers that hold parameters, for aihwkit.optim."""
        return [p for child in self.children() for p in child.parameters()]

    def train(self, mode: bool = True) -> Any:
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Any:
        return self.train(False)

    def state_dict(self) -> dict[str, Any]:
        """Plain arrays by name, nothing pickled; see aidgejax.checkpoint."""
        return {f"{n}.{k}": v for n, child in self.named_children() for k, v in child.state_dict().items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """All of it or, where a name, shape or dtype differs, TileError and nothing."""
        self.check_state_dict(state_dict)
        for child, mine, _ in self._shares(state_dict):
            child.load_state_dict(mine)

    def check_state_dict(self, state_dict: dict[str, Any], where: str = "this module") -> None:
        """Raise TileError unless names, shapes and dtypes are those of the module's own state."""
        names = [f"{name}." for name, _ in self.named_children()]
        strange = [k for k in state_dict if not any(k.startswith(n) for n in names)]
        if strange:
            raise TileError(f"the state for {where} holds {', '.join(map(repr, strange[:8]))}, which it does not have")
        for child, mine, name in self._shares(state_dict):
            child.check_state_dict(mine, f"{name!r}")

    def _shares(self, state_dict: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any], str]]:
        """(child, what of the state is its, its name), of the children that hold anything or are given anything."""
        for name, child in self.named_children():
            mine = {k[len(name) + 1 :]: v for k, v in state_dict.items() if k.startswith(f"{name}.")}
            if mine or child.state_dict():
                yield child, mine, name


def check_arrays(own: dict[str, Any], given: dict[str, Any], where: str) -> None:
    """Raise TileError unless `given` has the names, shapes and dtypes of `own`."""
    wrong = [f"{k!r} is missing" for k in own if k not in given]
    wrong += [f"{k!r} is not of it" for k in given if k not in own]
    for k in own:
        if k in given:
            want, got = np.asarray(own[k]), np.asarray(given[k])
            if (want.shape, want.dtype) != (got.shape, got.dtype):
                wrong.append(f"{k!r} is {got.dtype}{list(got.shape)}, expected {want.dtype}{list(want.shape)}")
    if wrong:
        raise TileError(f"the state does not fit {where}: {'; '.join(wrong[:8])}. Nothing was loaded")


class NoGpuOfTorch(BackendError, AssertionError):
    """A GPU was asked for that torch cannot use, which raises AssertionError or RuntimeError."""


class Module(ArrayModule):
    """See the top of this file."""

    def _apply(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """What torch.nn.Module's cuda and to come to, of the layers inside too."""
        try:
            return super()._apply(function, *args, **kwargs)  # type: ignore[misc]  # torch.nn.Module has it
        except (AssertionError, RuntimeError) as e:
            said = str(e).splitlines()[0] if str(e) else ""
            if isinstance(e, NoGpuOfTorch) or not any(word in said for word in ("CUDA", "accelerator", "NVIDIA")):
                raise
            raise NoGpuOfTorch(
                f"{type(self).__name__} cannot go to a GPU of torch ({said}): leave .cuda() and .to('cuda') out; it "
                f"computes on the device that JAX uses, wherever torch's tensors lie. For JAX: {no_gpu()}"
            ) from None

    def to_torch(self) -> None:
        """Called once, when torch.nn.Module takes the place of ArrayModule: move what is held into it."""


def adopt_torch() -> bool:
    """Whether layers are torch modules from now on: they are as soon as torch has been imported."""
    torch = torch_in_use()
    if torch is None:
        return False
    if Module.__bases__ == (ArrayModule,):
        made = list(_MADE)
        Module.__bases__ = (torch.nn.Module,)
        for adopt in ON_ADOPTION:
            adopt(torch)
        for module in made:
            held = dict(vars(module))
            vars(module).clear()
            torch.nn.Module.__init__(module)
            for name, value in held.items():
                setattr(module, name, value)
        for module in made:
            module.to_torch()
    return True


def on_adoption(adopt: Callable[[Any], None]) -> None:
    """Call this with the module torch when it is adopted: at once where it has been."""
    ON_ADOPTION.append(adopt)
    if in_torch():
        adopt(torch_in_use())


def in_torch() -> bool:
    """Whether Module is torch.nn.Module by now."""
    return Module.__bases__ != (ArrayModule,)
