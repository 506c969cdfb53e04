"""AnalogSequential, and AnalogWrapper for models of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...exceptions import ModuleError
from ._module import ON_ADOPTION, Module, adopt_torch, is_tensor
from ._torch_call import torch_sequence
from .base import AnalogLayerBase


class ArraySequential(Module):
    """Modules one after the other, under the names 0, 1, ...; torch.nn.Sequential takes its place in torch."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        for k, layer in enumerate(layers):
            self.add_module(str(k), layer)

    def __iter__(self) -> Iterator[Any]:
        return self.children()

    def __getitem__(self, k: int) -> Any:
        return list(self)[k]

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def append(self, module: Any) -> Any:
        self.add_module(str(len(self)), module)
        return self

    def extend(self, sequential: Any) -> Any:
        for module in sequential:
            self.append(module)
        return self

    def forward(self, x: Any) -> Any:
        for layer in self:
            x = layer(x)
        return x


class AnalogContainerBase(AnalogLayerBase):
    """Holds layers; its tiles are theirs."""

    IS_CONTAINER = True

    def get_weights(self, **kwargs: Any) -> tuple[Any, Any]:
        """ModuleError: it holds layers."""
        raise ModuleError(f"{type(self).__name__} holds layers: ask each of analog_layers() for its weights")

    def set_weights(self, weight: Any, bias: Any = None, **kwargs: Any) -> None:
        """ModuleError: it holds layers."""
        raise ModuleError(f"{type(self).__name__} holds layers: set_weights is of each of analog_layers()")

    def program_analog_weights(self, noise_model: Any = None) -> None:
        """Programming noise on every tile below.  ModuleError in training mode."""
        super().program_analog_weights(noise_model)


class AnalogSequential(AnalogContainerBase, ArraySequential):
    """Layers one after the other; `backward` of an array goes through them in reverse."""

    def __init__(self, *layers: Any) -> None:
        adopt_torch()
        super().__init__(*layers)

    def forward(self, x: Any) -> Any:
        """Tensors go through neighbouring layers, and what torch has between them, in one compiled call."""
        return torch_sequence(self, x) if is_tensor(x) else super().forward(x)

    def backward(self, dy: Any) -> Any:
        """dL/dx of the last call with an array; gradients add up in the layers."""
        for layer in reversed(list(self)):
            dy = layer.backward(dy)
        return dy

    @classmethod
    def from_digital(cls, module: Any, rpu_config: Any = None, tile_module_class: Any = None) -> AnalogSequential:
        """An analog container of the same children."""
        made = cls()
        for name, child in module.named_children():
            made.add_module(name, child)
        made.training = module.training
        return made

    @classmethod
    def to_digital(cls, module: Any) -> Any:
        """A torch.nn.Sequential of the same children."""
        import torch

        made = torch.nn.Sequential()
        for name, child in module.named_children():
            made.add_module(name, child)
        made.training = module.training
        return made


class AnalogWrapper(AnalogContainerBase):
    """Makes a model of one's own an analog container: its class becomes AnalogWrapper<Class>, a subclass of both.

    The model stays the same object's state under the same names."""

    def __new__(cls, module: Any = None) -> Any:
        return super().__new__(cls) if module is None else cls.from_digital(module)

    def __init__(self, module: Any = None) -> None:
        if module is None:
            super().__init__()

    @classmethod
    def from_digital(cls, module: Any, rpu_config: Any = None, tile_module_class: Any = None) -> Any:
        """The module, of its new class."""
        adopt_torch()
        kind = type(module)
        if not issubclass(kind, AnalogContainerBase):
            module.__class__ = type(f"AnalogWrapper{kind.__name__}", (AnalogWrapper, kind), {"__module__": __name__})
        return module

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Its class is made anew where it is read: no module holds it by name."""
        return _empty_wrapper, (type(self).__bases__[1],), self.__dict__

    @classmethod
    def to_digital(cls, module: Any) -> Any:
        """The module, of its old class."""
        if isinstance(module, AnalogWrapper) and len(type(module).__bases__) > 1:
            module.__class__ = type(module).__bases__[1]
        return module


def _empty_wrapper(kind: Any) -> Any:
    return AnalogWrapper.from_digital(kind.__new__(kind))


def _adopt(torch: Any) -> None:
    AnalogSequential.__bases__ = (AnalogContainerBase, torch.nn.Sequential)


ON_ADOPTION.append(_adopt)
